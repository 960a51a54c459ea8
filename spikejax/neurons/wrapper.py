"""Neurons around another neuron, to which they add one variable."""

from typing import TYPE_CHECKING

from jaxtyping import Array, Float

from ..registry import Registry
from .base import AbstractNeuron, AbstractReset, AbstractResetNeuron

if TYPE_CHECKING:  # no field of the constructor: a class may have a property in its place
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar

WRAPPERS: "Registry[Wrapper]" = Registry("addition to a neuron")


class Wrapper(AbstractResetNeuron):
    """A neuron with the threshold at rest, the reset and the initial potential of the one that it wraps.

    A registered wrapper is a table of that name in the table of any neuron with a reset.

    **Raises:** `ValueError` for a neuron without reset (theta, Hodgkin-Huxley).
    """

    neuron: AbstractVar[AbstractNeuron]

    def __check_init__(self):
        if not isinstance(self.neuron, AbstractResetNeuron):
            raise ValueError(
                f"a {type(self.neuron).__name__} neuron has no reset: {type(self).__name__} needs one"
            )

    @property
    def conductances(self) -> bool:
        """Whether the inner neuron takes them."""
        return self.neuron.conductances

    @property
    def accelerates(self) -> bool:
        """Whether the inner neuron does."""
        return self.neuron.accelerates

    @property
    def _resetting(self) -> AbstractResetNeuron:
        assert isinstance(self.neuron, AbstractResetNeuron)
        return self.neuron

    @property
    def v_th(self) -> Float[Array, "..."]:
        """Of the inner neuron."""
        return self._resetting.v_th

    @property
    def v_reset(self) -> Float[Array, "..."]:
        """Of the inner neuron."""
        return self._resetting.v_reset

    @property
    def v_init(self) -> Float[Array, "..."]:
        """Of the inner neuron."""
        return self._resetting.v_init

    @property
    def reset(self) -> AbstractReset:
        """Of the inner neuron."""
        return self._resetting.reset

    def _inner(self, state):
        """The inner neuron's state: a wrapper's own keeps it in `others`, but for the v that they share."""
        return state.others._replace(v=state.v)

    def threshold(self, state):
        return self.neuron.threshold(self._inner(state))

    def time_constants(self):
        return self.neuron.time_constants()

    def rheobase(self):
        return self.neuron.rheobase()


__all__ = ["WRAPPERS", "Wrapper"]
