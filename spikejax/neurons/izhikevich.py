"""Izhikevich's two-variable neuron. In mV and ms."""

from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..component import option, parameter, part
from .base import NEURONS, RESETS, AbstractReset, AbstractResetNeuron, parts
from .solvers import runge_kutta


class IzhikevichState(NamedTuple):
    """State of an Izhikevich neuron."""

    v: Float[Array, "*n"]
    u: Float[Array, "*n"]
    """Recovery variable, mV/ms."""


@NEURONS.register("izhikevich")
class Izhikevich(AbstractResetNeuron):
    """Izhikevich neuron: a quadratic upswing and a recovery variable.

    ```
    dv/dt = 0.04 v^2 + 5 v + 140 - u + I,   du/dt = a (b v - u);   v reaches v_th: v -> c, u -> u + d
    ```
    Integrated by Runge-Kutta steps of order 4, `substeps` to a time step. The published model takes Euler
    steps of 0.5 or 1 ms and resets on the grid, which is another model: its spike times hang on the step.

    **Arguments:** `a` (1/ms), `b` (1/ms), `v_reset` (c, mV), `d` (mV/ms), `v_th` (mV), `v_init` (mV), each a
    scalar or one per neuron; `reset` as in `LIF`; `substeps`. The current is in mV/ms. At the start ``u = b
    v``.

    **Reference:** Izhikevich, IEEE Trans. Neural Netw. 2003, eqs. 1-3 (regular spiking by default).
    """

    a: Float[Array, "..."] = parameter(0.02, unit="1/ms", doc="rate of the recovery variable", positive=True)
    b: Float[Array, "..."] = parameter(0.2, unit="1/ms", doc="sensitivity of the recovery variable")
    d: Float[Array, "..."] = parameter(8.0, unit="mV/ms", doc="what a spike adds to the recovery variable")
    v_th: Float[Array, "..."] = parameter(30.0, unit="mV", doc="peak, at which the neuron is reset")
    v_reset: Float[Array, "..."] = parameter(-65.0, unit="mV", doc="potential after a spike")
    v_init: Float[Array, "..."] = parameter(
        -70.0, unit="mV", doc="membrane potential at the start of a trial", drawn=True
    )
    reset: AbstractReset = part(RESETS, "split", doc="split the step at the crossing, or reset on the grid")
    substeps: int = option(4, doc="Runge-Kutta steps to a time step", at_least=1.0)

    conductances: ClassVar[bool] = True

    def init(self, shape, *, key=None, noise=None):
        v = self._initial_v(shape, key, noise)
        return IzhikevichState(v, self.b * v)

    def _field(self, state, current):
        current, conductance = parts(current)
        v, u = state
        return IzhikevichState(
            0.04 * v**2 + 5 * v + 140 - u + current - conductance * v, self.a * (self.b * v - u)
        )

    def flow(self, state, current, dt):
        # Past the threshold the upswing need only be finite and rise: it overflows within a step otherwise.
        cap = self.v_th + 30.0
        field = lambda y: self._field(y._replace(v=jnp.minimum(y.v, cap)), current)
        return runge_kutta(field, state, dt, self.substeps)

    def velocity(self, state, current):
        return self._field(state, current).v

    def on_spike(self, state):
        return super().on_spike(state)._replace(u=state.u + self.d)

    def hold(self, state, current, dt):
        del current
        steady = self.b * state.v
        return state._replace(u=steady + (state.u - steady) * jnp.exp(-self.a * dt))


__all__ = ["Izhikevich", "IzhikevichState"]
