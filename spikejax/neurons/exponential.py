"""Exponential integrate-and-fire neurons: EIF, and AdEx with adaptation. In mV, ms, pF, nS and pA."""

from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..component import option, parameter, part
from .base import NEURONS, RESETS, AbstractReset, AbstractResetNeuron, State, parts
from .solvers import runge_kutta


class AdExState(NamedTuple):
    """State of an AdEx neuron."""

    v: Float[Array, "*n"]
    w: Float[Array, "*n"]
    """Adaptation current, pA."""


class _Upswing:
    """The coordinate ``s = log(1 + exp(-(v - V_T)/Delta_T))``, in which the exponential upswing is a straight
    line.

    In v the upswing reaches infinity in finite time, and a solver's last step before the cut-off is
    arbitrarily wrong. In s, infinity is 0 and
    ```
    ds/dt = -(1 - exp(-s)) F(v)/Delta_T - exp(-s) g_L/C,     F: all of dv/dt but the exponential term
    ```
    which is smooth everywhere: far below V_T it is the equation in v, ``s = -(v - V_T)/Delta_T``, and in
    the upswing ``ds/dt = -g_L/C``. The decay far below V_T, at ``(g_L + g)/C`` with a synaptic conductance g,
    the solver takes apart: inhibition, however strong, takes v to its fixed point and no further.
    """

    def __init__(self, neuron):
        self.V_T, self.Delta_T, self.growth = neuron.V_T, neuron.Delta_T, neuron.g_L / neuron.C
        # What is beyond the cut-off is of no interest, so long as it is finite and rises.
        self.least = self._of((_cut_off(neuron) - self.V_T) / self.Delta_T + 3)

    @staticmethod
    def _of(x):
        return jnp.logaddexp(0.0, -x)

    def enter(self, v):
        return self._of((v - self.V_T) / self.Delta_T)

    def leave(self, s):
        """v, and the weight ``1 - exp(-s)`` of F in ``ds/dt``."""
        s = jnp.maximum(s, self.least)
        weight = -jnp.expm1(-s)
        return self.V_T - self.Delta_T * (s + jnp.log(weight)), weight

    def slope(self, weight, rest):
        """``ds/dt``, `rest` being F(v), mV/ms."""
        return -weight * rest / self.Delta_T - (1 - weight) * self.growth


def _cut_off(neuron):
    """``v_th``, but at most ``V_T + 12 Delta_T``, from where the upswing has ``6e-6 C/g_L`` left to infinity:
    rounding cannot tell more."""
    return jnp.minimum(neuron.v_th, neuron.V_T + 12 * neuron.Delta_T)


def _velocity(neuron, v, current):
    """``dv/dt`` without adaptation."""
    current, conductance = parts(current)
    swing = neuron.Delta_T * jnp.exp((v - neuron.V_T) / neuron.Delta_T)
    return (neuron.g_L * (neuron.E_L - v + swing) + current - conductance * v) / neuron.C


@NEURONS.register("eif")
class EIF(AbstractResetNeuron):
    """Exponential integrate-and-fire neuron, ``C dv/dt = -g_L (v - E_L) + g_L Delta_T exp((v - V_T)/Delta_T)
    + I``.

    Spikes are cut off at ``v_th`` (at most ``V_T + 12 Delta_T``), where the upswing is so steep that its
    value does not matter, and v goes to ``v_reset``. The flow is a step of order 4 in a coordinate in
    which the upswing is a straight line (`_Upswing`), stable for any current and conductance (`runge_kutta`).

    **Arguments:** `C` (pF); `g_L` (nS); `E_L`, `V_T`, `Delta_T`, `v_th`, `v_reset`, `v_init` (mV), each a
    scalar or one per neuron; `reset` as in `LIF`; `substeps`: of a step. Currents in pA.

    **Reference:** Fourcaud-Trocme et al., J. Neurosci. 2003, eq. 7; the coordinate is derived here.
    """

    C: Float[Array, "..."] = parameter(281.0, unit="pF", doc="capacitance", positive=True)
    g_L: Float[Array, "..."] = parameter(30.0, unit="nS", doc="leak conductance", positive=True)
    E_L: Float[Array, "..."] = parameter(-70.6, unit="mV", doc="leak reversal potential")
    V_T: Float[Array, "..."] = parameter(-50.4, unit="mV", doc="threshold of the upswing")
    Delta_T: Float[Array, "..."] = parameter(2.0, unit="mV", doc="slope of the upswing", positive=True)
    v_th: Float[Array, "..."] = parameter(-40.4, unit="mV", doc="cut-off of the upswing")
    v_reset: Float[Array, "..."] = parameter(-70.6, unit="mV", doc="potential after a spike")
    v_init: Float[Array, "..."] = parameter(
        -70.6, unit="mV", doc="membrane potential at the start of a trial", drawn=True
    )
    reset: AbstractReset = part(RESETS, "split", doc="split the step at the crossing, or reset on the grid")
    substeps: int = option(1, doc="Runge-Kutta steps to a time step", at_least=1.0)

    conductances: ClassVar[bool] = True

    def flow(self, state, current, dt):
        current, conductance = parts(current)
        upswing, rate = _Upswing(self), (self.g_L + conductance) / self.C
        steady = (self.g_L * self.E_L + current) / self.C

        def field(s):
            v, weight = upswing.leave(s)
            return upswing.slope(weight, steady - rate * v)

        s = runge_kutta(field, upswing.enter(state.v), dt, rate, self.substeps)
        return State(upswing.leave(s)[0])

    def velocity(self, state, current):
        return _velocity(self, state.v, current)

    def threshold(self, state):
        del state
        return _cut_off(self)

    def time_constants(self):
        return {"C/g_L": self.C / self.g_L}

    def rheobase(self):
        return self.g_L * (self.V_T - self.E_L - self.Delta_T)


