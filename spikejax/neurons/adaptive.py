"""Leaky integrate-and-fire neurons that remember their spikes: adaptive threshold (ALIF), spike-triggered
currents (GLIF)."""

from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..component import parameter, part
from ..elementary import relative_decay
from .base import NEURONS, RESETS, AbstractReset, AbstractResetNeuron, parts


class AdaptiveState(NamedTuple):
    """State of a neuron with an adapting threshold."""

    v: Float[Array, "*n"]
    a: Float[Array, "*n"]
    """Trace of its own spikes."""


@NEURONS.register("alif")
class ALIF(AbstractResetNeuron):
    """Adaptive leaky integrate-and-fire neuron: every spike lifts the threshold, which relaxes.

    ```
    tau_mem dv/dt = -v + I,   tau_adapt da/dt = -a,   threshold = v_th + beta a
    spike: v -> v_reset,   a -> a + 1
    ```
    Both equations are solved exactly; the crossing of v and the falling threshold splits the step.

    **Arguments:** `tau_mem`, `tau_adapt` (ms); `beta`, `v_th`, `v_reset`, `v_init` (dimensionless), each a
    scalar or one per neuron; `reset` as in `LIF`.

    **Reference:** Bellec et al., NeurIPS 2018, section 2 (there with a reset by subtraction on the grid).
    """

    tau_mem: Float[Array, "..."] = parameter(20.0, unit="ms", doc="membrane time constant", positive=True)
    tau_adapt: Float[Array, "..."] = parameter(
        200.0, unit="ms", doc="time constant of the threshold", positive=True
    )
    beta: Float[Array, "..."] = parameter(0.2, doc="what a spike adds to the threshold")
    v_th: Float[Array, "..."] = parameter(1.0, doc="threshold")
    v_reset: Float[Array, "..."] = parameter(0.0, doc="potential after a spike")
    v_init: Float[Array, "..."] = parameter(0.0, doc="membrane potential at the start of a trial", drawn=True)
    reset: AbstractReset = part(RESETS, "split", doc="split the step at the crossing, or reset on the grid")

    conductances: ClassVar[bool] = True
    accelerates: ClassVar[bool] = False

    def init(self, shape, *, key=None, noise=None):
        v = self._initial_v(shape, key, noise)
        return AdaptiveState(v, jnp.zeros_like(v))

    def flow(self, state, current, dt):
        current, conductance = parts(current)
        leak = 1 + conductance
        decay = jnp.exp(-dt / self.tau_mem * leak)
        return AdaptiveState(
            state.v * decay + current / leak * (1 - decay), state.a * jnp.exp(-dt / self.tau_adapt)
        )

    def threshold(self, state):
        return self.v_th + self.beta * state.a

    def on_spike(self, state):
        return super().on_spike(state)._replace(a=state.a + 1)

    def time_constants(self):
        return {"tau_mem": self.tau_mem}

    def rheobase(self):
        return self.v_th


class GeneralisedState(NamedTuple):
    """State of a GLIF neuron."""

    v: Float[Array, "*n"]
    asc: Float[Array, "kinds *n"]
    """Spike-triggered (after-spike) currents."""
    theta: Float[Array, "*n"]
    """Spike-triggered part of the threshold."""


