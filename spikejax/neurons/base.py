"""What every neuron is: an elementwise flow, a threshold and a reset; and the step that ties them to a
gate."""

import abc
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..gates import Gate

Reset = Literal["split", "subtract", "zero"]


AnyState = Any
"""Any `NamedTuple` of arrays with a field `v`."""


class State(NamedTuple):
    """State of neurons that have no variable beside the membrane potential. Others add fields to their own
    tuple."""

    v: Float[Array, "*n"]


class Drive(NamedTuple):
    """Input of neurons with conductance-based synapses, ``I - g v``, in place of a current."""

    current: Float[Array, "*n"]
    """``I``, which holds the part ``sum_k g_k E_k`` of the synaptic currents ``sum_k g_k (E_k - v)``."""
    conductance: Float[Array, "*n"]
    """``g``, the sum of the synaptic conductances."""


Input = Float[Array, "*n"] | Drive
"""What drives a population in a step: a current ``(*n)``, or a current and a conductance."""


def parts(current: Input) -> tuple[Float[Array, "*n"], Float[Array, "*n"] | float]:
    """``I`` and ``g`` of the input ``I - g v``; g is 0 for a plain current."""
    return current if isinstance(current, Drive) else (current, 0.0)


class Path(NamedTuple):
    """What happened in one step, per neuron."""

    free: AnyState
    """State at the end of the step if there were no reset."""
    count: Float[Array, "*n"]
    """Number of spikes in the step; a float without derivative."""


