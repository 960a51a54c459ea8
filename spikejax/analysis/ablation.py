"""Which neurons and synapses a trained network cannot do without."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..connections import Dense
from ..losses import AbstractLoss
from ..network import Network
from ..noise import Noise
from ..parameters import resolve
from ..simulators import AbstractSimulator
from ..tasks import Trial
from ..training.step import run_trial


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


def _check(network: Network, layer: int) -> None:
    above = (
        network.readout.connection
        if layer + 1 == len(network.layers)
        else network.layers[layer + 1].feedforward
    )
    for connection in (network.layers[layer].recurrent, above):
        if connection is not None and not isinstance(connection, Dense):
            raise ValueError(
                f"ablation needs dense connections, and one of layer {layer} is a {type(connection).__name__}"
            )


def _silenced(network: Network, layer: int, alive: Bool[Array, " n"]) -> Network:
    """The network in which what the neurons release reaches nobody."""

    def where(n):
        above = n.readout.connection if layer + 1 == len(n.layers) else n.layers[layer + 1].feedforward
        own = n.layers[layer].recurrent
        return [above.weight] if own is None else [above.weight, own.weight]

    # The source is the last axis of the weights.
    return eqx.tree_at(where, network, [weight * alive for weight in where(network)])


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

    @eqx.filter_jit
    def run(network, trials, simulator):
        def without(i):
            left = _silenced(network, layer, jnp.arange(size) != i)
            return _score(left, trials, loss, simulator, noise)

        return _score(network, trials, loss, simulator, noise), jax.lax.map(without, jnp.arange(size))

    whole, (value, accuracy) = run(network, trials, simulator)
    intact = float(whole[0]), float(whole[1])
    return Ablation(intact, np.asarray(value), np.asarray(accuracy), np.arange(size)[:, None])


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

    @eqx.filter_jit
    def predict(network, trials, simulator):
        weight = _weight(network, layer)
        value = lambda w: _score(_with_weight(network, layer, w), trials, loss, simulator, noise)[0]
        carried = jnp.abs(weight) * _activity(network, layer, trials, simulator, noise)
        return -weight * jax.grad(value)(weight), carried

    @eqx.filter_jit
    def run(network, trials, simulator, chosen):
        weight = _weight(network, layer)

        def without(i):
            rest = weight.reshape(-1).at[i].set(0.0).reshape(weight.shape)
            return _score(_with_weight(network, layer, rest), trials, loss, simulator, noise)

        return _score(network, trials, loss, simulator, noise), jax.lax.map(without, chosen)

    predicted, carried = map(np.asarray, predict(network, trials, simulator))
    chosen = np.argsort(-carried.reshape(-1))[:count]
    whole, (value, accuracy) = run(network, trials, simulator, jnp.asarray(chosen))
    parts = np.stack(np.unravel_index(chosen, predicted.shape), axis=1)
    intact = float(whole[0]), float(whole[1])
    return Ablation(intact, np.asarray(value), np.asarray(accuracy), parts, predicted.reshape(-1)[chosen])


def _weight(network: Network, layer: int) -> Float[Array, "n kinds n"]:
    """The weights of the layer's dense recurrence."""
    recurrent = network.layers[layer].recurrent
    if not isinstance(recurrent, Dense):
        raise ValueError(f"layer {layer} has no dense recurrence")
    return jnp.asarray(recurrent.weight)


def _with_weight(network: Network, layer: int, weight: Float[Array, "n kinds n"]) -> Network:
    return eqx.tree_at(lambda n: n.layers[layer].recurrent.weight, network, weight)


def _activity(
    network: Network, layer: int, trials: Trial, simulator: AbstractSimulator, noise: Noise | None
) -> Float[Array, "kinds n"]:
    """Mean size of the activations of a layer."""

    def one(trial):
        solution = run_trial(network, trial, simulator, save="activation", noise=noise)
        return jnp.mean(jnp.abs(jnp.asarray(solution.layers[layer].activation)), axis=0)

    return jnp.mean(jax.vmap(one)(trials), axis=0)


__all__ = ["Ablation", "ablate_neurons", "ablate_synapses"]
