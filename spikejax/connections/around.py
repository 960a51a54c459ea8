"""What is around another connection, and leaves its weights and shapes to it."""

from typing import TYPE_CHECKING

import equinox as eqx

from .base import AbstractConnection

if TYPE_CHECKING:  # no field of the constructor: a class may have a property in its place
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


class AbstractAround(AbstractConnection):
    """A connection with another one within, the field `connection`, that has the weights and the
    outputs."""

    connection: AbstractVar[AbstractConnection]

    @property
    def out_shape(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Shape of the current."""
        return self.connection.out_shape

    @property
    def reach(self):
        return self.connection.reach

    @property
    def weighted(self):
        return self.connection.weighted

    def times(self, factor):
        return eqx.tree_at(lambda one: one.connection, self, self.connection.times(factor))


__all__ = ["AbstractAround"]