class AbstractNeuron(eqx.Module):
    """A neuron: ``dstate/dt = f(state, I)`` between spikes, ``state -> reset`` when v reaches the threshold
    from below.

    To add a neuron, subclass, give it ``v_th``, ``v_reset`` and ``reset`` and write `flow`: one elementwise
    step of the subthreshold equation. The reset then splits the step at the crossing, whatever the flow is
    and however many variables it has, with the exact derivative of the crossing time (`_split`); a neuron
    that knows its own closed form overrides `_split`. Further variables: a `NamedTuple` of its own with a
    field ``v``, set up in `init` and changed by a spike in `on_spike`; a threshold that moves: `threshold`.

    Membrane potentials of the linear integrate-and-fire and theta neurons are dimensionless (or in whatever
    unit threshold and input have), those of the others in mV; time is in ms.
    """

    v_th: eqx.AbstractVar[Float[Array, "..."]]
    v_reset: eqx.AbstractVar[Float[Array, "..."]]
    v_init: eqx.AbstractVar[Float[Array, "..."]]
    reset: eqx.AbstractVar[str]

    @abc.abstractmethod
    def flow(self, state: AnyState, current: Input, dt) -> AnyState:
        """State after `dt` ms of constant `current` without reset, elementwise. `dt` is a float or an array
        (ms)."""

    def init(
        self,
        shape: tuple[int, ...],
        *,
        key: PRNGKeyArray | None = None,
        noise: Float[Array, ""] | float | None = None,
    ) -> AnyState:
        """State at the start of a trial: ``v = v_init``; with a `key` drawn from ``U(v_reset, v_th)``, or,
        with `noise` too, ``v_init`` plus normal noise of that standard deviation (in units of v)."""
        return State(self._initial_v(shape, key, noise))

    def _initial_v(self, shape, key, noise) -> Float[Array, "*n"]:
        if key is None:
            return jnp.broadcast_to(self.v_init, shape)
        if noise is None:
            return self.v_reset + (self.v_th - self.v_reset) * jax.random.uniform(key, shape, self.v_th.dtype)
        return self.v_init + noise * jax.random.normal(key, shape, self.v_init.dtype)

    def threshold(self, state: AnyState) -> Float[Array, "..."]:
        """Membrane potential at which a neuron in this state spikes: ``v_th``, unless the threshold
        adapts."""
        del state
        return self.v_th

    def on_spike(self, state: AnyState) -> AnyState:
        """What a spike does to the state: ``v -> v_reset``."""
        return state._replace(v=jnp.broadcast_to(self.v_reset, state.v.shape))

    def hold(self, state: AnyState, current: Input, dt) -> AnyState:
        """State after `dt` ms in which v is held, as in a refractory period: the other variables go on."""
        return self.flow(state, current, dt)._replace(v=state.v)

    def time_constants(self) -> dict[str, Float[Array, "..."]]:
        """The time constants (ms) that a step has to resolve, by name."""
        return {}

    def released(self, gate: Gate, state: AnyState) -> Float[Array, "*n"]:
        """Charge released on the way up to the state's v: ``G(v)`` with the active zone ``[threshold - width,
        threshold]``.

        The zone ends where the reset is, so that a spike releases the whole charge before it, and its fixed
        point under the sharpness is ``v0 = v_th``: ``a -> inf`` is the ordinary threshold.
        """
        return gate.cumulative(self._height(state) + 0.5 * gate.support)

    def zone(self, gate: Gate) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Lower and upper edge of the active zone as `gate` uses it (of an adapting threshold: at rest), for
        plots."""
        half = 0.5 * gate.support
        centre = self.v_th - half if gate.release == "charge" else self.v_th
        return centre - half, centre + half

    def charge(
        self, start: Float[Array, "*n"], end: Float[Array, "*n"], count: Float[Array, "*n"]
    ) -> Float[Array, "*n"]:
        """Charge released in a step through a gate that stands at `start` before it and at `end` after it:
        the way up, through resets."""
        return count + (end - start)

    def crossed(self, gate: Gate, state: AnyState, path: Path) -> Float[Array, "*n"]:
        """The number of spikes, with the surrogate derivative ``g(v - threshold)``. `state` is the one before
        the step."""
        del state
        return gate.spike(self._height(path.free), path.count)

    def travel(self, state: AnyState, current: Input, dt) -> tuple[AnyState, Path]:
        """One step of the reset model: the state after it, and what happened. The gate has no part in it.
        Elementwise."""
        free = self.flow(state, current, dt)
        if self.reset == "split":
            end, count = self._split(state, free, current, dt)
        else:
            spiked = self._height(free) >= 0
            count = spiked.astype(free.v.dtype)
            reset = self.on_spike(free)
            if self.reset == "subtract":
                reset = reset._replace(v=free.v - (self.threshold(free) - self.v_reset))
            end = jax.tree.map(lambda a, b: jnp.where(spiked, a, b), reset, free)
        return end, Path(free, jax.lax.stop_gradient(count))

    def surrogate_reset(self, end: AnyState, path: Path, q: Float[Array, "*n"], detach: bool) -> AnyState:
        """The state after the reset, with the derivative that a surrogate gradient gives to the reset.

        The value is that of `end`, to rounding. A split or subtracted reset has the size of a constant,
        ``dv_end = dv_free``, and a reset to zero forgets v; undetached, ``-(v_th - v_reset) dq`` is added
        (``(v_reset - v_free) dq`` for the reset to zero). A split's own derivative, the exact one of its
        crossing time, would count the reset twice. The jumps of other variables at a spike are ``jump dq``,
        detached or not.
        """
        free = path.free
        if self.reset == "split":
            end = jax.tree.map(lambda a, b: b + jax.lax.stop_gradient(a - b), end, free)
        fixed = jax.lax.stop_gradient(free)
        jump = jax.tree.map(lambda a, b: jax.lax.stop_gradient(a - b), self.on_spike(fixed), fixed)
        height = fixed.v if self.reset == "zero" else self.threshold(fixed)
        jump = jump._replace(
            v=jnp.zeros_like(q)
            if detach
            else jnp.broadcast_to(jax.lax.stop_gradient(self.v_reset - height), q.shape)
        )
        return jax.tree.map(lambda x, j: x + j * (q - path.count), end, jump)

    def _height(self, state: AnyState) -> Float[Array, "*n"]:
        return state.v - self.threshold(state)

    def _split(self, state: AnyState, free: AnyState, current, dt) -> tuple[AnyState, Float[Array, "*n"]]:
        """Flow to the threshold, reset, flow the rest of the step. At most one reset per step.

        The crossing time solves ``v(t*) = threshold``. It is found without derivative (`_crossing`); one
        Newton step at the root then carries the derivative ``dt* = -dv/f`` of the implicit function theorem.
        """
        # A neuron that a burst left above the threshold spikes at once: its crossing time is 0.
        spiked = self._height(free) >= 0
        at = _crossing(*jax.lax.stop_gradient((self, state, current)), dt, spiked)
        near, slope = jax.jvp(
            lambda t: self._height(self.flow(state, current, t)), (at,), (jnp.ones_like(at),)
        )
        # v rises where it crosses; it need not where there was nothing to cross.
        slope = jax.lax.stop_gradient(jnp.where(slope > 0, slope, 1.0))
        # Newton's step is added whole, so that its derivative -(dv - dv_th)/f is there; its value is
        # rounding.
        crossing = jnp.where(spiked, jnp.clip(at - near / slope, 0.0, dt), 0.0)
        reset = self.on_spike(self.flow(state, current, crossing))
        rest = self.flow(reset, current, dt - crossing)
        end = jax.tree.map(lambda a, b: jnp.where(spiked, a, b), rest, free)
        return end, spiked.astype(free.v.dtype)


def _crossing(
    neuron: AbstractNeuron, state: AnyState, current, dt, spiked: Bool[Array, "*n"]
) -> Float[Array, "*n"]:
    """Time of the crossing of the neurons that `spiked`: Newton's method, kept inside a bracket that every
    step makes smaller.

    A loop of no iterations where none did, which is most steps.
    """
    height = lambda t: neuron._height(neuron.flow(state, current, t))
    zero = jnp.zeros_like(state.v)
    eps = jnp.finfo(zero.dtype).eps
    # What rounding leaves of a time, and of a height, which is a difference of potentials.
    accuracy, noise = 4 * eps * dt, 4 * eps * (jnp.abs(state.v) + jnp.abs(neuron.threshold(state)))

    def unfinished(carry):
        i, _, _, _, moving = carry
        return (i < 100) & jnp.any(moving)

    def narrow(carry):
        i, low, high, at, moving = carry
        value, slope = jax.jvp(height, (at,), (jnp.ones_like(at),))
        low, high = jnp.where(value < 0, at, low), jnp.where(value < 0, high, at)
        newton = at - value / jnp.where(slope > 0, slope, 1.0)
        # Every fourth step halves the bracket, so that a flow Newton cannot follow costs iterations, not the
        # answer.
        good = (slope > 0) & (newton > low) & (newton < high) & (i % 4 != 3)
        new = jnp.where(good, newton, 0.5 * (low + high))
        moving = moving & (jnp.abs(value) > noise)
        new = jnp.where(moving, new, at)
        return i + 1, low, high, new, moving & (jnp.abs(new - at) > accuracy) & (high - low > accuracy)

    start = (jnp.asarray(0), zero, jnp.full_like(zero, dt), jnp.full_like(zero, dt), spiked)
    return jax.lax.while_loop(unfinished, narrow, start)[3]


def spiking_step(
    neuron: AbstractNeuron, gate: Gate, state: AnyState, level: Float[Array, "*n"] | None, current: Input, dt
) -> tuple[AnyState, Float[Array, "*n"] | None, Float[Array, "*n"]]:
    """One elementwise step of any neuron through any gate: the new state and level, and the charge `q`
    released.

    This is the one place where reset and release meet. With charge release the charge reads the path of the
    reset model, ``q = G(v_end) - G(v_start) + resets``. With graded and surrogate release the reset reads the
    charge.

    **Arguments:** `state`, `current` of shape ``(*n)``; `level`: ``G(v_start)`` from `start_level` or the
    step before, so that each step evaluates the gate once (None unless charge is released); `dt` in ms.

    **Returns:** the state at the end of the step, ``G(v_end)``, and the charge ``(*n)``: 1 for a whole spike,
    at any speed.
    """
    if gate.release == "graded":
        free = neuron.flow(state, current, dt)
        q = gate.cumulative(neuron._height(free))
        target = neuron.on_spike(free)
        if neuron.reset != "zero":
            target = target._replace(v=free.v - (neuron.threshold(free) - neuron.v_reset))
        return jax.tree.map(lambda a, b: a + q * (b - a), free, target), level, q

    end, path = neuron.travel(state, current, dt)
    if gate.release == "charge":
        reached = neuron.released(gate, end)
        return end, reached, neuron.charge(level, reached, path.count)
    if gate.release == "hard":
        return end, level, path.count
    q = neuron.crossed(gate, state, path)
    return neuron.surrogate_reset(end, path, q, gate.detach_reset), level, q


def start_level(neuron: AbstractNeuron, gate: Gate, state: AnyState) -> Float[Array, "*n"] | None:
    """The `level` to start `spiking_step` with: ``G(v)`` with charge release, and None with the others."""
    return neuron.released(gate, state) if gate.release == "charge" else None
