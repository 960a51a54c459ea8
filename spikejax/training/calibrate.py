"""Input weights and biases that make a network fire at a given rate, before it is trained."""

import math
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..activity import rates
from ..component import Component, option
from ..connections import AbstractConnection, AbstractInstant, Dense
from ..network import Layer, Network
from ..noise import Noise
from ..parameters import cast, precision, resolve
from ..readouts import LinearReadout
from ..simulators import AbstractSimulator
from ..stimulus import as_stimulus
from ..tasks import Trial
from .step import run_trial

AT_ONCE = 90
"""Trials that are run together."""
MOST_BYTES = 2**30
"""Of the currents and activations of a layer in all trials."""
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

    Layer by layer from the input, the weights of the feed-forward connection (and of those that skip to the
    layer) and the biases are multiplied by one factor, found by bisection: the mean rate of the layer is then
    `rate`. With ``each="neuron"`` a shift of every neuron's bias follows, which takes every single neuron
    there, or the mean of those that share a bias: none is silent, and none carries the layer. Recurrent
    weights stay. Of connections one after the other the last with a weight is scaled, of normalised weights
    the gain. A layer whose input has no weight, such as a pool, is left as it is.

    Each layer runs by itself, on the currents that those below it make once they are calibrated, so that
    depth costs no more than its layers. Currents and activations of the largest layer take a GB at most: of
    more trials than that, the first ones are used.

    **Arguments:** `trials`: a batch, such as some 64 of those that it will be trained on; `rate` in Hz;
    `simulator`: what simulates it in training; `tolerance`: relative error of the mean rate, where it does
    not jump; `noise`: what is random within a trial.

    **Returns:** the calibrated network; its tree is that of the one given.

    **Raises:** `ValueError` for a rate that is not above 0, a simulator without time steps, and where a
    layer does not reach it: it has no input, or it jumps from silence to a higher rate, as bistable or
    strongly recurrent populations do.

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
    if simulator.time_step is None:
        raise ValueError("`simulator` has no time steps, over which a layer can be given its input")
    simulator.check(network)
    trials = _as_many_as_fit(network, trials)
    series = {-1: trials.stimulus}
    for i, layer in enumerate(network.layers):
        wires = [wire for wire in network.wires if wire[1] == i]
        given = _given(wires, series, trials.mask, simulator.time_step, network)
        run = _Run(given, trials, simulator.of_layer(i), noise, i)
        # Of fixed weights there is nothing to scale.
        if any(connection.weighted for _, _, connection in wires):
            factor = _to_mean(run, layer, rate, tolerance)
            layer, run = _louder(layer, factor), run.louder(factor)
            if each == "neuron":
                layer = _to_each(run, layer, rate)
            skips = tuple(
                eqx.tree_at(lambda one: one.connection, skip, skip.connection.times(factor))
                if skip.target == i
                else skip
                for skip in network.skips
            )
            layers = (*network.layers[:i], layer, *network.layers[i + 1 :])
            network = eqx.tree_at(lambda one: (one.layers, one.skips), network, (layers, skips))
        later = {source for source, target, _ in network.wires if target > i}
        series = {source: x for source, x in series.items() if source in later}
        if i in later:
            series[i] = run.activation(layer)
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


class _Current(AbstractInstant):
    """The input of a layer as a current that is there."""

    in_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def out_shape(self):
        return self.in_shape

    @classmethod
    def create(cls, in_shape, out_shape, **options):
        raise NotImplementedError

    def __call__(self, x):
        return x


def _as_many_as_fit(network: Network, trials: Trial) -> Trial:
    """As many of the trials as `MOST_BYTES` hold the currents and activations of the largest layer of."""
    steps, each = trials.stimulus.shape[1], np.dtype(precision(network)).itemsize
    largest = max(layer.synapse.kinds * math.prod(layer.feedforward.out_shape) for layer in network.layers)
    most = max(1, int(MOST_BYTES / (3 * each * steps * largest)))
    return trials if most >= len(trials.stimulus) else jax.tree.map(lambda x: x[:most], trials)


def _given(
    wires: list[tuple[int, int, AbstractConnection]],
    series: dict[int, Any],
    mask,
    dt: float,
    network: Network,
) -> tuple[Array | None, Array | None]:
    """The currents of all trials into a layer: what connections with weights make of it, and the rest; None
    if there is none."""
    parts: list[Array | None] = [None, None]
    for source, _, connection in wires:
        into = network.in_shape if source < 0 else None
        current = _through(connection, series[source], mask, dt, into, precision(network))
        k = int(not connection.weighted)
        before = parts[k]
        parts[k] = current if before is None else before + current
    return parts[0], parts[1]


@eqx.filter_jit
def _through(connection: AbstractConnection, x, mask, dt: float, channels, dtype) -> Array:
    """What a connection makes of the stimulus, or the activation below, in every trial."""
    connection = cast(resolve(connection), dtype).at(dt)

    def one(inputs):
        x, mask = inputs
        x = x if channels is None else as_stimulus(x, channels, dtype)
        return connection.over_time(x, connection.init(dtype), mask)[0]

    return jax.lax.map(one, (x, mask), batch_size=min(AT_ONCE, len(jax.tree.leaves(x)[0])))


