"""Several connections side by side, to the current and the conductances of a layer."""

import jax.numpy as jnp

from .base import AbstractConnection


class Ports(AbstractConnection):
    """Several connections from one input side by side, their outputs stacked: to the current and to the
    conductances of a layer (`Layer.reversal`).

    **Arguments:** `connections`: one for each port, None where there is none, all from ``in_shape`` to
    ``(*n)``.

    **Raises:** `ValueError` where they do not fit, or all are None.
    """

    connections: tuple[AbstractConnection | None, ...]

    def __check_init__(self):
        shapes = {(c.in_shape, c.out_shape) for c in self.connections if c is not None}
        if len(shapes) != 1:
            raise ValueError(f"`connections` must have one shape of input and output, not {sorted(shapes)}")

    @property
    def _first(self) -> AbstractConnection:
        return next(c for c in self.connections if c is not None)

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of the input."""
        return self._first.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """``(ports, *n)``."""
        return (len(self.connections), *self._first.out_shape)

    @property
    def memory(self):
        """That of the connection with the longest one."""
        return max(c.memory for c in self.connections if c is not None)

    @classmethod
    def create(cls, in_shape, out_shape, *, key, **options):
        raise NotImplementedError(
            "ports are made of connections that are there: Ports((None, excitatory, inhibitory))"
        )

    def __call__(self, x, past=None):
        """Current and conductances ``(ports, *n)`` for one input."""

        def one(connection: AbstractConnection):
            own = connection.memory
            return connection(x, None if past is None or not own else past[len(past) - own :])

        given = [one(c) if c is not None else None for c in self.connections]
        zero = jnp.zeros(self._first.out_shape, x.dtype)
        return jnp.stack([zero if y is None else y for y in given])


__all__ = ["Ports"]
