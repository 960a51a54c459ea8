"""The LIF neuron between events, and the exact gradient of its spike times.

With time in membrane time constants, a threshold of 1 and ``s = exp(-t)`` since the last event,
```
tau_syn = tau_mem/2:   V = (V_0 + I_0) s - I_0 s^2        a spike: a quadratic equation in s
tau_syn = tau_mem:     V = (V_0 + I_0 t) s                a spike: Lambert's W
```
A spike at t* has ``dt* = -dV/V'``, ``V' = I - 1``, which diverges where V only just reaches the threshold.
The gradient of a layer goes back through its events and spikes with the costates of V and I, which obey
linear equations of constant coefficients: of the way there it needs no more than the spike times and the
currents at them (EventProp).

**Reference:** Wunderlich & Pehle 2021, doi:10.1038/s41598-021-91786-z; Goltz et al. 2021,
doi:10.1038/s42256-021-00388-x (the closed forms).
"""

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .base import AbstractClosedForm
from .stretches import Stretch, through
from .train import Arrivals, Train


class Leaky(NamedTuple):
    """Membrane potential, with the bias at 0 and the threshold at 1, and synaptic current in its units."""

    v: Float[Array, " n"]
    current: Float[Array, " n"]


def flow(equal: bool, state: Leaky, h) -> Leaky:
    """The state after a duration without a spike; `equal`: whether the two time constants are."""
    keep, pass_on, decay = _factors(equal, h)
    return Leaky(keep * state.v + pass_on * state.current, decay * state.current)


def _factors(equal: bool, h):
    """What is left of V after `h`, what it has of the current by then, and what is left of that."""
    s = jnp.exp(-h)
    return (s, h * s, s) if equal else (s, -s * jnp.expm1(-h), s * s)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def until_threshold(equal: bool, state: Leaky) -> Float[Array, " n"]:
    """How long it takes to V = 1, inf if it stays below; 0 for a V that is not below it."""
    v, current = state
    late = v >= 1
    if equal:
        # The peak is I exp(-t_p) at t_p = 1 - V/I. With y = t_p - t the crossing is y + log(1 - y) = -L, L
        # the logarithm of the peak.
        rises = (current > v) & (current > 0)
        safe = jnp.where(rises, current, 1.0)
        peak = 1 - v / safe
        log_peak = jnp.log(safe) - peak
        reaches = rises & (log_peak > 0) & ~late
        h = peak - _before_peak(jnp.where(reaches, log_peak, 1.0))
    else:
        total = v + current
        square = total**2 - 4 * current
        reaches = (square > 0) & (current > 0) & (total > 0) & (total <= 2 * current) & ~late
        root = jnp.sqrt(jnp.where(reaches, square, 1.0))
        h = jnp.log(2 * jnp.where(reaches, current, 1.0) / (jnp.where(reaches, total, 1.0) + root))
    return jnp.where(late, 0.0, jnp.where(reaches, jnp.maximum(h, 0.0), jnp.inf))


@until_threshold.defjvp
def _until_threshold_jvp(equal, primals, tangents):
    (state,), (moved,) = primals, tangents
    h = until_threshold(equal, state)
    there = jnp.isfinite(h)
    safe = jnp.where(there, h, 0.0)
    at = flow(equal, state, safe)
    speed = at.current - at.v
    lift = flow(equal, moved, safe).v
    return h, jnp.where(there, -lift / jnp.where(there & (speed != 0), speed, 1.0), 0.0)


def _before_peak(log_peak: Float[Array, " n"]) -> Float[Array, " n"]:
    """y between 0 and 1 with ``y + log(1 - y) = -L``: ``1 - y`` is ``-W(-exp(-1 - L))`` on the principal
    branch of Lambert's W."""
    # Corless et al. 1996: the series at the branch point, and that at 0; then Halley's steps, of order 3.
    p = jnp.sqrt(-2 * jnp.expm1(-log_peak))
    near = p * (1 - p * (1 / 3 - p * (11 / 72 - p * (43 / 540 - p * (769 / 17280 - p * 221 / 8505)))))
    a = jnp.exp(-1 - log_peak)
    y = jnp.where(log_peak < 0.7, near, 1 - a * (1 + a * (1 + a * (1.5 + a * (8 / 3 + a * 125 / 24)))))
    for _ in range(3):
        z = 1 - y
        wrong, slope, bend = y + jnp.log(z) + log_peak, -y / z, -1 / z**2
        y = y - 2 * wrong * slope / (2 * slope**2 - wrong * bend)
    # At the branch point the steps divide rounding by y, and the series is exact.
    return jnp.where(p < 3e-3, near, y)


