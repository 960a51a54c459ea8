"""Threshold accommodation, for any neuron with a threshold."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..component import parameter
from ..elementary import relative_decay
from .base import AbstractNeuron
from .wrapper import WRAPPERS, Wrapper


class AccommodatingState(NamedTuple):
    """State of a neuron whose threshold follows its membrane potential."""

    v: Float[Array, "*n"]
    phi: Float[Array, "*n"]
    """What accommodation adds to the threshold."""
    others: Any
    """The inner neuron's state without its v."""


@WRAPPERS.register("accommodation")
class Accommodating(Wrapper):
    """A neuron whose threshold follows its membrane potential, as inactivating sodium channels make it.

    ```
    tau dphi/dt = -phi + f(v),   f(v) = slope width log(1 + exp((v - v_half)/width))
    threshold = that of the neuron + phi
    ```
    The steady threshold is flat far below ``v_half`` and rises with `slope` far above it. With a slope below
    1 a slow rise of v meets a higher threshold than a fast one; above 1 a strong current ends in
    depolarisation block. f is linear in time between the ends of a step, for which phi is exact: an error of
    second order in dt.

    **Arguments:** `neuron`: any neuron that is reset; `tau` (ms), `slope` (dimensionless),
    `v_half` and `width` (in units of v), each a scalar or one per neuron.

    **Raises:** `ValueError` for a neuron without reset (theta, Hodgkin-Huxley).

    **Reference:** Platkiewicz & Brette, PLoS Comput. Biol. 2010 and 2011 (``slope = k_a/k_i``, ``width =
    k_i``); its linear part is the voltage-dependent threshold of GLIF5 in Teeter et al., Nat. Commun. 2018.
    """

    neuron: AbstractNeuron
    tau: Float[Array, "..."] = parameter(20.0, unit="ms", doc="time constant of the threshold", positive=True)
    slope: Float[Array, "..."] = parameter(
        0.5, doc="rise of the steady threshold with the potential, far above v_half", at_least=0.0
    )
    v_half: Float[Array, "..."] = parameter(
        0.5, doc="potential above which the threshold follows, in units of v"
    )
    width: Float[Array, "..."] = parameter(0.1, doc="width of the bend there, in units of v", positive=True)

    def steady(self, v: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """``f(v)``, what accommodation adds to the threshold in the long run."""
        return self.slope * self.width * jax.nn.softplus((v - self.v_half) / self.width)

    def _outer(self, inner, phi) -> AccommodatingState:
        return AccommodatingState(inner.v, phi, inner._replace(v=None))

    def init(self, shape, *, key=None, noise=None):
        inner = self.neuron.init(shape, key=key, noise=noise)
        return self._outer(inner, self.steady(inner.v))

    def _follow(self, state, end, dt):
        h = dt / self.tau
        decay, mean = jnp.exp(-h), relative_decay(h)
        return state.phi * decay + self.steady(state.v) * (mean - decay) + self.steady(end.v) * (1 - mean)

    def flow(self, state, current, dt):
        end = self.neuron.flow(self._inner(state), current, dt)
        return self._outer(end, self._follow(state, end, dt))

    def hold(self, state, current, dt):
        end = self.neuron.hold(self._inner(state), current, dt)
        return self._outer(end, self._follow(state, end, dt))

    def velocity(self, state, current):
        rise = (self.steady(state.v) - state.phi) / self.tau
        return self.neuron.velocity(self._inner(state), current) - rise

    def threshold(self, state):
        return super().threshold(state) + state.phi

    def on_spike(self, state):
        return self._outer(self._resetting.on_spike(self._inner(state)), state.phi)

    def time_constants(self):
        return super().time_constants() | {"tau_accommodation": self.tau}


__all__ = ["Accommodating", "AccommodatingState"]