@NEURONS.register("adex")
class AdEx(AbstractResetNeuron):
    """Adaptive exponential integrate-and-fire neuron.

    ```
    C dv/dt = -g_L (v - E_L) + g_L Delta_T exp((v - V_T)/Delta_T) - w + I,   tau_w dw/dt = a (v - E_L) - w
    v reaches v_th: v -> v_reset, w -> w + b
    ```
    Integrated as `EIF`.

    **Arguments:** `C` (pF); `g_L`, `a` (nS); `E_L`, `V_T`, `Delta_T`, `v_th` (the cut-off), `v_reset`,
    `v_init` (mV); `tau_w` (ms); `b` (pA), each a scalar or one per neuron; `reset` as in `LIF`; `substeps`:
    of a step. Currents in pA.

    **Reference:** Brette & Gerstner, J. Neurophysiol. 2005, eqs. 1-3 and its parameters; there the spike is
    cut off at 20 mV, here at ``V_T + 5 Delta_T``, which is 0.06 ms earlier (`spikejax` moves the reset with
    it).
    """

    C: Float[Array, "..."] = parameter(281.0, unit="pF", doc="capacitance", positive=True)
    g_L: Float[Array, "..."] = parameter(30.0, unit="nS", doc="leak conductance", positive=True)
    E_L: Float[Array, "..."] = parameter(-70.6, unit="mV", doc="leak reversal potential")
    V_T: Float[Array, "..."] = parameter(-50.4, unit="mV", doc="threshold of the upswing")
    Delta_T: Float[Array, "..."] = parameter(2.0, unit="mV", doc="slope of the upswing", positive=True)
    tau_w: Float[Array, "..."] = parameter(
        144.0, unit="ms", doc="time constant of the adaptation", positive=True
    )
    a: Float[Array, "..."] = parameter(4.0, unit="nS", doc="subthreshold adaptation")
    b: Float[Array, "..."] = parameter(80.5, unit="pA", doc="what a spike adds to the adaptation current")
    v_th: Float[Array, "..."] = parameter(-40.4, unit="mV", doc="cut-off of the upswing")
    v_reset: Float[Array, "..."] = parameter(-70.6, unit="mV", doc="potential after a spike")
    v_init: Float[Array, "..."] = parameter(
        -70.6, unit="mV", doc="membrane potential at the start of a trial", drawn=True
    )
    reset: AbstractReset = part(RESETS, "split", doc="split the step at the crossing, or reset on the grid")
    substeps: int = option(1, doc="Runge-Kutta steps to a time step", at_least=1.0)

    conductances: ClassVar[bool] = True

    def init(self, shape, *, key=None, noise=None):
        v = self._initial_v(shape, key, noise)
        return AdExState(v, jnp.zeros_like(v))

    def flow(self, state, current, dt):
        current, conductance = parts(current)
        upswing, rate = _Upswing(self), (self.g_L + conductance) / self.C
        steady = (self.g_L * self.E_L + current) / self.C

        def field(y):
            s, w = y
            v, weight = upswing.leave(s)
            rest = steady - w / self.C - rate * v
            return upswing.slope(weight, rest), (self.a * (v - self.E_L) - w) / self.tau_w

        rates = rate, 1 / self.tau_w
        s, w = runge_kutta(field, (upswing.enter(state.v), state.w), dt, rates, self.substeps)
        return AdExState(upswing.leave(s)[0], w)

    def velocity(self, state, current):
        return _velocity(self, state.v, current) - state.w / self.C

    def threshold(self, state):
        del state
        return _cut_off(self)

    def on_spike(self, state):
        return super().on_spike(state)._replace(w=state.w + self.b)

    def hold(self, state, current, dt):
        steady = self.a * (state.v - self.E_L)
        return state._replace(w=steady + (state.w - steady) * jnp.exp(-dt / self.tau_w))

    def time_constants(self):
        turn = jnp.sqrt(self.C * self.tau_w / jnp.abs(self.a))  # of v and w about each other
        return {"C/g_L": self.C / self.g_L, "tau_w": self.tau_w, "sqrt(C tau_w/|a|)": turn}

    def rheobase(self):
        # Of a current that rises slowly: the fixed points meet on w = a (v - E_L) (Naud et al. 2008).
        ratio = self.a / self.g_L
        return (self.g_L + self.a) * (
            self.V_T - self.E_L - self.Delta_T + self.Delta_T * jnp.log1p(jnp.maximum(ratio, -0.99))
        )


__all__ = ["EIF", "AdEx", "AdExState"]
