"""The Hodgkin-Huxley neuron. In mV, ms, uF/cm2, mS/cm2 and uA/cm2."""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..component import option, parameter
from ..elementary import relative_decay
from ..parameters import as_parameter
from .base import NEURONS, AbstractNeuron, Path, parts
from .solvers import passage_between, repeat

_SQUID = {
    "C": 1.0,
    "g_Na": 120.0,
    "g_K": 36.0,
    "g_L": 0.3,
    "g_M": 0.0,
    "E_Na": 50.0,
    "E_K": -77.0,
    "E_L": -54.387,
    "V_T": -61.5,
    "tau_max": 608.0,
    "v_init": -65.0,
}
_CORTICAL = _SQUID | {
    "g_Na": 50.0,
    "g_K": 5.0,
    "g_L": 0.1,
    "g_M": 0.07,
    "E_K": -90.0,
    "E_L": -70.3,
    "V_T": -56.2,
    "v_init": -70.0,
}
PARAMETERS = {"squid": _SQUID, "cortical": _CORTICAL}
"""The parameters that come with each kinetics: the squid's, and the first pyramidal cell of Pospischil et al.
2008."""


class ChannelState(NamedTuple):
    """State of a Hodgkin-Huxley neuron: membrane potential, and gating variables between 0 and 1."""

    v: Float[Array, "*n"]
    m: Float[Array, "*n"]
    h: Float[Array, "*n"]
    n: Float[Array, "*n"]
    p: Float[Array, "*n"]
    """Of the slow potassium (M) current; 0 with squid kinetics."""


