"""Izhikevich's two-variable neuron. In mV and ms."""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..component import option, parameter, part
from .base import NEURONS, RESETS, AbstractReset, AbstractResetNeuron, parts
from .solvers import quadratic, quadratic_passage, repeat


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
    v is solved exactly for the u of the middle of a step (`quadratic`), and u exactly for the mean of v: an
    error of second order in dt, stable for any current and conductance. The published model takes Euler steps
    of 0.5 or 1 ms and resets on the grid, which is another model: its spike times hang on the step.

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
    substeps: int = option(1, doc="steps of the solver to a time step", at_least=1.0)

    conductances: ClassVar[bool] = True

    def init(self, shape, *, key=None, noise=None):
        v = self._initial_v(shape, key, noise)
        return IzhikevichState(v, self.b * v)

    def _relax(self, u, v, dt):
        """u after `dt` ms at fixed v."""
        steady = self.b * v
        return steady + (u - steady) * jnp.exp(-self.a * dt)

    def flow(self, state, current, dt):
        current, conductance = parts(current)
        h = dt / self.substeps
        # Past the threshold the upswing need only be finite: it is at infinity within a step.
        cap = self.v_th + 30.0

        def step(state):
            v, u = state
            drive = self._drive(state, current, h)
            end, mean = quadratic(v, 0.04, 5 - conductance, drive, h, cap)
            return IzhikevichState(end, self._relax(u, mean, h))

        return repeat(step, state, self.substeps)

    def _drive(self, state, current, dt):
        """What is constant in the equation of v: u is that of the middle of the step."""
        return 140 - self._relax(state.u, state.v, dt / 2) + current

    def crossing(self, state, free, current, dt, spiked):
        if self.substeps > 1:
            return super().crossing(state, free, current, dt, spiked)
        current, conductance = parts(current)
        drive = self._drive(state, current, dt)
        time, mean = quadratic_passage(state.v, 0.04, 5 - conductance, drive, self.v_th, spiked)
        time = jnp.where(spiked, jnp.minimum(time, dt), dt)
        peak = IzhikevichState(jnp.broadcast_to(self.v_th, time.shape), self._relax(state.u, mean, time))
        return time, jax.tree.map(lambda a, b: jnp.where(spiked, a, b), peak, free)

    def velocity(self, state, current):
        current, conductance = parts(current)
        v, u = state
        return 0.04 * v**2 + (5 - conductance) * v + 140 - u + current

    def on_spike(self, state):
        return super().on_spike(state)._replace(u=state.u + self.d)

    def time_constants(self):
        return {"1/a": 1 / self.a}

    def rheobase(self):
        # Where the fixed points of v meet, on u = b v: 0.04 v^2 + (5 - b) v + 140 + I = 0.
        return (5 - self.b) ** 2 / 0.16 - 140

    def hold(self, state, current, dt):
        del current
        return state._replace(u=self._relax(state.u, state.v, dt))


__all__ = ["Izhikevich", "IzhikevichState"]
