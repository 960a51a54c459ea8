"""The theta neuron: the quadratic integrate-and-fire neuron on the circle."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..component import parameter
from ..elementary import angle, circle
from ..gates import Level
from .base import NEURONS, AbstractNeuron, Drive, Path, State
from .solvers import propagator, time_to


@NEURONS.register("theta")
class Theta(AbstractNeuron):
    """Theta (QIF) neuron, ``tau_mem dv/dt = (1 + cos 2 pi v) + (1 - cos 2 pi v) I`` on the circle ``0 <= v <
    1``.

    The spike is the passage through v = 1 = 0. The step is the exact solution for a current constant in the
    step. With ``h = 2 pi dt/tau_mem``, ``phi = pi (v - 1/2)``, ``C = cos(sqrt(I) h)``, ``S = sin(sqrt(I)
    h)/sqrt(I)`` (cosh, sinh for I < 0):
    ```
    v_free = v + atan2(S (I cos^2 phi + sin^2 phi), C + S (I - 1) sin phi cos phi)/pi
    ```
    Whole turns, one for every ``sqrt(I) h = pi``, are counted apart, so the formula holds for any dt.

    v is lifted to the real line within a step and wrapped after it; reset and wrap are the same and have no
    derivative of their own. The active zone is centred on the spike, ``|v - round(v)| < width/2``, and G on
    the lifted phase is a staircase, one step a turn. With width 1 the whole circle is active.

    **Arguments:** `tau_mem` (ms), `v_init` (phase, dimensionless), each a scalar or one per neuron.

    **Reference:** Ermentrout & Kopell 1986; Huh & Sejnowski 2018, section 2; the map is derived here.
    """

    tau_mem: Float[Array, "..."] = parameter(25.0, unit="ms", doc="membrane time constant", positive=True)
    v_init: Float[Array, "..."] = parameter(
        0.5, doc="phase at the start of a trial", at_least=0.0, at_most=1.0, drawn=True
    )

    partial_reset: ClassVar[bool] = True

    def bounds(self):
        one = jnp.ones((), self.tau_mem.dtype)
        return jnp.zeros_like(one), one

    def init(self, shape, *, key=None, noise=None):
        # Where noise or training has moved it, as where it was before: a point of the circle.
        v = super().init(shape, key=key, noise=noise).v
        return State(v - jax.lax.stop_gradient(jnp.floor(v)))

    def flow(self, state, current, dt):
        assert not isinstance(current, Drive), "a layer gives conductances to neurons that take them"
        v = state.v
        h = 2 * jnp.pi * dt / self.tau_mem
        turns, cosine, sine = propagator(current, h)
        # cos^2 phi = (1 - cos 2 pi v)/2, sin^2 phi = (1 + cos 2 pi v)/2, sin phi cos phi = -sin(2 pi v)/2.
        cos2, sin2 = circle(v)
        y = 0.5 * sine * (current * (1 - cos2) + (1 + cos2))
        x = cosine - 0.5 * sine * (current - 1) * sin2
        return State(v + turns + angle(y, x) / jnp.pi)

    def level(self, gate, state):
        # On the lifted phase G is a staircase, counted from half of a step.
        turn = jax.lax.stop_gradient(jnp.round(state.v))
        level = gate.level(state.v - turn)
        area = level.area - gate.level(jnp.zeros_like(gate.support)).area - (1 - turn) * state.v
        return Level(state.v, level.charge + turn - 1, area)

    def ends(self, gate, landed):
        zero = jnp.zeros_like(gate.support)
        return Level(zero + 1, zero + 0.5, zero), Level(landed.v, zero - 0.5, zero)

    def zone(self, gate):
        half = 0.5 * gate.support
        return 1 - half, 1 + half

    def travel(self, state, current, dt):
        assert not isinstance(current, Drive), "a layer gives conductances to neurons that take them"
        free = self.flow(state, current, dt)
        # v and v - 1 are the same point of the circle: the wrap has nothing to differentiate.
        count = jax.lax.stop_gradient(jnp.floor(free.v))
        spiked = count > 0
        h = 2 * jnp.pi * dt / self.tau_mem
        # With x = tan phi the neuron is dx/dt = x^2 + I, which is at infinity where S/C is cot phi; cos phi =
        # sin(pi v), sin phi = -cos(pi v).
        cosine, sine = circle(0.5 * state.v)
        first, period = time_to(sine, -cosine, current, spiked)
        first = jnp.where(spiked, first / h, 1.0)
        last = jnp.where(spiked, first + (count - 1) * period / h, 1.0)
        landed = State(jnp.zeros_like(free.v))
        return State(free.v - count), Path(state, free, count, first, last, landed)

    def landing(self, free):
        return State(free.v - 1)


__all__ = ["Theta"]