class _Run(eqx.Module):
    """One layer by itself, on the currents that it is given."""

    given: tuple[Array | None, Array | None]
    trials: Trial
    simulator: AbstractSimulator
    noise: Noise | None
    layer: int

    def louder(self, factor: float) -> "_Run":
        """The same with the currents that weights make times `factor`."""
        made, rest = self.given
        assert made is not None, "there are weights"
        return eqx.tree_at(lambda run: run.given, self, (made * factor, rest), is_leaf=lambda x: x is None)

    def rates(self, layer: Layer, factor: float = 1.0) -> Float[Array, "*n"]:
        """Rates of its neurons (Hz) with those currents, and the biases, times `factor`."""
        return self._simulated(layer, factor, False)

    def activation(self, layer: Layer) -> Float[Array, "trials time kinds *n"]:
        """Its activation in every trial."""
        return self._simulated(layer, 1.0, True)

    def _simulated(self, layer: Layer, factor: float, series: bool) -> Array:
        keys = self.trials.key
        # Every layer has noise of its own.
        keys = None if keys is None else jax.vmap(lambda k: jax.random.fold_in(k, self.layer))(keys)
        inputs = (self.given, self.trials.mask, keys)
        scale = jnp.asarray(factor, jax.tree.leaves(self.given)[0].dtype)
        return _simulated(layer, scale, inputs, self.simulator, self.noise, series)


@eqx.filter_jit
def _simulated(layer: Layer, factor, inputs, simulator: AbstractSimulator, noise, series: bool) -> Array:
    # Compiled once for all layers of the same shapes.
    layer = eqx.tree_at(
        lambda one: (one.feedforward, one.bias),
        layer,
        (_Current(layer.feedforward.out_shape), resolve(layer.bias) * factor.astype(layer.bias.dtype)),
    )
    nothing = Dense(jnp.zeros((1, *layer.activation_shape), layer.bias.dtype), layer.activation_shape)
    network = Network((layer,), LinearReadout(nothing, jnp.zeros(1, layer.bias.dtype)))

    def one(inputs):
        (made, rest), mask, key = inputs
        current = rest if made is None else made * factor if rest is None else made * factor + rest
        trial = Trial(current, jnp.zeros(()), mask, key=key)
        save = "activation" if series else ()
        solution = run_trial(network, trial, simulator, save=save, noise=noise)
        return solution.layers[0].activation if series else (solution.counts[0], solution.duration)

    count = len(jax.tree.leaves(inputs)[0])
    found = jax.lax.map(one, inputs, batch_size=min(AT_ONCE, count))
    return found if series else rates(*found)


def _to_mean(run: _Run, layer: Layer, rate: float, tolerance: float) -> float:
    """The factor of its input that takes a layer to a mean rate."""
    low, high, factor = 0.0, math.inf, 1.0
    slow, fast = 0.0, math.inf  # the rates there
    while True:
        found = float(jnp.mean(run.rates(layer, factor)))
        if abs(found - rate) <= tolerance * rate:
            return factor
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
        return nearest
    if high == math.inf:
        reason = f"stays at {slow:.3g} Hz however strong its input is: is there any?"
    elif low == 0:
        reason = f"fires at {fast:.3g} Hz without its input: weaken its recurrence or its noise"
    else:
        reason = (
            f"jumps from {slow:.3g} to {fast:.3g} Hz as its input grows: weaken its recurrence, or choose a "
            "rate on either side"
        )
    raise ValueError(f"layer {run.layer} cannot be calibrated to {rate:g} Hz: it {reason}")


def _to_each(run: _Run, layer: Layer, rate: float) -> Layer:
    """The layer with its biases shifted so that every neuron fires at the rate, or the mean of those that
    share a bias.

    In every round each takes a step towards the rate, 1.2 times as long as its last one, or half as long
    where that went too far. A bisection of each would be quicker, and fails where neurons are recurrent: what
    a neuron was found to need changes as the others do.
    """
    bias = np.asarray(resolve(layer.bias), float)
    rheobase = float(jnp.max(jnp.abs(jnp.asarray(resolve(layer.neuron).rheobase()))))
    step = np.full(bias.shape, 0.2 * (max(float(np.ptp(bias)), rheobase) or 1.0))
    before, best, least = np.zeros(bias.shape), bias, math.inf
    for _ in range(ROUNDS):
        error = 1 - _shared(np.asarray(run.rates(_shifted(layer, bias)), float), bias.shape) / rate
        if (worst := float(np.sqrt(np.mean(np.clip(error, -1, 1) ** 2)))) < least:
            best, least = bias, worst
        turned = error * before
        step = step * np.where(turned < 0, 0.5, np.where(turned > 0, 1.2, 1.0))
        # A small error is a small step, so that spikes that come in whole numbers come to rest.
        bias, before = bias + step * np.clip(error, -1, 1), error
    return _shifted(layer, best)


def _shared(rate: Float[np.ndarray, "*n"], shape: tuple[int, ...]) -> Float[np.ndarray, "*bias"]:
    """The mean rate of the neurons that have each entry of a bias of this shape."""
    own = (1,) * (rate.ndim - len(shape)) + shape
    axes = tuple(a for a, n in enumerate(own) if n == 1)
    return rate.mean(axis=axes, keepdims=True).reshape(shape)


def _louder(layer: Layer, factor: float) -> Layer:
    """The layer with its input weights and biases times `factor`."""
    return eqx.tree_at(
        lambda one: (one.feedforward, one.bias),
        layer,
        (layer.feedforward.times(factor), layer.bias * factor),
    )


def _shifted(layer: Layer, bias: np.ndarray) -> Layer:
    return eqx.tree_at(lambda one: one.bias, layer, jnp.asarray(bias, layer.bias.dtype))


__all__ = ["Calibration", "calibrate"]
