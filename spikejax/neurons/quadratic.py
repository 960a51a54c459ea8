"""The quadratic integrate-and-fire neuron in units of its membrane potential."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..component import parameter
from .base import NEURONS, AbstractNeuron, Drive, Path, State
from .theta import Theta


@NEURONS.register("qif")
class QIF(AbstractNeuron):
    """Quadratic integrate-and-fire (QIF) neuron, ``tau_mem dV/dt = V (V - 1) + I``, with a spike at V = inf
    and a reset to -inf.

    Rest is 0 and the unstable point 1, for I = 0; above I = 1/4 it fires without end. What is simulated is
    the phase on the circle, ``v = 1/2 + atan(V - 1/2)/pi``, of a `Theta` neuron with a ``tau_mem`` of 2 pi
    times this one and ``I - 1/4``: spike and reset are the same point, v = 1 and v = 0, and nothing is cut
    off.

    **Arguments:** `tau_mem` (ms), `v_init` (phase, dimensionless; default: that of rest), each a scalar or
    one per neuron.

    **Reference:** Ermentrout & Kopell 1986; the form ``V (V - 1) + I`` is that of Klos & Memmesheimer,
    arXiv:2309.14523.
    """

    tau_mem: Float[Array, "..."] = parameter(10.0, unit="ms", doc="membrane time constant", positive=True)
    v_init: Float[Array, "..."] = parameter(
        math.atan(2.0) / math.pi, doc="phase at the start of a trial", at_least=0.0, at_most=1.0, drawn=True
    )

    partial_reset = True

    @property
    def _circle(self) -> Theta:
        return Theta(tau_mem=2 * jnp.pi * self.tau_mem, v_init=self.v_init)

    def bounds(self):
        return self._circle.bounds()

    def rheobase(self):
        return jnp.full((), 0.25, self.tau_mem.dtype)

    def init(self, shape, *, key=None, noise=None):
        return self._circle.init(shape, key=key, noise=noise)

    def flow(self, state: State, current, dt) -> State:
        assert not isinstance(current, Drive), "a layer gives conductances to neurons that take them"
        return self._circle.flow(state, current - 0.25, dt)

    def travel(self, state: State, current, dt) -> tuple[State, Path]:
        assert not isinstance(current, Drive), "a layer gives conductances to neurons that take them"
        return self._circle.travel(state, current - 0.25, dt)

    def level(self, gate, state):
        return self._circle.level(gate, state)

    def ends(self, gate, landed):
        return self._circle.ends(gate, landed)

    def zone(self, gate):
        return self._circle.zone(gate)

    def landing(self, free):
        return self._circle.landing(free)


def phase_of(potential: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The phase of a `QIF` neuron at a membrane potential V: ``1/2 + atan(V - 1/2)/pi``."""
    return 0.5 + jnp.arctan(potential - 0.5) / jnp.pi


__all__ = ["QIF", "phase_of"]
