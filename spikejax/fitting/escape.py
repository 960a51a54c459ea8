"""Neurons that escape: recorded spikes drive a neuron of any kind, and its distance from threshold says how
likely the next spike was."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..neurons import AbstractNeuron, Drive
from ..neurons.base import AnyState


class Forced(NamedTuple):
    """A neuron driven by recorded spikes, one entry a step, before the spike that may end it."""

    v: Float[Array, "time *n"]
    height: Float[Array, "time *n"]
    """v above the threshold, in units of v."""


def _step(neuron: AbstractNeuron, state: AnyState, current, spike, dt) -> tuple[AnyState, Forced]:
    free = neuron.flow(state, current, dt)
    height = free.v - neuron.threshold(free)
    end = jax.tree.map(lambda a, b: jnp.where(spike > 0, a, b), neuron.on_spike(free), free)
    return end, Forced(free.v, height)


def force(
    neuron: AbstractNeuron,
    current: Float[Array, "time *n"] | Drive,
    spikes: Float[Array, "time *n"],
    dt: float,
) -> Forced:
    """Run a neuron whose spikes are the recorded ones: its own threshold resets nothing, a recorded spike
    does, at the end of its step.

    **Arguments:** `current`, ``(time, *n)``, or a `Drive` of such, in the neuron's units; `spikes`: above 0
    in the steps that hold one; `dt` in ms.
    """

    def step(state, x):
        return _step(neuron, state, *x, dt)

    return jax.lax.scan(step, neuron.init(spikes.shape[1:]), (current, spikes))[1]


def hazard(height: Float[Array, "*n"], width, rate) -> Float[Array, "*n"]:
    """Escape rate in 1/ms, ``rate log(1 + exp(height/width))``: exponential below the threshold, linear
    above.

    **Arguments:** `height` above the threshold and `width` of the escape zone in the same unit; `rate` in
    1/ms.

    **Reference:** Gerstner et al., Neuronal Dynamics 2014, section 9.1 (escape noise); the soft rectifier is
    one of its usual forms.
    """
    return rate * jax.nn.softplus(height / width)


def escape(
    neuron: AbstractNeuron,
    current: Float[Array, "time *n"] | Drive,
    rate: Callable[[Float[Array, "*n"]], Float[Array, "*n"]],
    dt: float,
    *,
    key: PRNGKeyArray,
) -> tuple[Float[Array, "time *n"], Float[Array, "time *n"]]:
    """One free run: the neuron draws its spikes and feels them, ``P(spike in a step) = 1 - exp(-rate dt)``.

    **Arguments:** as of `force`; `rate`: of escape in 1/ms, from the height of v above the threshold.

    **Returns:** v before the spike that may end the step, and the spikes (0 or 1), both ``(time, *n)``.
    """

    def step(carry, i):
        state, key = carry
        key, own = jax.random.split(key)
        free = neuron.flow(state, i, dt)
        chance = -jnp.expm1(-dt * rate(free.v - neuron.threshold(free)))
        spiked = jax.random.uniform(own, chance.shape, chance.dtype) < chance
        end = jax.tree.map(lambda a, b: jnp.where(spiked, a, b), neuron.on_spike(free), free)
        return (end, key), (free.v, spiked.astype(free.v.dtype))

    return jax.lax.scan(step, (neuron.init(jax.tree.leaves(current)[0].shape[1:]), key), current)[1]


def binned_hazard(
    neuron: AbstractNeuron,
    current: Float[Array, "bins sub *n"],
    spikes: Float[Array, "bins sub *n"],
    dt: float,
    width,
    rate,
) -> Float[Array, "bins *n"]:
    """Expected number of escapes in every bin if nothing had happened in it, given the recorded spikes of the
    bins before.

    ```
    H_k = sum over the steps of bin k of hazard(height) dt,       P(spike in bin k | spikes before it) = 1 - exp(-H_k)
    ```
    Every bin is run twice from the same state: without spikes for H, and with the recorded ones, at their own
    steps, for the state after it. So a bin's probability never sees its own spike, but the next bin knows
    when in the bin it was.
    """

    def bin_(state, x):
        currents, recorded = x
        quiet, total, after = state, jnp.zeros(current.shape[2:], current.dtype), state
        for i, y in zip(currents, recorded, strict=True):
            quiet = neuron.flow(quiet, i, dt)
            total = total + dt * hazard(quiet.v - neuron.threshold(quiet), width, rate)
            after, _ = _step(neuron, after, i, y, dt)
        return after, total

    return jax.lax.scan(bin_, neuron.init(current.shape[2:]), (current, spikes))[1]


def mean_response(
    neuron: AbstractNeuron,
    current: Float[Array, "bins sub *n"],
    dt: float,
    width,
    rate,
    samples: int,
    *,
    key: PRNGKeyArray,
) -> Float[Array, "bins *n"]:
    """Probability of a spike in every bin from the current alone: a mean of `samples` free runs.

    Every run draws its own spikes, ``P(spike in a step) = 1 - exp(-hazard dt)``, and feels them. Half a spike
    and half a silence are added to the counts, so that no probability is 0 or 1. The standard error is
    ``sqrt(p (1 - p)/samples)``.
    """
    shape = (samples, *current.shape[2:])

    def step(carry, i):
        state, key = carry
        key, own = jax.random.split(key)
        free = neuron.flow(state, jnp.broadcast_to(i, shape), dt)
        chance = -jnp.expm1(-dt * hazard(free.v - neuron.threshold(free), width, rate))
        spiked = jax.random.uniform(own, shape, chance.dtype) < chance
        return (jax.tree.map(lambda a, b: jnp.where(spiked, a, b), neuron.on_spike(free), free), key), spiked

    def bin_(carry, currents):
        any_ = jnp.zeros(shape, bool)
        for i in currents:
            carry, spiked = step(carry, i)
            any_ = any_ | spiked
        return carry, jnp.sum(any_, axis=0)

    _, counts = jax.lax.scan(bin_, (neuron.init(shape), key), current)
    return (counts + 0.5) / (samples + 1.0)
