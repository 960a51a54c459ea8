"""Neurons with escape noise: a spike is drawn, the likelier the higher v is above the threshold.

Recorded spikes can take the place of those that the neuron would draw (teacher forcing); the likelihood of
the recording then follows from v alone.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..neurons import AbstractResetNeuron, Drive
from ..neurons.base import AnyState

__all__ = [
    "Rate",
    "TeacherForced",
    "binned_hazard",
    "escape",
    "hazard",
    "log_likelihood_of_spikes",
    "mean_response",
    "teacher_forced",
]

Rate: TypeAlias = Callable[[Float[Array, "*n"]], Float[Array, "*n"]]
"""Escape rate in 1/ms, from the height of v above the threshold in the neuron's unit of v. Elementwise."""


class TeacherForced(NamedTuple):
    """A neuron driven by recorded spikes, one entry a step, before the spike that may end it."""

    v: Float[Array, "time *n"]
    """In the neuron's unit of v."""
    height: Float[Array, "time *n"]
    """v above the threshold, in the same unit."""


def _after(neuron: AbstractResetNeuron, free: AnyState, spiked: Bool[Array, "*n"]) -> AnyState:
    """The state at the end of a step: reset where there was a spike."""
    return jax.tree.map(lambda a, b: jnp.where(spiked, a, b), neuron.on_spike(free), free)


def _draw(
    neuron: AbstractResetNeuron, free: AnyState, rate: Rate, dt: float, key: PRNGKeyArray
) -> tuple[AnyState, Bool[Array, "*n"]]:
    """Whether the neuron spikes in a step that ends at `free`, and the state after it."""
    chance = -jnp.expm1(-dt * rate(neuron.height(free)))
    spiked = jax.random.uniform(key, chance.shape, chance.dtype) < chance
    return _after(neuron, free, spiked), spiked


def teacher_forced(
    neuron: AbstractResetNeuron,
    current: Float[Array, "time *n"] | Drive,
    spikes: Float[Array, "time *n"],
    dt: float,
) -> TeacherForced:
    """Run a neuron whose spikes are the recorded ones (teacher forcing): its own threshold resets nothing, a
    recorded spike does, at the end of its step.

    **Arguments:** `current`, ``(time, *n)``, or a `Drive` of such, in the neuron's units; `spikes`: above 0
    in the steps that hold one; `dt` in ms.
    """

    def step(state, x):
        current, spike = x
        free = neuron.flow(state, current, dt)
        forced = TeacherForced(free.v, neuron.height(free))
        return _after(neuron, free, spike > 0), forced

    return jax.lax.scan(step, neuron.init(spikes.shape[1:]), (current, spikes))[1]


def hazard(
    height: Float[Array, "*n"], width: Float[Array, ""] | float, rate: Float[Array, ""] | float
) -> Float[Array, "*n"]:
    """Escape rate in 1/ms, ``rate log(1 + exp(height/width))``: exponential below the threshold, linear
    above.

    **Arguments:** `height` above the threshold and `width` of the escape zone in the same unit; `rate` in
    1/ms.

    **Reference:** Gerstner et al., Neuronal Dynamics 2014, section 9.1 (escape noise); the soft rectifier is
    one of its usual forms.
    """
    return rate * jax.nn.softplus(height / width)


def log_likelihood_of_spikes(
    expected: Float[Array, "*n"], spikes: Float[Array, "*n"], floor: float
) -> Float[Array, "*n"]:
    """Log-likelihood of what was recorded in every step or bin, in nats: ``log(1 - exp(-H))`` with a spike,
    ``-H`` without.

    **Arguments:** `expected`: H, the expected number of escapes, the integral of the escape rate; `spikes`:
    above 0 where there is one; `floor`: added to H in the logarithm, which stays finite where no spike was
    expected, so that one such spike costs no more than ``-log(floor)``.
    """
    return jnp.where(spikes > 0, jnp.log(-jnp.expm1(-expected - floor)), -expected)


def escape(
    neuron: AbstractResetNeuron,
    current: Float[Array, "time *n"] | Drive,
    rate: Rate,
    dt: float,
    *,
    key: PRNGKeyArray,
) -> tuple[Float[Array, "time *n"], Float[Array, "time *n"]]:
    """One free run with escape noise: the neuron draws its spikes, ``P(spike in a step) = 1 - exp(-rate
    dt)``, and each resets it.

    **Arguments:** as of `teacher_forced`; `rate`: of escape in 1/ms, from the height of v above the
    threshold.

    **Returns:** v before the spike that may end the step, and the spikes (0 or 1), both ``(time, *n)``.
    """

    def step(carry, current):
        state, key = carry
        key, own = jax.random.split(key)
        free = neuron.flow(state, current, dt)
        end, spiked = _draw(neuron, free, rate, dt, own)
        return (end, key), (free.v, spiked.astype(free.v.dtype))

    return jax.lax.scan(step, (neuron.init(jax.tree.leaves(current)[0].shape[1:]), key), current)[1]


def binned_hazard(
    neuron: AbstractResetNeuron,
    current: Float[Array, "bins sub *n"],
    spikes: Float[Array, "bins sub *n"],
    rate: Rate,
    dt: float,
) -> Float[Array, "bins *n"]:
    """Expected number of escapes in every bin if nothing had happened in it, given the recorded spikes of the
    bins before.

    ```
    H_k = sum over the steps of bin k of rate(height) dt
    P(spike in bin k | spikes before it) = 1 - exp(-H_k)
    ```
    Every bin is run twice from the same state: without spikes for H, and with the recorded ones, at their own
    steps, for the state after it. So a bin's probability never sees its own spike, but the next bin knows
    when in the bin it was.

    **Arguments:** `current` in the neuron's units; `spikes`: above 0 in the steps that hold one; `rate`: of
    escape in 1/ms, from the height of v above the threshold; `dt` of a step in ms.
    """

    def bin_(state, x):
        currents, recorded = x
        quiet, total, after = state, jnp.zeros(current.shape[2:], current.dtype), state
        for i, y in zip(currents, recorded, strict=True):
            quiet = neuron.flow(quiet, i, dt)
            total = total + dt * rate(neuron.height(quiet))
            after = _after(neuron, neuron.flow(after, i, dt), y > 0)
        return after, total

    return jax.lax.scan(bin_, neuron.init(current.shape[2:]), (current, spikes))[1]


def mean_response(
    neuron: AbstractResetNeuron,
    current: Float[Array, "bins sub *n"],
    rate: Rate,
    dt: float,
    samples: int,
    *,
    key: PRNGKeyArray,
) -> Float[Array, "bins *n"]:
    """Probability of a spike in every bin from the current alone: the mean of `samples` free runs with escape
    noise (see `escape`).

    Half a spike and half a silence are added to the counts, so that no probability is 0 or 1. The standard
    error is ``sqrt(p (1 - p)/samples)``.

    **Arguments:** as of `binned_hazard`.
    """
    shape = (samples, *current.shape[2:])

    def bin_(carry, currents):
        state, key = carry
        any_ = jnp.zeros(shape, bool)
        for i in currents:
            key, own = jax.random.split(key)
            free = neuron.flow(state, jnp.broadcast_to(i, shape), dt)
            state, spiked = _draw(neuron, free, rate, dt, own)
            any_ = any_ | spiked
        return (state, key), jnp.sum(any_, axis=0)

    _, counts = jax.lax.scan(bin_, (neuron.init(shape), key), current)
    return (counts + 0.5) / (samples + 1.0)
