"""What every neuron is: an elementwise flow, a threshold and a reset; and the step that ties them to a gate."""

import abc
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..gates import Gate

Reset = Literal["split", "subtract", "zero"]


AnyState = Any
"""Any `NamedTuple` of arrays with a field `v`."""


class State(NamedTuple):
    """State of neurons that have no variable beside the membrane potential. Others add fields to their own tuple."""

    v: Float[Array, "*n"]


class Path(NamedTuple):
    """Membrane potential over one step, per neuron."""

    free: Float[Array, "*n"]
    """v at the end of the step if there were no reset."""
    end: Float[Array, "*n"]
    """v at the end of the step."""
    count: Float[Array, "*n"]
    """Number of resets in the step; a float without derivative."""


class AbstractNeuron(eqx.Module):
    """A neuron: ``dstate/dt = f(state, I)`` between spikes, ``state -> reset`` when v reaches ``v_th`` from below.

    To add a neuron, subclass, give it ``v_th``, ``v_reset`` and ``reset`` and write `flow`: one elementwise step of the
    subthreshold equation. The reset then splits the step at the crossing, whatever the flow is, with the exact
    derivative of the crossing time (`_split`); a neuron that knows its own closed form overrides `_split`.

    Membrane potentials of the integrate-and-fire and theta neurons are dimensionless; time is in ms.
    """

    v_th: eqx.AbstractVar[Float[Array, "..."]]
    v_reset: eqx.AbstractVar[Float[Array, "..."]]
    v_init: eqx.AbstractVar[Float[Array, "..."]]
    reset: eqx.AbstractVar[Reset]

    @abc.abstractmethod
    def flow(self, state: AnyState, current: Float[Array, "*n"], dt) -> AnyState:
        """State after `dt` ms of constant `current` without reset, elementwise. `dt` is a float or an array (ms)."""

    def init(self, shape: tuple[int, ...], *, key: PRNGKeyArray | None = None, noise: Float[Array, ""] | float | None = None) -> AnyState:
        """State at the start of a trial: ``v = v_init``; with a `key` drawn from ``U(v_reset, v_th)``, or, with `noise` too,
        ``v_init`` plus normal noise of that standard deviation (in units of v)."""
        if key is None:
            return State(jnp.broadcast_to(self.v_init, shape))
        if noise is None:
            return State(self.v_reset + (self.v_th - self.v_reset) * jax.random.uniform(key, shape, self.v_th.dtype))
        return State(self.v_init + noise * jax.random.normal(key, shape, self.v_init.dtype))

    def on_spike(self, state: AnyState) -> AnyState:
        """What a spike does to the state: ``v -> v_reset``."""
        return state._replace(v=jnp.broadcast_to(self.v_reset, state.v.shape))

    def time_constants(self) -> dict[str, Float[Array, "..."]]:
        """The time constants (ms) that a step has to resolve, by name."""
        return {}

    def released(self, gate: Gate, v: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Charge released on the way up to `v`: ``G(v)`` with the active zone ``[v_th - width, v_th]``.

        The zone ends where the reset is, so that a spike releases the whole charge before it, and its fixed point
        under the sharpness is ``v0 = v_th``: ``a -> inf`` is the ordinary threshold.
        """
        return gate.cumulative(v - self.v_th + 0.5 * gate.support)

    def zone(self, gate: Gate) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Lower and upper edge of the active zone as `gate` uses it, for plots."""
        half = 0.5 * gate.support
        centre = self.v_th - half if gate.release == "charge" else self.v_th
        return centre - half, centre + half

    def travel(self, state: AnyState, current: Float[Array, "*n"], dt) -> tuple[AnyState, Path]:
        """One step of the reset model; the gate has no part in it. Elementwise."""
        free = self.flow(state, current, dt)
        if self.reset == "split":
            end, count = self._split(state, free, current, dt)
        else:
            spiked = free.v >= self.v_th
            count = spiked.astype(free.v.dtype)
            reset = self.on_spike(free)
            if self.reset == "subtract":
                reset = reset._replace(v=free.v - (self.v_th - self.v_reset))
            end = jax.tree.map(lambda a, b: jnp.where(spiked, a, b), reset, free)
        return end, Path(free.v, end.v, jax.lax.stop_gradient(count))

    def surrogate_reset(self, end: AnyState, path: Path, q: Float[Array, "*n"], detach: bool) -> AnyState:
        """The state after the reset, with the derivative that a surrogate gradient gives to the reset.

        The value is that of `end`, to rounding. A split or subtracted reset has the size of a constant, ``dv_end = dv_free``, and a
        reset to zero forgets v; undetached, ``-(v_th - v_reset) dq`` is added (``(v_reset - v_free) dq`` for the reset to
        zero). A split's own derivative, the exact one of its crossing time, would count the reset twice.
        """
        if self.reset == "split":
            end = end._replace(v=path.free + jax.lax.stop_gradient(path.end - path.free))
        if detach:
            return end
        jump = self.v_reset - (path.free if self.reset == "zero" else self.v_th)
        return end._replace(v=end.v + jax.lax.stop_gradient(jump) * (q - path.count))

    def _split(self, state: AnyState, free: AnyState, current, dt) -> tuple[AnyState, Float[Array, "*n"]]:
        """Flow to the threshold, reset, flow the rest of the step.

        The crossing time solves ``v(t*) = v_th``. It is found by bisection without derivative; one Newton step at the root
        then carries the derivative ``dt* = -dv/f`` of the implicit function theorem. At most one reset per step.
        """
        # A neuron that a burst left above the threshold spikes at once: its crossing time is 0.
        spiked = free.v >= self.v_th

        def bisect(_, bracket):
            low, high = bracket
            middle = 0.5 * (low + high)
            above = self.flow(frozen, still, middle).v >= th
            return jnp.where(above, low, middle), jnp.where(above, middle, high)

        frozen, still, th = jax.lax.stop_gradient((state, current, self.v_th))
        zero = jnp.zeros_like(free.v)
        bits = jnp.finfo(free.v.dtype).nmant + 2
        low, high = jax.lax.fori_loop(0, bits, bisect, (zero, jnp.full_like(zero, dt)))
        at = jax.lax.stop_gradient(0.5 * (low + high))
        near, slope = jax.jvp(lambda t: self.flow(state, current, t).v, (at,), (jnp.ones_like(at),))
        slope = jax.lax.stop_gradient(jnp.where(spiked, slope, 1.0))
        # Newton's step is added whole, so that its derivative -(dv - dv_th)/f is there; its value is rounding.
        crossing = jnp.where(spiked, jnp.clip(at - (near - self.v_th) / slope, 0.0, dt), 0.0)
        reset = self.on_spike(self.flow(state, current, crossing))
        rest = self.flow(reset, current, dt - crossing)
        end = jax.tree.map(lambda a, b: jnp.where(spiked, a, b), rest, free)
        return end, spiked.astype(free.v.dtype)


def spiking_step(
    neuron: AbstractNeuron, gate: Gate, state: AnyState, level: Float[Array, "*n"] | None, current: Float[Array, "*n"], dt
) -> tuple[AnyState, Float[Array, "*n"] | None, Float[Array, "*n"]]:
    """One elementwise step of any neuron through any gate: the new state and level, and the charge `q` released.

    This is the one place where reset and release meet. With charge release the charge reads the path of the reset
    model, ``q = G(v_end) - G(v_start) + resets``. With graded and surrogate release the reset reads the charge.

    **Arguments:** `state`, `current` of shape ``(*n)``; `level`: ``G(v_start)`` from `start_level` or the step before, so
    that each step evaluates the gate once (None unless charge is released); `dt` in ms.

    **Returns:** the state at the end of the step, ``G(v_end)``, and the charge ``(*n)``: 1 for a whole spike, at any speed.
    """
    if gate.release == "graded":
        free = neuron.flow(state, current, dt)
        q = gate.cumulative(free.v - neuron.v_th)
        target = neuron.on_spike(free)
        if neuron.reset != "zero":
            target = target._replace(v=free.v - (neuron.v_th - neuron.v_reset))
        return jax.tree.map(lambda a, b: a + q * (b - a), free, target), level, q

    end, path = neuron.travel(state, current, dt)
    if gate.release == "charge":
        reached = neuron.released(gate, path.end)
        return end, reached, path.count + (reached - level)
    if gate.release == "hard":
        return end, level, path.count
    q = gate.spike(path.free - neuron.v_th, path.count)
    return neuron.surrogate_reset(end, path, q, gate.detach_reset), level, q


def start_level(neuron: AbstractNeuron, gate: Gate, state: AnyState) -> Float[Array, "*n"] | None:
    """The `level` to start `spiking_step` with: ``G(v)`` with charge release, and None with the others."""
    return neuron.released(gate, state.v) if gate.release == "charge" else None