@NEURONS.register("hodgkin_huxley")
class HodgkinHuxley(AbstractNeuron):
    """Hodgkin-Huxley neuron: sodium, potassium and leak, and with cortical kinetics a slow potassium current
    (M) that adapts.

    ```
    C dv/dt = -g_Na m^3 h (v - E_Na) - (g_K n^4 + g_M p) (v - E_K) - g_L (v - E_L) + I
    dx/dt = alpha_x(v) (1 - x) - beta_x(v) x          for x = m, h, n;      tau_p(v) dp/dt = p_inf(v) - p
    ```
    No threshold and no reset in the equations. A spike is an upward passage of v through ``v_th``; charge is
    released on the way up alone, ``q = max(G(v_end) - G(v_start), 0)``, through the active zone ``[v_th -
    width, v_th]``. The graded release, which needs a reset, has no meaning here.

    A symmetric step is half a step of the gating variables at fixed v, v at fixed gating variables, and the
    other half; each is exact, so that no step size is unstable. Two of half the length and one whole are
    extrapolated, ``(4 S(dt/2)^2 - S(dt))/3``, which is of order 4.

    **Arguments:** `C` (uF/cm2); `g_Na`, `g_K`, `g_L`, `g_M` (mS/cm2); `E_Na`, `E_K`, `E_L`, `v_th`, `v_init`
    (mV); `V_T` (mV, cortical: shifts the kinetics); `tau_max` (ms, of the M current), each a scalar or one
    per neuron; `kinetics`: ``"squid"`` at 6.3 degrees, or ``"cortical"``, for which `cortical` has the other
    parameters; `substeps`: of a step. Currents in uA/cm2. At the start the gating variables are at their
    steady state.

    **Reference:** Hodgkin & Huxley, J. Physiol. 1952, with v from rest at -65 mV; Pospischil et al., Biol.
    Cybern. 2008 (after Traub & Miles 1991).
    """

    C: Float[Array, "..."] = parameter(
        None, unit="uF/cm2", doc="capacitance (default: that of the kinetics)", positive=True
    )
    g_Na: Float[Array, "..."] = parameter(
        None,
        unit="mS/cm2",
        doc="sodium conductance (default: that of the kinetics)",
        positive=True,
        at_least=0.0,
    )
    g_K: Float[Array, "..."] = parameter(
        None,
        unit="mS/cm2",
        doc="potassium conductance (default: that of the kinetics)",
        positive=True,
        at_least=0.0,
    )
    g_L: Float[Array, "..."] = parameter(
        None,
        unit="mS/cm2",
        doc="leak conductance (default: that of the kinetics)",
        positive=True,
        at_least=0.0,
    )
    g_M: Float[Array, "..."] = parameter(
        None,
        unit="mS/cm2",
        doc="slow potassium conductance (default: that of the kinetics)",
        positive=True,
        at_least=0.0,
    )
    E_Na: Float[Array, "..."] = parameter(
        None, unit="mV", doc="sodium reversal potential (default: that of the kinetics)"
    )
    E_K: Float[Array, "..."] = parameter(
        None, unit="mV", doc="potassium reversal potential (default: that of the kinetics)"
    )
    E_L: Float[Array, "..."] = parameter(
        None, unit="mV", doc="leak reversal potential (default: that of the kinetics)"
    )
    V_T: Float[Array, "..."] = parameter(
        None, unit="mV", doc="shift of the cortical kinetics (default: that of the kinetics)"
    )
    tau_max: Float[Array, "..."] = parameter(
        None,
        unit="ms",
        doc="largest time constant of the slow potassium current (default: that of the kinetics)",
        positive=True,
    )
    v_th: Float[Array, "..."] = parameter(
        0.0, unit="mV", doc="a spike is an upward passage of this potential"
    )
    v_init: Float[Array, "..."] = parameter(
        None,
        unit="mV",
        doc="membrane potential at the start of a trial (default: that of the kinetics)",
        drawn=True,
    )
    kinetics: str = option(
        "squid", doc="squid (1952), or cortical (Pospischil et al. 2008)", choices=tuple(PARAMETERS)
    )
    substeps: int = option(1, doc="steps of the solver to a time step", at_least=1.0)

    conductances: ClassVar[bool] = True

    def __post_init__(self):
        for name, value in PARAMETERS.get(self.kinetics, {}).items():
            if getattr(self, name) is None:
                setattr(self, name, as_parameter(value))

    @classmethod
    def cortical(cls, **parameters) -> "HodgkinHuxley":
        """A regular-spiking cortical neuron, with `parameters` in place of its own."""
        return cls(kinetics="cortical", **parameters)

    def bounds(self):
        # No reset: the lowest potential is that to which potassium pulls.
        return self.E_K, self.v_th

    def init(self, shape, *, key=None, noise=None):
        v = self._initial_v(shape, key, noise)
        steady = {x: alpha / (alpha + beta) for x, (alpha, beta) in self._rates(v).items()}
        return ChannelState(v, **({"p": jnp.zeros_like(v)} | steady))

    def _rates(self, v):
        """Opening and closing rates (1/ms) of every gating variable."""
        # Beyond these potentials every channel is open or closed to rounding, and a rate would overflow.
        v = jnp.clip(v, -250.0, 250.0)
        if self.kinetics == "squid":
            u = v + 65.0
            return {
                "m": (_linear(25.0 - u, 0.1, 10.0), 4.0 * jnp.exp(-u / 18.0)),
                "h": (0.07 * jnp.exp(-u / 20.0), 1.0 / (jnp.exp((30.0 - u) / 10.0) + 1.0)),
                "n": (_linear(10.0 - u, 0.01, 10.0), 0.125 * jnp.exp(-u / 80.0)),
            }
        u, x = v - self.V_T, (v + 35.0) / 10.0
        speed = (3.3 * jnp.exp(x / 2) + jnp.exp(-x / 2)) / self.tau_max
        steady = 1.0 / (1.0 + jnp.exp(-x))
        return {
            "m": (_linear(13.0 - u, 0.32, 4.0), _linear(u - 40.0, 0.28, 5.0)),
            "h": (0.128 * jnp.exp((17.0 - u) / 18.0), 4.0 / (1.0 + jnp.exp((40.0 - u) / 5.0))),
            "n": (_linear(15.0 - u, 0.032, 5.0), 0.5 * jnp.exp((10.0 - u) / 40.0)),
            "p": (steady * speed, (1.0 - steady) * speed),
        }

    def _relax(self, state, rates, dt):
        """The gating variables after `dt` ms at constant rates."""
        new = {}
        for name, (alpha, beta) in rates.items():
            steady = alpha / (alpha + beta)
            new[name] = steady + (getattr(state, name) - steady) * jnp.exp(-dt * (alpha + beta))
        return state._replace(**new)

    def _conductances(self, state, current):
        """The total conductance, and the potential to which it pulls."""
        current, conductance = parts(current)
        sodium, potassium = self.g_Na * state.m**3 * state.h, self.g_K * state.n**4 + self.g_M * state.p
        total = sodium + potassium + self.g_L + conductance
        return total, (sodium * self.E_Na + potassium * self.E_K + self.g_L * self.E_L + current) / total

    def _membrane(self, state, current, dt):
        """v after `dt` ms at fixed gating variables."""
        total, steady = self._conductances(state, current)
        return state._replace(v=steady + (state.v - steady) * jnp.exp(-dt / self.C * total))

    def velocity(self, state, current):
        total, steady = self._conductances(state, current)
        return total / self.C * (steady - state.v)

    def flow(self, state, current, dt):
        h = dt / self.substeps

        def turns(state, rates, steps):
            """`steps` symmetric steps in h; the half steps of the gating variables between two are one."""
            state = self._relax(state, rates, h / steps / 2)
            for left in reversed(range(steps)):
                state = self._membrane(state, current, h / steps)
                state = self._relax(state, self._rates(state.v), h / steps / (1 if left else 2))
            return state

        def step(state):
            rates = self._rates(state.v)
            coarse, fine = turns(state, rates, 1), turns(state, rates, 2)
            return jax.tree.map(lambda a, b: a + (a - b) / 3, fine, coarse)

        return repeat(step, state, self.substeps)

    def released(self, gate, end, path):
        # On the way up alone: what goes down has been released. Beyond the threshold there is nothing more.
        start, stop, (top, _) = self.level(gate, path.start), self.level(gate, end), self.ends(gate, end)
        released = self._released_first(gate, start, top, stop, path)
        return jax.tree.map(lambda x: jnp.where(released.charge > 0, x, 0.0), released)

    def level(self, gate, state):
        return gate.level(self.height(state) + 0.5 * gate.support)

    def crossed(self, gate, path):
        # Above the threshold there is nothing to cross.
        return jnp.where(self.height(path.start) < 0, super().crossed(gate, path), 0.0)

    def travel(self, state, current, dt):
        end = self.flow(state, current, dt)
        spiked = (self.height(state) < 0) & (self.height(end) >= 0)
        speeds = dt * self.velocity(state, current), dt * self.velocity(end, current)
        first = passage_between((self.height(state), self.height(end)), speeds, spiked)
        # Where the spike is, or the end: the channels move slowly against v.
        peak = jax.tree.map(lambda a, b: a + first * (b - a), state, end)
        peak = peak._replace(v=jnp.where(spiked, self.v_th, end.v))
        upswing = self._upswing(peak, current, dt, first)
        return end, Path(state, end, spiked.astype(end.v.dtype), first, first, upswing=upswing)


def _linear(x, rate, width):
    """``rate x/(exp(x/width) - 1)``, smooth through x = 0."""
    return rate * width * jnp.exp(-x / width) / relative_decay(x / width)


__all__ = ["PARAMETERS", "ChannelState", "HodgkinHuxley"]
