"""Absolute refractoriness, for any neuron that is reset."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..component import parameter
from .base import AbstractNeuron
from .wrapper import WRAPPERS, Wrapper


class RefractoryState(NamedTuple):
    """State of a refractory neuron."""

    v: Float[Array, "*n"]
    left: Float[Array, "*n"]
    """What is left of the refractory period, ms."""
    others: Any
    """The inner neuron's state without its v."""


@WRAPPERS.register("refractory")
class Refractory(Wrapper):
    """A neuron that is held at its reset for ``tau_ref`` ms after a spike; adaptation variables go on
    meanwhile.

    The period begins at the crossing, inside the step, and ends inside a step, so that spike times and
    gradient do not hang on the grid.

    **Arguments:** `neuron`: any neuron that is reset; `tau_ref` (ms), a scalar or one per neuron.

    **Raises:** `ValueError` for a neuron without reset (theta, Hodgkin-Huxley).

    !!! example
        >>> from spikejax import LIF, Refractory
        >>> float(Refractory(LIF(v_th=1.5), tau_ref=2.0).v_th)
        1.5
    """

    neuron: AbstractNeuron
    tau_ref: Float[Array, "..."] = parameter(
        2.0, unit="ms", doc="absolute refractory period", positive=True, at_least=0.0
    )

    def _outer(self, inner, left) -> RefractoryState:
        return RefractoryState(inner.v, left, inner._replace(v=None))

    def init(self, shape, *, key=None, noise=None):
        inner = self.neuron.init(shape, key=key, noise=noise)
        return self._outer(inner, jnp.zeros_like(inner.v))

    def flow(self, state, current, dt):
        held = jnp.minimum(state.left, dt)
        inner = self.neuron.hold(self._inner(state), current, held)
        return self._outer(self.neuron.flow(inner, current, dt - held), state.left - held)

    def velocity(self, state, current):
        return jnp.where(state.left > 0, 0.0, self.neuron.velocity(self._inner(state), current))

    def on_spike(self, state):
        left = jnp.broadcast_to(self.tau_ref, state.left.shape)
        return self._outer(self._resetting.on_spike(self._inner(state)), left)


__all__ = ["Refractory", "RefractoryState"]
