"""Input weights and biases that make a network fire at a given rate, before it is trained."""

import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..activity import rates
from ..component import Component, option
from ..network import Layer, Network
from ..noise import Noise
from ..parameters import resolve, scaled
from ..simulators import AbstractSimulator
from ..tasks import Trial
from .step import run_trial

AT_ONCE = 90
"""Trials that are run together."""
ROUNDS = 60
"""In which neurons are taken to their rate one by one."""
LARGEST = 2.0**40
"""Factor beyond which there is nothing to be found: 1 pA to more than any current."""
NEAR = 0.25
"""Relative error that is taken where a rate jumps."""
JUMP = 1e-4
"""Relative distance of two factors between which a rate is taken to jump."""


def calibrate(
    network: Network,
    trials: Trial,
    rate: float,
    simulator: AbstractSimulator,
    *,
    each: Literal["layer", "neuron"] = "layer",
    tolerance: float = 0.02,
    noise: Noise | None = None,
) -> Network:
    """The network with input weights and biases that make every layer fire at `rate` on these trials.

    Layer by layer from the input, the weights of the feed-forward connection and the biases are multiplied by
    one factor, found by bisection: the mean rate of the layer is then `rate`. With ``each="neuron"`` a shift
    of every neuron's bias follows, which takes every single neuron there: none is silent, and none carries
    the layer. Recurrent weights stay.

    **Arguments:** `trials`: a batch, such as some 64 of those that it will be trained on; `rate` in Hz;
    `simulator`: what simulates it in training; `tolerance`: relative error of the mean rate, where it does
    not jump; `noise`: what is random within a trial.

    **Returns:** the calibrated network; its tree is that of the one given.

    **Raises:** `ValueError` for a rate that is not above 0, and where a layer does not reach it: it has no
    input, or it jumps from silence to a higher rate, as bistable or strongly recurrent populations do.

    !!! example
        >>> from spikejax import LIF, ClockDriven, Exponential, Network
        >>> from spikejax.tasks import Trial
        >>> from spikejax.training import calibrate
        >>> key, synapse = jax.random.key(0), Exponential(10.0)
        >>> network = Network.dense(3, (40,), 2, neuron=LIF(), synapse=synapse, key=key)
        >>> trials = Trial(jax.random.uniform(jax.random.key(1), (8, 100, 3)), jnp.zeros(8, int))
        >>> network = calibrate(network, trials, 20.0, ClockDriven())
    """
    if not rate > 0:
        raise ValueError(f"`rate` is {rate:g} Hz, but must be above 0")

    @eqx.filter_jit
    def fired(network: Network) -> tuple[Float[Array, "*n"], ...]:
        def one(trial):
            solution = run_trial(network, trial, simulator, noise=noise)
            return solution.counts, solution.duration

        counts, durations = jax.lax.map(one, trials, batch_size=min(AT_ONCE, len(trials.stimulus)))
        return tuple(rates(count, durations) for count in counts)

    for i in range(len(network.layers)):
        network = _to_mean(fired, network, i, rate, tolerance)
        if each == "neuron":
            network = _to_each(fired, network, i, rate)
    return network


class Calibration(Component):
    """What `calibrate` is asked for."""

    rate: float = option(unit="Hz", doc="mean rate of every layer", above=0.0, staged=False)
    each: Literal["layer", "neuron"] = option(
        "layer",
        doc="whether the mean of a layer is taken to the rate, or, by its bias, every neuron",
        choices=("layer", "neuron"),
        staged=False,
    )
    trials: int = option(64, doc="training trials that it is measured on", at_least=1, staged=False)

    def __call__(
        self, network: Network, trials: Trial, simulator: AbstractSimulator, *, noise: Noise | None = None
    ) -> Network:
        """The calibrated network."""
        return calibrate(network, trials, self.rate, simulator, each=self.each, noise=noise)


def _to_mean(fired, network: Network, i: int, rate: float, tolerance: float) -> Network:
    """The network with the input of layer `i` scaled to a mean rate."""

    def at(factor: float) -> tuple[Network, float]:
        changed = _with_layer(network, i, _louder(network.layers[i], factor))
        return changed, float(jnp.mean(fired(changed)[i]))

    low, high, factor = 0.0, math.inf, 1.0
    slow, fast = 0.0, math.inf  # the rates there
    while True:
        changed, found = at(factor)
        if abs(found - rate) <= tolerance * rate:
            return changed
        if found < rate:
            low, slow = factor, found
        else:
            high, fast = factor, found
        if low == 0:
            factor = high / 4
        elif high == math.inf:
            factor = low * 4
        else:
            factor = math.sqrt(low * high)
        if high - low < JUMP * low or not 1 / LARGEST < factor < LARGEST:
            break
    # Spikes come in whole numbers, and some near the rate are better than none.
    error, nearest = min((abs(slow - rate), low), (abs(fast - rate), high))
    if error <= NEAR * rate:
        return at(nearest)[0]
    if high == math.inf:
        reason = f"stays at {slow:.3g} Hz however strong its input is: is there any?"
    elif low == 0:
        reason = f"fires at {fast:.3g} Hz without its input: weaken its recurrence or its noise"
    else:
        reason = (
            f"jumps from {slow:.3g} to {fast:.3g} Hz as its input grows: weaken its recurrence, or choose a "
            "rate on either side"
        )
    raise ValueError(f"layer {i} cannot be calibrated to {rate:g} Hz: it {reason}")


def _to_each(fired, network: Network, i: int, rate: float) -> Network:
    """The network with the biases of layer `i` shifted so that every neuron fires at the rate.

    In every round each neuron takes a step towards the rate, 1.2 times as long as its last one, or half as
    long where that went too far. A bisection of each would be quicker, and fails where neurons are recurrent:
    what a neuron was found to need changes as the others do.
    """
    layer = network.layers[i]
    bias = np.broadcast_to(np.asarray(resolve(layer.bias), float), layer.shape)
    rheobase = float(jnp.max(jnp.abs(jnp.asarray(resolve(layer.neuron).rheobase()))))
    step = np.full(layer.shape, 0.2 * (max(float(np.ptp(bias)), rheobase) or 1.0))
    before, best, least = np.zeros(layer.shape), bias, math.inf
    for _ in range(ROUNDS):
        changed = _with_layer(network, i, _shifted(layer, bias))
        error = 1 - np.asarray(fired(changed)[i], float) / rate
        if (worst := float(np.sqrt(np.mean(np.clip(error, -1, 1) ** 2)))) < least:
            best, least = bias, worst
        turned = error * before
        step = step * np.where(turned < 0, 0.5, np.where(turned > 0, 1.2, 1.0))
        # A small error is a small step, so that spikes that come in whole numbers come to rest.
        bias, before = bias + step * np.clip(error, -1, 1), error
    return _with_layer(network, i, _shifted(layer, best))


def _louder(layer: Layer, factor: float) -> Layer:
    """The layer with its input weights and biases times `factor`."""
    return eqx.tree_at(
        lambda one: (one.feedforward, one.bias),
        layer,
        (scaled(layer.feedforward, ("weight",), factor), layer.bias * factor),
    )


def _shifted(layer: Layer, bias: np.ndarray) -> Layer:
    return eqx.tree_at(lambda one: one.bias, layer, jnp.asarray(bias, layer.bias.dtype))


def _with_layer(network: Network, i: int, layer: Layer) -> Network:
    return eqx.tree_at(lambda one: one.layers[i], network, layer)


__all__ = ["Calibration", "calibrate"]
