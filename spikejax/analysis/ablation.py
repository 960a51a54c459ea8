"""Which neurons and synapses a trained network cannot do without."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..connections import AbstractConnection, Dense
from ..losses import AbstractLoss
from ..network import Network
from ..noise import Noise
from ..parameters import resolve
from ..simulate import Series
from ..simulators import AbstractSimulator
from ..tasks import Trial
from ..training.step import run_trial

SAVED: tuple[Series, ...] = ("activation",)


class Ablation(NamedTuple):
    """The loss, and the score if the loss reports an accuracy, of networks that each lack one part."""

    whole: tuple[float, float]
    """Loss and accuracy of the intact network (accuracy nan if there is none)."""
    loss: Float[np.ndarray, " parts"]
    accuracy: Float[np.ndarray, " parts"]
    parts: Int[np.ndarray, "parts index"]
    """Which part: the neuron's index, or (target, time constant, source) of the synapse."""
    predicted: Float[np.ndarray, " parts"] | None = None
    """Change of the loss that the gradient predicts, ``-w dL/dw`` (synapses)."""


def _score(
    network: Network, trials: Trial, loss: AbstractLoss, simulator: AbstractSimulator, noise: Noise | None
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean loss, and mean accuracy or nan."""

    def one(trial):
        solution = run_trial(network, trial, simulator, save=loss.series, noise=noise)
        value, scalars = loss(solution, trial)
        return value, scalars.get("accuracy", jnp.asarray(jnp.nan, value.dtype))

    value, accuracy = jax.vmap(one)(trials)
    return jnp.mean(value), jnp.mean(accuracy)


def _leaving(network: Network, layer: int) -> list[AbstractConnection]:
    """The connections that the activation of a layer enters: its own recurrence, those to layers above, and
    the readout's."""
    own, last = network.layers[layer].recurrent, layer + 1 == len(network.layers)
    found = [connection for source, _, connection in network.wires if source == layer]
    return found + ([network.readout.connection] if last else []) + ([] if own is None else [own])


def _check(network: Network, layer: int) -> None:
    for connection in _leaving(network, layer):
        if not isinstance(connection, Dense):
            raise ValueError(
                f"ablation needs dense connections, and one of layer {layer} is a {type(connection).__name__}"
            )


def _silenced(network: Network, layer: int, alive: Bool[Array, " n"]) -> Network:
    """The network in which what the neurons release reaches nobody."""

    alive = alive.reshape(network.layers[layer].shape)
    leaving = _leaving(network, layer)
    weights = {id(one.weight) for one in leaving if isinstance(one, Dense)}
    # Found by identity, since a path to each would have to know how connections are stored. The sources are
    # the last axes of the weights.
    return jax.tree.map(lambda x: x * alive if id(x) in weights else x, network)


@eqx.filter_jit
def _score_without(
    network: Network,
    trials: Trial,
    loss: AbstractLoss,
    simulator: AbstractSimulator,
    noise: Noise | None,
    layer: int,
    neuron: Int[Array, ""],
    synapse: Int[Array, ""],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean loss and accuracy without a neuron and a recurrent synapse, -1 for none: one program for
    everything that is removed, since compiling takes most of the time."""
    size = math.prod(network.layers[layer].shape)
    network = _silenced(network, layer, jnp.arange(size) != neuron)
    if network.layers[layer].recurrent is not None:
        weight = _weight(network, layer)
        there = (jnp.arange(weight.size) != synapse).reshape(weight.shape)
        network = _with_weight(network, layer, weight * there)
    return _score(network, trials, loss, simulator, noise)


def _without(
    network: Network,
    trials: Trial,
    loss: AbstractLoss,
    simulator: AbstractSimulator,
    noise: Noise | None,
    layer: int,
    removed: Iterable[tuple[int, int]],
) -> Float[np.ndarray, "2 parts"]:
    """Loss and accuracy for each pair of a neuron and a synapse that is removed, -1 for none."""
    found = [
        _score_without(network, trials, loss, simulator, noise, layer, jnp.asarray(i), jnp.asarray(j))
        for i, j in removed
    ]
    return np.array(jax.device_get(found)).T


def ablate_neurons(
    network: Network,
    trials: Trial,
    loss: AbstractLoss,
    simulator: AbstractSimulator,
    *,
    layer: int = 0,
    noise: Noise | None = None,
) -> Ablation:
    """Remove each neuron of a layer in turn: its spikes reach nobody any more.

    **Arguments:** `trials`: a batch; `noise`: what is random within a trial.

    **Raises:** `ValueError` unless the connections that leave the layer are dense.
    """
    network = resolve(network)
    _check(network, layer)
    size = math.prod(network.layers[layer].shape)
    removed = [(-1, -1), *((i, -1) for i in range(size))]
    value, accuracy = _without(network, trials, loss, simulator, noise, layer, removed)
    intact = float(value[0]), float(accuracy[0])
    return Ablation(intact, value[1:], accuracy[1:], np.arange(size)[:, None])


def ablate_synapses(
    network: Network,
    trials: Trial,
    loss: AbstractLoss,
    simulator: AbstractSimulator,
    *,
    layer: int = 0,
    count: int = 60,
    noise: Noise | None = None,
) -> Ablation:
    """Remove the recurrent synapses of a layer one at a time: the `count` of them that carry most current,
    ``|w| <|s|>``.

    The gradient predicts for every synapse at once what its removal does, to first order: ``L(w -> 0) - L =
    -w dL/dw``. It is exact for small changes; how far it reaches is what the comparison shows. Where the
    trajectory is unstable it reaches nowhere.

    **Arguments:** `trials`: a batch; `noise`: what is random within a trial.

    **Raises:** `ValueError` unless the layer has a dense recurrence.
    """
    network = resolve(network)
    _check(network, layer)
    if network.layers[layer].recurrent is None:
        raise ValueError(f"layer {layer} has no recurrent synapses to ablate")
    predicted, carried = map(np.asarray, _predicted(network, trials, loss, simulator, noise, layer))
    chosen = np.argsort(-carried.reshape(-1))[:count]
    removed = [(-1, -1), *((-1, j) for j in chosen.tolist())]
    value, accuracy = _without(network, trials, loss, simulator, noise, layer, removed)
    parts = np.stack(np.unravel_index(chosen, predicted.shape), axis=1)
    intact = float(value[0]), float(accuracy[0])
    return Ablation(intact, value[1:], accuracy[1:], parts, predicted.reshape(-1)[chosen])


@eqx.filter_jit
def _predicted(
    network: Network,
    trials: Trial,
    loss: AbstractLoss,
    simulator: AbstractSimulator,
    noise: Noise | None,
    layer: int,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Change of the loss that the gradient predicts without each synapse, and ``|w| <|s|>``."""
    weight = _weight(network, layer)

    def mean_loss(weight):
        def one(trial):
            changed = _with_weight(network, layer, weight)
            save = tuple(dict.fromkeys((*loss.series, *SAVED)))
            solution = run_trial(changed, trial, simulator, save=save, noise=noise)
            activation = jnp.asarray(solution.layers[layer].activation)
            return loss(solution, trial)[0], jnp.mean(jnp.abs(activation), axis=0)

        value, activity = jax.vmap(one)(trials)
        return jnp.mean(value), jnp.mean(activity, axis=0)

    slope, activity = jax.grad(mean_loss, has_aux=True)(weight)
    return -weight * slope, jnp.abs(weight) * activity


def _weight(network: Network, layer: int) -> Float[Array, "..."]:
    """The weights of the layer's dense recurrence, ``(*n, kinds, *n)``."""
    recurrent = network.layers[layer].recurrent
    if not isinstance(recurrent, Dense):
        raise ValueError(f"layer {layer} has no dense recurrence")
    return jnp.asarray(recurrent.weight)


def _with_weight(network: Network, layer: int, weight: Float[Array, "..."]) -> Network:
    return eqx.tree_at(lambda n: n.layers[layer].recurrent.weight, network, weight)


__all__ = ["Ablation", "ablate_neurons", "ablate_synapses"]