class _Spikes(NamedTuple):
    """The spikes of one stretch, each in its place among those of its neuron; 0 in all others."""

    times: Float[Array, "spikes n"]
    currents: Float[Array, "spikes n"]
    interval: Int[Array, "spikes n"]
    """Number of the interval that a spike is in."""


def _run(equal: bool, state: Leaky, reset, count, starts, ends, jumps, spikes: int):
    """Through intervals with an arrival at the end of each: spikes, their number with the `count` before, and
    the last state."""
    n = state.v.shape[0]
    slots = jnp.arange(spikes, dtype=jnp.int32)[:, None]
    number = jnp.arange(ends.shape[0], dtype=jnp.int32)

    def interval(carry, x):
        state, count, found = carry
        start, end, jump, k = x

        def due(carry):
            _, at, wait, count, _ = carry
            return jnp.any((at + wait <= end) & (count <= spikes))

        def spike(carry):
            state, at, wait, count, found = carry
            hit = (at + wait <= end) & (count <= spikes)
            there = flow(equal, state, jnp.where(hit, wait, 0.0))
            at = jnp.where(hit, at + wait, at)
            own = hit & (slots == count)
            found = _Spikes(
                *(jnp.where(own, new, old) for new, old in zip((at, there.current, k), found, strict=True))
            )
            state = Leaky(jnp.where(hit, reset, state.v), jnp.where(hit, there.current, state.current))
            return state, at, jnp.where(hit, until_threshold(equal, state), wait), count + hit, found

        begun = (state, jnp.full(n, start), until_threshold(equal, state), count, found)
        state, at, _, count, found = jax.lax.while_loop(due, spike, begun)
        state = flow(equal, state, end - at)
        return (state._replace(current=state.current + jump), count, found), None

    empty = jnp.zeros((spikes, n), ends.dtype)
    carry = (state, count, _Spikes(empty, empty, empty.astype(jnp.int32)))
    (state, count, found), _ = jax.lax.scan(interval, carry, (starts, ends, jumps, number))
    return found, count, state


@partial(jax.custom_vjp, nondiff_argnums=(0, 7))
def _stretch(equal: bool, state: Leaky, reset, count, starts, ends, jumps, spikes: int):
    """Times of the spikes, their number, and the last state."""
    found, count, state = _run(equal, state, reset, count, starts, ends, jumps, spikes)
    return found.times, count, state


def _forward(equal, state, reset, count, starts, ends, jumps, spikes):
    found, total, last = _run(equal, state, reset, count, starts, ends, jumps, spikes)
    return (found.times, total, last), (state, reset, count, starts, ends, jumps, found, total, last)


