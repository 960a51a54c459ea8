"""The QIF neuron between events, projectively: two numbers p and q in the place of V, of which a spike is
``q = 0`` and the reset nothing at all.

With time in membrane time constants, ``s = exp(-t)`` since the last event, ``sigma = 1 - s`` and ``u = V/s``,
``dV/dt = V (V - 1) + I`` with ``I = J exp(-2 t)`` (synapses of half the time constant) becomes
```
du/dsigma = u^2 + J,     u = p/q,     (p, q)' = [[C, J S], [-S, C]] (p, q)
C = cos(sqrt(J) sigma),  S = sin(sqrt(J) sigma)/sqrt(J)          (cosh, sinh for J < 0)
```
A spike is at ``S/C = q/p``, and further ones every ``pi/sqrt(J)``. Nothing of a spike changes p and q, so
that their way through all events of a layer is known before any of its spikes.

With instantaneous (delta) synapses and a constant current, ``x = V - 1/2`` obeys the same equation in the
time itself, ``dx/dt = x^2 + (I - 1/4)``, and an event moves x by its weight: ``p += w q``.

**Reference:** Klos & Memmesheimer, arXiv:2309.14523 (the neuron, its solution, pseudospikes); the projective
form is derived here.
"""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..elementary import angle, circle
from ..neurons.solvers import propagator, time_to
from .base import AbstractClosedForm
from .stretches import Stretch, through
from .train import Train

SOFTNESS = 10.0
"""``alpha`` of the current of pseudospikes, ``alpha softplus(I/alpha)``."""


class Projective(NamedTuple):
    """``V = p/q`` (with delta synapses ``V - 1/2``), q at least 0, of any common factor; and the current."""

    p: Float[Array, " n"]
    q: Float[Array, " n"]
    current: Float[Array, " n"]
    """Synaptic current, or with delta synapses what is constant of ``I - 1/4``."""


class _Steps(NamedTuple):
    """A stretch of intervals between events: the state at the start of each, and the spikes up to its end."""

    p: Float[Array, "intervals n"]
    q: Float[Array, "intervals n"]
    current: Float[Array, "intervals n"]
    total: Int[Array, "intervals n"]


