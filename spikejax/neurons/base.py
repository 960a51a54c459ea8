"""What every neuron is: an elementwise flow between spikes, a height above its threshold, and what a spike
does."""

import abc
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..component import Component, check_order
from ..gates import Gate
from ..registry import Registry
from .solvers import crossing_time

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

    free: AnyState
    """State at the end of the step if there were no reset."""
    count: Float[Array, "*n"]  # pyright: ignore[reportIncompatibleMethodOverride] (not tuple.count)
    """Number of spikes in the step; a float without derivative."""


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
        noise: Float[Array, ""] | float | None = None,
    ) -> AnyState:
        """State at the start of a trial: ``v = v_init``; with a `key` drawn from ``U(*bounds)``, or, with
        `noise` too, ``v_init`` plus normal noise of that standard deviation (in units of v)."""
        return State(self._initial_v(shape, key, noise))

    def _initial_v(self, shape, key, noise) -> Float[Array, "*n"]:
        if key is None:
            return jnp.broadcast_to(self.v_init, shape)
        if noise is None:
            low, high = self.bounds()
            return low + (high - low) * jax.random.uniform(key, shape, high.dtype)
        return self.v_init + noise * jax.random.normal(key, shape, self.v_init.dtype)

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

    def time_constants(self) -> dict[str, Float[Array, "..."]]:
        """The time constants (ms) that a step has to resolve, by name."""
        return {}

    def released(self, gate: Gate, state: AnyState) -> Float[Array, "*n"]:
        """Charge released on the way up to the state's v: ``G(v)`` with the active zone ``[threshold - width,
        threshold]``.

        The zone ends where the reset is, so that a spike releases the whole charge before it, and its fixed
        point under the sharpness is ``v0 = v_th``: ``a -> inf`` is the ordinary threshold.
        """
        return gate.cumulative(self.height(state) + 0.5 * gate.support)

    def zone(self, gate: Gate) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Lower and upper edge of the active zone as `gate` uses it (of an adapting threshold: at rest), for
        plots."""
        half = 0.5 * gate.support
        high = self.bounds()[1]
        centre = high - half if gate.release.from_below else high
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
        return gate.spike(self.height(path.free), path.count)

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
    def travel(
        self, neuron: Any, state: AnyState, free: AnyState, current: Input, dt
    ) -> tuple[AnyState, Any]:
        """State at the end of the step, and the number of spikes in it (float), given the state `free` that
        it would have reached without a reset."""

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

    **Raises:** `ValueError` for a ``v_reset`` that is not below ``v_th``, and a ``v_init`` above it.
    """

    v_th: AbstractVar[Float[Array, "..."]]
    v_reset: AbstractVar[Float[Array, "..."]]
    reset: AbstractVar[AbstractReset]

    partial_reset: ClassVar[bool] = True

    def __check_init__(self):
        check_order(self, "v_reset", "v_th")
        check_order(self, "v_init", "v_th", equal=True)

    def bounds(self):
        return self.v_reset, self.v_th

    def on_spike(self, state: AnyState) -> AnyState:
        """What a spike does to the state: ``v -> v_reset``."""
        return state._replace(v=jnp.broadcast_to(self.v_reset, state.v.shape))

    def travel(self, state, current, dt):
        free = self.flow(state, current, dt)
        end, count = self.reset.travel(self, state, free, current, dt)
        return end, Path(free, jax.lax.stop_gradient(count))

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
        return jax.tree.map(lambda x, j: x + j * (q - path.count), end, jump)

    def split(
        self, state: AnyState, free: AnyState, current: Input, dt
    ) -> tuple[AnyState, Float[Array, "*n"]]:
        """Flow to the threshold, reset, flow the rest of the step: the state, and the number of resets. At
        most one reset per step.

        The crossing time solves ``v(t*) = threshold``. It is found without derivative (`crossing_time`); one
        Newton step at the root then carries the derivative ``dt* = -dv/f`` of the implicit function theorem.
        """
        # A neuron that a burst left above the threshold spikes at once: its crossing time is 0.
        spiked = self.height(free) >= 0
        fixed, before, held = jax.lax.stop_gradient((self, state, current))
        # What rounding leaves of a height, which is a difference of potentials.
        noise = 4 * jnp.finfo(before.v.dtype).eps * (jnp.abs(before.v) + jnp.abs(fixed.threshold(before)))
        at = crossing_time(lambda t: fixed.height(fixed.flow(before, held, t)), dt, spiked, noise)
        near, slope = jax.jvp(
            lambda t: self.height(self.flow(state, current, t)), (at,), (jnp.ones_like(at),)
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
