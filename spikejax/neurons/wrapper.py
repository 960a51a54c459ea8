"""Neurons around another neuron, to which they add one variable."""

import dataclasses

import equinox as eqx
from jaxtyping import Array, Float

from .base import AbstractNeuron


class Wrapper(AbstractNeuron):
    """A neuron with the threshold at rest, the reset and the initial potential of the one that it wraps."""

    neuron: eqx.AbstractVar[AbstractNeuron]

    @property
    def v_th(self) -> Float[Array, "..."]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the inner neuron."""
        return self.neuron.v_th

    @property
    def v_reset(self) -> Float[Array, "..."]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the inner neuron."""
        return self.neuron.v_reset

    @property
    def v_init(self) -> Float[Array, "..."]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the inner neuron."""
        return self.neuron.v_init

    @property
    def reset(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the inner neuron."""
        return self.neuron.reset

    def _inner(self, state):
        """The inner neuron's state: a wrapper's own keeps it in `others`, but for the v that they share."""
        return state.others._replace(v=state.v)

    def threshold(self, state):
        return self.neuron.threshold(self._inner(state))

    def time_constants(self):
        return self.neuron.time_constants()


def is_reset(neuron: AbstractNeuron) -> bool:
    """Whether a spike resets the neuron: theta and Hodgkin-Huxley neurons go on by their own equations."""
    while isinstance(neuron, Wrapper):
        neuron = neuron.neuron
    return "v_reset" in {field.name for field in dataclasses.fields(neuron)}