class AbstractQuadratic(AbstractClosedForm):
    """What exponential and delta synapses have in common."""

    rhythmic: ClassVar[bool] = True
    offset: eqx.AbstractClassVar[float]
    """V where p is 0."""
    exponential: eqx.AbstractClassVar[bool]

    def span(self, h):
        """sigma after a duration."""
        return -jnp.expm1(-h) if self.exponential else h

    def duration(self, sigma):
        """The duration after which sigma is this."""
        if not self.exponential:
            return sigma
        return -jnp.log1p(-jnp.minimum(sigma, 1 - jnp.finfo(sigma.dtype).epsneg))

    def begin(self, v, current):
        # V - 1/2 = -cot(pi v)
        cosine, sine = circle(0.5 * v)
        return Projective((0.5 - self.offset) * sine - cosine, sine, current)

    def end(self, state):
        p = state.p + (self.offset - 0.5) * state.q
        current = state.current if self.exponential else jnp.zeros_like(state.current)
        return 0.5 + angle(p, state.q) / jnp.pi, current

    def until_spike(self, state):
        p, q, current = state
        climbs = (p > 0) & (-current * q**2 < p**2)
        comes = (current > 0) | climbs
        sigma, _ = time_to(q, p, current, comes)
        if self.exponential:
            comes = comes & (sigma < 1)
        return jnp.where(comes, self.duration(jnp.where(comes, sigma, 0.5)), jnp.inf)

    def advance(self, state, h):
        _, cosine, sine = propagator(state.current, jnp.broadcast_to(self.span(h), state.p.shape))
        p = cosine * state.p + state.current * sine * state.q
        q = cosine * state.q - sine * state.p
        if self.exponential:
            p, current = jnp.exp(-h) * p, jnp.exp(-2 * h) * state.current
        else:
            current = state.current
        # Of neurons that are to spike at the same time rounding may take one past its spike: it is due.
        q = q + jax.lax.stop_gradient(jnp.maximum(q, 0.0) - q)
        size = jax.lax.stop_gradient(jnp.maximum(jnp.abs(p), q))
        return Projective(p / size, q / size, current)

    def fire(self, state, who):
        return state._replace(p=jnp.where(who, -1.0, state.p), q=jnp.where(who, 0.0, state.q))

    def arrive(self, state, jump):
        if self.exponential:
            return state._replace(current=state.current + jump)
        return state._replace(p=state.p + jump * state.q)

    def layer(self, state, arrivals, end, spikes):
        def pass_on(carry, stretch: Stretch):
            state, train = carry
            h, jumps = stretch.ends - stretch.starts, stretch.jumps(arrivals)
            state, steps = self._through(state, train.count, h, jumps, spikes)
            return state, self._recorded(train, steps, stretch.starts)

        n = state.p.shape[0]
        train = Train(jnp.broadcast_to(end, (spikes, n)), jnp.zeros(n, jnp.int32))
        state, train = through(pass_on, (state, train), arrivals, end)
        return train, state

    def _through(self, state: Projective, count, h, jumps, spikes: int) -> tuple[Projective, _Steps]:
        """Through intervals of durations `h`, each with an arrival at its end; `count` spikes came before."""
        if self.exponential:
            decay = jnp.exp(-2 * h)

            def flow(current, x):
                d, jump = x
                return d * current + jump, current

            last, currents = jax.lax.scan(flow, state.current, (decay, jumps))
        else:
            last, currents = state.current, jnp.broadcast_to(state.current, jumps.shape)
        # All that costs, sines and exponentials, at once and not event by event.
        turns, cosine, sine = propagator(currents, jnp.broadcast_to(self.span(h)[:, None], jumps.shape))
        turns = jnp.minimum(turns, spikes + 1.0).astype(jnp.int32)
        back = currents * sine
        shrink = jnp.exp(-h) if self.exponential else jnp.ones_like(h)

        def step(carry, x):
            p, q, count = carry
            cosine, sine, back, shrink, turns, jump = x
            new_p = shrink * (cosine * p + back * q)
            new_q = cosine * q - sine * p
            passed = (new_q < 0) | ((new_q == 0) & (new_p > 0))
            # p and q have any common factor: it keeps them near 1 and has no derivative.
            size = jax.lax.stop_gradient(
                jnp.where(passed, -1.0, 1.0) / jnp.maximum(jnp.abs(new_p), jnp.abs(new_q))
            )
            new_p, new_q = new_p * size, new_q * size
            if not self.exponential:
                new_p = new_p + jump * new_q
            # One too many is enough to be reported.
            count = jnp.minimum(count + turns + passed, spikes + 1)
            return (new_p, new_q, count), (p, q, count)

        carry = (state.p, state.q, count)
        (p, q, _), (ps, qs, total) = jax.lax.scan(step, carry, (cosine, sine, back, shrink, turns, jumps))
        return Projective(p, q, last), _Steps(ps, qs, currents, total)

    def _recorded(self, train: Train, steps: _Steps, start) -> Train:
        """The spikes with those of some more intervals, which begin at `start`."""
        room, n = train.times.shape
        slots = jnp.arange(room, dtype=jnp.int32)[:, None]
        found = (slots >= train.count) & (slots < steps.total[-1])
        # The interval of every spike, found by counting those that end before it.
        own = jnp.sum(steps.total[:, None] <= slots, axis=0, dtype=jnp.int32)
        own = jnp.where(found, own, 0)
        # All of an interval lies side by side, to be fetched, and its cotangents brought back, at once.
        every = jnp.stack([steps.p, steps.q, steps.current], axis=-1)[own, jnp.arange(n)]
        p, q, current = jnp.where(found[..., None], every, jnp.ones(3, every.dtype)).transpose(2, 0, 1)
        before = jnp.concatenate([train.count[None], steps.total[:-1]])[own, jnp.arange(n)]
        sigma, period = time_to(q, p, current, found)
        sigma = jnp.where(found, sigma + (slots - before).astype(p.dtype) * period, 0.5)
        # A neuron that fires more often than there is room for is reported, and not followed.
        return Train(jnp.where(found, start[own] + self.duration(sigma), train.times), steps.total[-1])

    def pace(self, state: Projective, extra, rest: bool):
        """The current above 1/4 after the trial, ``g``, and p and q of ``V - 1/2``."""
        raise NotImplementedError

    def rhythm(self, state, extra=0.0, *, rest=False):
        current, p, q = self.pace(state, extra, rest)
        root = jnp.sqrt(current)
        # atan(x/root) + pi/2 with x = p/q and q >= 0.
        return jnp.pi / root, (angle(p, root * q) + 0.5 * jnp.pi) / root


class ExponentialQIF(AbstractQuadratic):
    """QIF neurons with exponential synapses of half their time constant."""

    offset: ClassVar[float] = 0.0
    exponential: ClassVar[bool] = True

    def pace(self, state, extra, rest):
        current = jnp.zeros_like(state.current) if rest else state.current + extra
        # g = alpha log(1 + exp(I/alpha)), without overflow.
        soft = SOFTNESS * jnp.logaddexp(current / SOFTNESS, 0.0)
        return soft, state.p - 0.5 * state.q, state.q


class OscillatingTheta(AbstractQuadratic):
    """QIF neurons that fire by themselves, of constant current above 1/4, with delta synapses."""

    drive: Float[Array, " n"]
    """``I - 1/4``."""
    offset: ClassVar[float] = 0.5
    exponential: ClassVar[bool] = False

    def begin(self, v, current):
        del current
        return super().begin(v, jnp.broadcast_to(self.drive, v.shape))

    def carried(self, extra):
        return extra

    def pace(self, state, extra, rest):
        del rest  # there is no synaptic current
        return state.current, state.p + extra * state.q, state.q


__all__ = ["ExponentialQIF", "OscillatingTheta", "Projective"]