@NEURONS.register("glif")
class GLIF(AbstractResetNeuron):
    """Generalised leaky integrate-and-fire neuron: currents and a threshold component that every spike
    triggers.

    ```
    tau_mem dv/dt = -v + I + sum_k c_k,   tau_asc_k dc_k/dt = -c_k,   tau_theta dtheta/dt = -theta
    threshold = v_th + theta
    spike: v -> v_reset,   c_k -> c_k + jump_asc_k,   theta -> theta + jump_theta
    ```
    The equations are solved exactly, also where a ``tau_asc`` equals ``tau_mem``.

    **Arguments:** `tau_mem`, `tau_theta` (ms), `tau_asc` (ms) of shape ``(kinds,)`` or ``(kinds, *n)``,
    `jump_asc` likewise; `jump_theta`, `v_th`, `v_reset`, `v_init`; all but times in one unit, that of I
    (dimensionless, or mV with ``I = R i + E_L``); `reset` as in `LIF`.

    **Reference:** Mihalas & Niebur, Neural Comput. 2009; Teeter et al., Nat. Commun. 2018 (its GLIF4 with
    ``f_v = 0``, ``R_j = 1``).
    """

    tau_mem: Float[Array, "..."] = parameter(20.0, unit="ms", doc="membrane time constant", positive=True)
    tau_asc: Float[Array, "kinds ..."] = parameter(
        (10.0, 100.0), unit="ms", doc="time constants of the spike-triggered currents", positive=True
    )
    jump_asc: Float[Array, "kinds ..."] = parameter(
        (0.0, -0.2), doc="what a spike adds to each of these currents"
    )
    tau_theta: Float[Array, "..."] = parameter(
        50.0, unit="ms", doc="time constant of the spike-triggered threshold", positive=True
    )
    jump_theta: Float[Array, "..."] = parameter(0.1, doc="what a spike adds to the threshold")
    v_th: Float[Array, "..."] = parameter(1.0, doc="threshold")
    v_reset: Float[Array, "..."] = parameter(0.0, doc="potential after a spike")
    v_init: Float[Array, "..."] = parameter(0.0, doc="membrane potential at the start of a trial", drawn=True)
    reset: AbstractReset = part(RESETS, "split", doc="split the step at the crossing, or reset on the grid")

    conductances: ClassVar[bool] = True
    accelerates: ClassVar[bool] = False

    def __check_init__(self):
        kinds = self.tau_asc.shape[:1], self.jump_asc.shape[:1]
        if kinds[0] != kinds[1]:
            raise ValueError(
                f"GLIF: `tau_asc` has {kinds[0][0]} entries and `jump_asc` {kinds[1][0]}: give as many"
            )

    def init(self, shape, *, key=None, noise=None):
        v = self._initial_v(shape, key, noise)
        return GeneralisedState(v, jnp.zeros((self.tau_asc.shape[0], *shape), v.dtype), jnp.zeros_like(v))

    def flow(self, state, current, dt):
        current, conductance = parts(current)
        leak, tau = 1 + conductance, _columns(self.tau_asc, state.asc)
        # Of every neuron, to stand above the after-spike currents.
        every = lambda x: jnp.broadcast_to(jnp.asarray(x, state.v.dtype), state.v.shape)
        h, faded = every(dt / self.tau_mem), every(dt)[None] / tau
        decay = jnp.exp(-h * leak)
        # A current c exp(-s/tau) through the membrane: h (exp(-dt/tau) - decay)/(h leak - dt/tau).
        passed = h[None] * jnp.exp(-faded) * relative_decay((h * leak)[None] - faded)
        v = state.v * decay + current / leak * (1 - decay) + jnp.sum(state.asc * passed, axis=0)
        return GeneralisedState(v, state.asc * jnp.exp(-faded), state.theta * jnp.exp(-dt / self.tau_theta))

    def threshold(self, state):
        return self.v_th + state.theta

    def on_spike(self, state):
        asc = state.asc + _columns(self.jump_asc, state.asc)
        return super().on_spike(state)._replace(asc=asc, theta=state.theta + self.jump_theta)

    def time_constants(self):
        return {"tau_mem": self.tau_mem}

    def rheobase(self):
        return self.v_th


def _columns(x, like):
    """`x` of shape ``(kinds,)`` or ``(kinds, *n)`` with as many axes as `like`."""
    return x.reshape(x.shape + (1,) * (like.ndim - x.ndim))


__all__ = ["ALIF", "GLIF", "AdaptiveState", "GeneralisedState"]
