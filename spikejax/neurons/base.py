"""What every neuron is: an elementwise flow between spikes, a height above its threshold, and what a spike
does."""

import abc
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..component import Component, check_order
from ..elementary import beneath
from ..gates import Gate, Level, Released, Upswing
from ..registry import Registry
from .solvers import passage

if TYPE_CHECKING:  # no field of the constructor: a class may have a property in its place
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar

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

    start: AnyState
    """State that the step set out from: the one before it, after a spike that was due there."""
    free: AnyState
    """State at the end of the step if there were no reset."""
    count: Float[Array, "*n"]  # pyright: ignore[reportIncompatibleMethodOverride] (not tuple.count)
    """Number of spikes in the step; a float without derivative."""
    first: Float[Array, "*n"] | None = None
    """Time of the first of them as a fraction of the step, 1 if there is none. None for spikes on the grid,
    whose charge arrives as if they were at the start of the step."""
    last: Float[Array, "*n"] | None = None
    """Time of the last of them, likewise; several are equally far apart."""
    landed: AnyState = None
    """State right after the last of them, one for each neuron or for all; where there is none, any that is
    finite."""
    upswing: Upswing | None = None
    """How v reaches the first spike, or without one the end of the step. None: its way within a step is taken
    as straight."""

    @property
    def left(self) -> Float[Array, "*n"] | float:
        """The fraction of the step that is left after a spike, in the mean over its spikes; 0 if there is
        none."""
        return 1.0 if self.first is None or self.last is None else 1 - 0.5 * (self.first + self.last)