def _backward(equal, spikes, residuals, cotangents):
    first, reset, count, starts, ends, jumps, found, total, last = residuals
    by_times, _, by_state = cotangents
    slots = jnp.arange(spikes, dtype=jnp.int32)[:, None]
    rate = 1.0 if equal else 2.0

    def pick(x, slot):
        return jnp.sum(jnp.where(slots == slot, x, 0), axis=0)

    def interval_of(slot):
        """The interval of a spike; -1 if it is not of this stretch."""
        return jnp.where(slot >= count, pick(found.interval, slot), -1)

    def back(costate: Leaky, h) -> Leaky:
        keep, pass_on, decay = _factors(equal, h)
        return Leaky(keep * costate.v, pass_on * costate.v + decay * costate.current)

    def along(costate: Leaky, state: Leaky):
        """How fast the loss would change with the state's own motion."""
        return jnp.sum(costate.v * (state.current - state.v) - rate * costate.current * state.current)

    def interval(carry, x):
        costate, slot, where, by_reset = carry
        start, end, jump, k = x
        by_jump = costate.current
        # Arriving later the jump decays less, and has moved V less.
        by_end = jnp.sum(jump * (rate * costate.current - costate.v))

        def spike(carry):
            costate, at, slot, where, by_reset = carry
            own = where == k
            time, current = pick(found.times, slot), pick(found.currents, slot)
            before = back(costate, jnp.where(own, at - time, 0.0))
            speed = jnp.where(own, current - 1, 1.0)
            v = ((current - reset) * before.v - pick(by_times, slot)) / jnp.where(speed != 0, speed, 1.0)
            by_reset = by_reset + jnp.where(own, before.v, 0.0)
            costate = Leaky(jnp.where(own, v, costate.v), jnp.where(own, before.current, costate.current))
            slot = slot - own
            return costate, jnp.where(own, time, at), slot, interval_of(slot), by_reset

        begun = (costate, jnp.full(slot.shape, end), slot, where, by_reset)
        any_left = lambda carry: jnp.any(carry[3] == k)
        costate, at, slot, where, by_reset = jax.lax.while_loop(any_left, spike, begun)
        return (back(costate, at - start), slot, where, by_reset), (by_jump, by_end)

    slot = jnp.minimum(total, spikes) - 1
    number = jnp.arange(ends.shape[0], dtype=jnp.int32)
    carry = (by_state, slot, interval_of(slot), jnp.zeros_like(by_state.v))
    (costate, _, _, by_reset), (by_jumps, by_ends) = jax.lax.scan(
        interval, carry, (starts, ends, jumps, number), reverse=True
    )
    # An end is the next one's start too: of the starts all but the first are no arguments of their own.
    by_starts = jnp.zeros_like(starts).at[0].set(-along(costate, first))
    by_ends = by_ends.at[-1].add(along(by_state, last))
    return costate, by_reset, None, by_starts, by_ends, by_jumps


_stretch.defvjp(_forward, _backward)


class LeakyIntegrator(AbstractClosedForm):
    """LIF neurons with exponential synapses of half their time constant or of all of it."""

    scale: Float[Array, " n"]
    """From the bias to the threshold: what the potential and the current are in units of."""
    bias: Float[Array, " n"]
    reset: Float[Array, " n"]
    """Potential after a spike, the bias being 0 and the threshold 1."""
    equal: bool = eqx.field(static=True)
    """Whether the synapses have the membrane's time constant, not half of it."""

    def begin(self, v, current):
        return Leaky((v - self.bias) / self.scale, current / self.scale)

    def end(self, state):
        return self.bias + self.scale * state.v, self.scale * state.current

    def until_spike(self, state):
        return until_threshold(self.equal, state)

    def advance(self, state, h):
        return flow(self.equal, state, h)

    def fire(self, state, who):
        return state._replace(v=jnp.where(who, self.reset, state.v))

    def arrive(self, state, jump):
        return state._replace(current=state.current + jump / self.scale)

    def layer(self, state, arrivals: Arrivals, end, spikes):
        slots = jnp.arange(spikes, dtype=jnp.int32)[:, None]

        def pass_on(carry, stretch: Stretch):
            state, train = carry
            jumps = stretch.jumps(arrivals) / self.scale
            # The stubs of a partial `custom_vjp` do not know what it returns.
            found: Any = _stretch(
                self.equal, state, self.reset, train.count, stretch.starts, stretch.ends, jumps, spikes
            )
            times, count, state = found
            own = (slots >= train.count) & (slots < count)
            return state, Train(jnp.where(own, times, train.times), count)

        n = state.v.shape[0]
        # Places without a spike hold the end of the trial.
        train = Train(jnp.broadcast_to(end, (spikes, n)), jnp.zeros(n, jnp.int32))
        state, train = through(pass_on, (state, train), arrivals, end)
        return train, state


__all__ = ["Leaky", "LeakyIntegrator", "flow", "until_threshold"]
