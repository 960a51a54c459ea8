"""An adapting neuron, and what can be wrong with it: each mistake with the check that has to see it."""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from spikejax import AbstractReset, AbstractResetNeuron, Split, Zero, parameter
from spikejax.neurons import State, parts


class Pair(NamedTuple):
    v: Array
    w: Array


class Right(AbstractResetNeuron):
    """``tau_mem dv/dt = -v + I - w``, ``tau_w dw/dt = -w``, which a spike raises."""

    tau_mem: Array = parameter(10.0)
    tau_w: Array = parameter(50.0)
    jump: Array = parameter(0.2)
    v_th: Array = parameter(1.0)
    v_reset: Array = parameter(0.0)
    v_init: Array = parameter(0.0)
    reset: AbstractReset = Split()

    conductances: ClassVar[bool] = True

    def init(self, shape, *, key=None, noise=None):
        v = super().init(shape, key=key, noise=noise).v
        return Pair(v, jnp.zeros_like(v))

    def flow(self, state, current, dt):
        current, g = parts(current)
        decay = jnp.exp(-dt / self.tau_mem * (1 + g))
        middle = state.w * jnp.exp(-0.5 * dt / self.tau_w)
        v = state.v * decay + (current - middle) / (1 + g) * (1 - decay)
        return Pair(v, state.w * jnp.exp(-dt / self.tau_w))

    def on_spike(self, state):
        return super().on_spike(state)._replace(w=state.w + self.jump)

    def time_constants(self):
        return {"tau_mem": self.tau_mem}


class Plain(Right):
    """For those that know no conductances."""

    conductances: ClassVar[bool] = False


class NoFields(Right):
    def init(self, shape, *, key=None, noise=None):
        return (jnp.zeros(shape), jnp.zeros(shape))


class ShapeOfItsOwn(Right):
    def init(self, shape, *, key=None, noise=None):
        return Pair(jnp.zeros(shape), jnp.zeros(()))


class Branches(Plain):
    def flow(self, state, current, dt):
        if (state.w > 0.1).any():
            current = 0.9 * current
        return super().flow(state, current, dt)


class Raises(Plain):
    def on_spike(self, state):
        return super().on_spike(state)._replace(w=state.w + self.step)


class Promotes(Plain):
    def flow(self, state, current, dt):
        end = super().flow(state, current, dt)
        return end._replace(w=end.w * np.exp(0.0))


class Weak(Right):
    def init(self, shape, *, key=None, noise=None):
        return super().init(shape, key=key, noise=noise)._replace(w=jnp.broadcast_to(0.0, shape))


class Loses(Right):
    def on_spike(self, state):
        return State(jnp.broadcast_to(self.v_reset, state.v.shape))


class Reshapes(Right):
    def on_spike(self, state):
        return super().on_spike(state)._replace(w=state.w[..., None] + self.jump)


class Mixes(Plain):
    def flow(self, state, current, dt):
        return super().flow(state, current - 0.1 * jnp.mean(state.v), dt)


@jax.custom_jvp
def called(w):
    return jax.pure_callback(lambda w: w, jax.ShapeDtypeStruct(w.shape, w.dtype), w)


@called.defjvp
def _called_jvp(primals, tangents):
    return called(*primals), tangents[0]


class Unbatched(Plain):
    def flow(self, state, current, dt):
        end = super().flow(state, current, dt)
        return end._replace(w=called(end.w))


class OtherConductance(Right):
    def flow(self, state, current, dt):
        end = super().flow(state, current, dt)
        return end if not isinstance(current, tuple) else end._replace(v=end.v + 0.1)


class IgnoresConductance(Right):
    def flow(self, state, current, dt):
        return super().flow(state, parts(current)[0], dt)


class Deaf(Plain):
    def flow(self, state, current, dt):
        return super().flow(state, 0 * current, dt)


class Euler(Plain):
    def flow(self, state, current, dt):
        v = state.v + dt / self.tau_mem * (current - state.w - state.v)
        return Pair(v, state.w - dt / self.tau_w * state.w)


class StepsInNoTime(Plain):
    def flow(self, state, current, dt):
        end = super().flow(state, current, dt)
        return end._replace(v=end.v + 0.01)


class StaysUp(Plain):
    def on_spike(self, state):
        return state._replace(w=state.w + self.jump)


class StoppedJump(Plain):
    def on_spike(self, state):
        return super().on_spike(state)._replace(w=state.w + jax.lax.stop_gradient(self.jump))


class Forgets(Plain):
    def on_spike(self, state):
        return Pair(jnp.broadcast_to(self.v_reset, state.v.shape), jnp.zeros_like(state.w))


class MovesWhenHeld(Plain):
    def hold(self, state, current, dt):
        return self.flow(state, current, dt)


class Overflows(Plain):
    def flow(self, state, current, dt):
        return super().flow(state, jnp.expm1(current), dt)


class NotANumber(Plain):
    """Where w is 0 the square root that is not taken has an infinite derivative."""

    def flow(self, state, current, dt):
        slow = jnp.where(state.w > 0, jnp.sqrt(state.w), 0.0)
        return super().flow(state, current - 0.1 * slow, dt)


class Idle(Plain):
    def on_spike(self, state):
        return super().on_spike(state)._replace(w=state.w + 0.2)


class Stopped(Plain):
    def flow(self, state, current, dt):
        return super().flow(state._replace(w=jax.lax.stop_gradient(state.w)), current, dt)


RIGHT = {
    "right": Right(),
    "without conductances": Plain(),
    "one value each": Right(jump=(0.1, 0.2, 0.3, 0.4)),
}
"""Those that pass."""
WRONG = {
    "no fields": (NoFields(), "state"),
    "shape of its own": (ShapeOfItsOwn(), "state"),
    "a Python branch": (Branches(), "jit"),
    "raises": (Raises(), "jit"),
    "promotes": (Promotes(), "types"),
    "weakly typed": (Weak(), "types"),
    "a spike loses w": (Loses(), "types"),
    "a spike changes a shape": (Reshapes(), "types"),
    "not elementwise": (Mixes(), "elementwise"),
    "cannot be batched": (Unbatched(), "vmap"),
    "no conductance is none": (OtherConductance(), "conductances"),
    "conductance ignored": (IgnoresConductance(), "conductances"),
    "deaf": (Deaf(), "spikes"),
    "Euler": (Euler(), "flow"),
    "moves in no time": (StepsInNoTime(), "flow"),
    "stays up": (StaysUp(), "reset"),
    "gradient of a jump stopped": (StoppedJump(), "on_spike"),
    "forgets": (Forgets(), "memory"),
    "moves when held": (MovesWhenHeld(), "refractory"),
    "overflows": (Overflows(), "strong input"),
    "depends on the number of steps (times)": (StepsInNoTime(), "spike times"),
    "depends on the number of steps (v)": (StepsInNoTime(), "trajectory"),
    "depends on the number of steps (gradient)": (StepsInNoTime(), "refinement"),
    "not a number": (NotANumber(), "finite"),
    "a parameter without effect": (Idle(), "parameters"),
    "gradient stopped": (Stopped(), "differences"),
    "reset on the grid": (Plain(reset=Zero()), "secant"),
}
"""A neuron with a mistake, and the check that has to see it."""