class AbstractNeuron(Component):
    """A neuron: ``dstate/dt = f(state, I)`` between spikes, and a spike whenever v reaches the threshold from
    below.

    Nearly all neurons are reset by a spike and are an `AbstractResetNeuron`. The others (theta,
    Hodgkin-Huxley) go on by their own equations and say in `travel` what counts as a spike.

    Membrane potentials of the linear integrate-and-fire and theta neurons are dimensionless (or in whatever
    unit threshold and input have), those of the others in mV; time is in ms.
    """

    v_init: AbstractVar[Float[Array, "..."]]

    conductances: ClassVar[bool] = False
    """Whether `flow` takes a `Drive`, that is, conductance-based synapses."""
    partial_reset: ClassVar[bool] = False
    """Whether there is a `landing`, of which the graded release takes a part."""
    accelerates: ClassVar[bool] = True
    """Whether v has an upswing, so that its way to the threshold within a step is not straight."""
    jumps: ClassVar[bool] = False
    """Whether v follows its input at once, so that it has no way through an active zone."""

    @abc.abstractmethod
    def flow(self, state: AnyState, current: Input, dt) -> AnyState:
        """State after `dt` ms of constant `current` without reset, elementwise. `dt` is a float or an array
        (ms). `current` is an array, or a `Drive` if the class says that it takes `conductances`."""

    @abc.abstractmethod
    def bounds(self) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """The lowest potential after a spike, and the one at which a neuron at rest spikes: the active zone
        lies between the two."""

    @abc.abstractmethod
    def travel(self, state: AnyState, current: Input, dt) -> tuple[AnyState, Path]:
        """One step of the model with its spikes: the state after it, and what happened. The gate has no part
        in it. Elementwise."""

    def init(
        self,
        shape: tuple[int, ...],
        *,
        key: PRNGKeyArray | None = None,
        noise: Float[Array, "..."] | float | None = None,
    ) -> AnyState:
        """State at the start of a trial: ``v = v_init``; with a `key` drawn from ``U(*bounds)``, or, with
        `noise` too, ``v_init`` plus normal noise of that standard deviation (in units of v), one or one for
        every neuron."""
        return State(self._initial_v(shape, key, noise))

    def _initial_v(self, shape, key, noise) -> Float[Array, "*n"]:
        if key is None:
            return jnp.broadcast_to(self.v_init, shape)
        if noise is None:
            low, high = self.bounds()
            return low + (high - low) * jax.random.uniform(key, shape, high.dtype)
        spread = jnp.broadcast_to(jnp.asarray(noise, self.v_init.dtype), shape)
        return jnp.broadcast_to(self.v_init, shape) + spread * jax.random.normal(key, shape, spread.dtype)

    def threshold(self, state: AnyState) -> Float[Array, "..."]:
        """Membrane potential at which a neuron in this state spikes."""
        del state
        return self.bounds()[1]

    def height(self, state: AnyState) -> Float[Array, "*n"]:
        """How far v is above the threshold, in units of v."""
        return state.v - self.threshold(state)

    def hold(self, state: AnyState, current: Input, dt) -> AnyState:
        """State after `dt` ms in which v is held, as in a refractory period: the other variables go on."""
        return self.flow(state, current, dt)._replace(v=state.v)

    def velocity(self, state: AnyState, current: Input) -> Float[Array, "*n"]:
        """How fast v gains on the threshold, in units of v per ms. By default the derivative of the flow."""
        now = jnp.zeros_like(state.v)
        return jax.jvp(lambda t: self.height(self.flow(state, current, t)), (now,), (jnp.ones_like(now),))[1]

    def _upswing(self, goal: AnyState, current: Input, dt, first) -> Upswing:
        """How v gets to `goal` in the fraction `first` of a step."""
        along = lambda v: self.velocity(goal._replace(v=v), current)
        speed, growth = jax.jvp(along, (goal.v,), (jnp.ones_like(goal.v),))
        return Upswing(dt * first * speed, dt * first * growth)

    def time_constants(self) -> dict[str, Float[Array, "..."]]:
        """The time constants (ms) that a step has to resolve, by name."""
        return {}

    def rheobase(self) -> Float[Array, "..."] | float:
        """The least constant current that makes a neuron at rest spike, in its unit of current, which the
        biases of a new layer are drawn around; 0 if any does, or if it is not known."""
        return 0.0

    def level(self, gate: Gate, state: AnyState) -> Level:
        """Where the state's v stands in the active zone ``[threshold - width, threshold]``.

        The zone ends where the reset is, so that a spike releases the whole charge before it, and its fixed
        point under the sharpness is ``v0 = v_th``: ``a -> inf`` is the ordinary threshold. At or above the
        threshold, where a spike is due, nothing of that spike is released yet.
        """
        height = self.height(state)
        level = gate.level(height + 0.5 * gate.support)
        return level._replace(charge=jnp.where(height < 0, level.charge, 0.0))

    def ends(self, gate: Gate, landed: AnyState) -> tuple[Level, Level]:
        """The levels right before and right after a spike that lands at the state `landed`."""
        half = 0.5 * gate.support
        one, zero = jnp.ones_like(half), jnp.zeros_like(half)
        return Level(half, one, half), Level(self.height(landed) + half, zero, zero)

    def released(self, gate: Gate, end: AnyState, path: Path) -> Released:
        """The charge released on the `path` of a step to the state `end`, and when.

        With the level ``G(v)``, the spikes at the fractions ``t_1 <= ... <= t_n`` of the step, and
        ``A(a, b)`` the `Gate.prompt` of the straight way from a to b,
        ```
        charge = n + G(end) - G(start)
        prompt = A(start, end)                                                      if n = 0
        prompt = t_1 A(start, v_th) + (1 - t_1) (1 - G(start)) + (1 - t_n) A(v_reset, end)
                 + (n - 1) (1 - (t_1 + t_n)/2) + (t_n - t_1) (A(v_reset, v_th) - 1/2)         if n > 0
        ```
        The path is taken as straight between its ends and its spikes, or, to the first spike or the end, as
        an upswing with the right speed there. For a zone that takes several steps to cross that is of second
        order in dt. For one that is narrow against the way of a step the charge comes at the times t_i, which
        are exact, and in a step that ends inside the zone the speed says how long ago it was entered.
        """
        start, stop = self.level(gate, path.start), self.level(gate, end)
        charge = path.count + (stop.charge - start.charge)
        first, last, count = path.first, path.last, path.count
        if first is None or last is None:
            return Released(charge, charge)
        top, landed = self.ends(gate, path.landed)
        # Without a spike both times are 1, and only the way to the end is left.
        prompt = self._released_first(gate, start, top, stop, path).prompt
        prompt = prompt + (1 - last) * gate.prompt(landed, stop)
        prompt = prompt + (count - 1) * path.left + (last - first) * (gate.prompt(landed, top) - 0.5)
        return Released(charge, prompt)

    def _released_first(self, gate: Gate, start: Level, top: Level, stop: Level, path: Path) -> Released:
        """What is released on the way to the first spike, at `top`, or without one to the end, `stop`."""
        assert path.first is not None, "a spike on the grid has no way"
        goal = jax.tree.map(lambda a, b: jnp.where(path.count > 0, a, b), top, stop)
        charge = goal.charge - start.charge
        prompt = path.first * gate.prompt(start, goal, path.upswing) + (1 - path.first) * charge
        return Released(charge, prompt)

    def zone(self, gate: Gate) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Lower and upper edge of the active zone as `gate` uses it (of an adapting threshold: at rest), for
        plots."""
        half = 0.5 * gate.support
        high = self.bounds()[1]
        centre = high - half if gate.release.from_below else high
        return centre - half, centre + half

    def crossed(self, gate: Gate, path: Path) -> Float[Array, "*n"]:
        """The number of spikes, with a surrogate derivative in v: the gate's shape, centred on the threshold
        and with a peak of ``1/(v_th - v_reset)``, whatever its width.

        So the derivative of v through a reset, ``1 - (v_th - v_reset) dq/dv``, is between 0 and 1, and the
        gradient does not grow at every spike.
        """
        low, high = self.bounds()
        return gate.spike(self.height(path.free), path.count, 1 / (high - low))

    def landing(self, free: AnyState) -> AnyState:
        """Where a whole spike takes a neuron that would end the step at `free`, without a split of the
        step."""
        del free
        raise NotImplementedError(f"a {type(self).__name__} neuron has no reset")

    def surrogate_reset(self, end: AnyState, path: Path, q: Float[Array, "*n"], detach: bool) -> AnyState:
        """The state after the step, with the derivative that a surrogate gradient gives to the reset: none
        where there is no reset."""
        del path, q, detach
        return end


class AbstractReset(Component):
    """What a spike does to the step in which it happens. A reset serves every `AbstractResetNeuron`."""

    splits: ClassVar[bool] = False
    """Whether the step is split at the crossing, so that its derivative is that of the crossing time."""

    @abc.abstractmethod
    def travel(self, neuron: Any, state: AnyState, current: Input, dt) -> tuple[AnyState, Path]:
        """State at the end of the step, and what happened in it."""

    @abc.abstractmethod
    def landing(self, neuron: Any, free: AnyState) -> AnyState:
        """State to which a whole spike takes a neuron from `free` at the end of the step."""

    def foot(self, neuron: Any, free: AnyState) -> Any:
        """The potential from which the reset jumps to ``v_reset``, as a surrogate gradient counts the
        jump."""
        return neuron.threshold(free)


RESETS: Registry[AbstractReset] = Registry("reset")
NEURONS: Registry[AbstractNeuron] = Registry("neuron")


class AbstractResetNeuron(AbstractNeuron):
    """A neuron that a spike resets: ``v -> v_reset`` when v reaches the threshold from below.

    To add a neuron, subclass, give it ``v_th``, ``v_reset``, ``v_init`` and ``reset`` and write `flow`: one
    elementwise step of the subthreshold equation. The reset then splits the step at the crossing, whatever
    the flow is and however many variables it has, with the exact derivative of the crossing time (`split`); a
    neuron that knows its own closed form overrides `split`. Further variables: a `NamedTuple` of its own with
    a field ``v``, set up in `init` and changed by a spike in `on_spike`; a threshold that moves: `threshold`.
    What spares work, where it is known: `crossing` or `velocity` in closed form, or ``accelerates = False``
    for a v without an upswing.

    A neuron that starts at its threshold or above it, by its ``v_init``, noise or a state handed over, spikes
    once at once.

    **Raises:** `ValueError` for a ``v_reset`` that is not below ``v_th``.
    """

    v_th: AbstractVar[Float[Array, "..."]]
    v_reset: AbstractVar[Float[Array, "..."]]
    reset: AbstractVar[AbstractReset]

    partial_reset: ClassVar[bool] = True

    def __check_init__(self):
        check_order(self, "v_reset", "v_th")

    def bounds(self):
        return self.v_reset, self.v_th

    def on_spike(self, state: AnyState) -> AnyState:
        """What a spike does to the state: ``v -> v_reset``."""
        return state._replace(v=jnp.broadcast_to(self.v_reset, state.v.shape))

    def travel(self, state, current, dt):
        end, path = self.reset.travel(self, state, current, dt)
        return end, path._replace(count=jax.lax.stop_gradient(path.count))

    def landing(self, free):
        return self.reset.landing(self, free)

    def surrogate_reset(self, end, path, q, detach):
        """The state after the reset, with the derivative that a surrogate gradient gives to the reset.

        The value is that of `end`, to rounding. A split or subtracted reset has the size of a constant,
        ``dv_end = dv_free``, and a reset to zero forgets v; undetached, ``-(v_th - v_reset) dq`` is added
        (``(v_reset - v_free) dq`` for the reset to zero). A split's own derivative, the exact one of its
        crossing time, would count the reset twice. The jumps of other variables at a spike are ``jump dq``,
        detached or not.
        """
        free = path.free
        if self.reset.splits:
            end = jax.tree.map(lambda a, b: b + jax.lax.stop_gradient(a - b), end, free)
        fixed = jax.lax.stop_gradient(free)
        jump = jax.tree.map(lambda a, b: jax.lax.stop_gradient(a - b), self.on_spike(fixed), fixed)
        drop = jax.lax.stop_gradient(self.v_reset - self.reset.foot(self, fixed))
        jump = jump._replace(v=jnp.zeros_like(q) if detach else jnp.broadcast_to(drop, q.shape))

        def jumped(x, j):
            # What is no real number, such as a count, has made its jump and has no derivative.
            return x + j * beneath(q - path.count, x) if jnp.issubdtype(x.dtype, jnp.inexact) else x

        return jax.tree.map(jumped, end, jump)

    def crossing(
        self, state: AnyState, free: AnyState, current: Input, dt, spiked: Bool[Array, "*n"]
    ) -> tuple[Float[Array, "*n"], AnyState]:
        """Where it `spiked`, the time (ms) at which the flow takes `state` to the threshold, and the state
        there; elsewhere `dt` and the end of the step, `free`. By default found by iteration (`passage`)."""
        del free
        return passage(self, state, current, dt, spiked)

    def split(self, state: AnyState, free: AnyState, current: Input, dt) -> tuple[AnyState, Path]:
        """Flow to the threshold, reset, flow the rest of the step; `state` is below the threshold. At most
        one reset per step.

        The crossing time solves ``v(t*) = threshold``; its derivative is ``dt* = -dv/f``, by the implicit
        function theorem.
        """
        spiked = self.height(free) >= 0
        crossing, peak = self.crossing(state, free, current, dt, spiked)
        landed = self.on_spike(peak)
        # Where there is no spike any time will do, but for 0, at which a flow need not be differentiable.
        rest = self.flow(landed, current, dt - jnp.where(spiked, crossing, 0.0))
        end = jax.tree.map(lambda a, b: jnp.where(spiked, a, b), rest, peak)
        first = crossing / dt
        upswing = self._upswing(peak, current, dt, first) if self.accelerates else None
        return end, Path(state, free, spiked.astype(free.v.dtype), first, first, landed, upswing)


__all__ = [
    "NEURONS",
    "RESETS",
    "AbstractNeuron",
    "AbstractReset",
    "AbstractResetNeuron",
    "AnyState",
    "Drive",
    "Input",
    "Path",
    "State",
    "parts",
]
