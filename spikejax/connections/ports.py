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
    def reach(self):
        return max(c.reach for c in self.connections if c is not None)

    def at(self, dt, passed=0.0):
        return Ports(tuple(c if c is None else c.at(dt, passed) for c in self.connections))

    def init(self, dtype):
        return tuple(None if c is None else c.init(dtype) for c in self.connections)

    def step(self, x, memory=None):
        """Current and conductances ``(ports, *n)`` for one input, and what every connection remembers."""
        return self._stacked(0, memory, lambda connection, own: connection.step(x, own))

    def over_time(self, x, memory=None, mask=None):
        return self._stacked(1, memory, lambda connection, own: connection.over_time(x, own, mask))

    def _stacked(self, axis: int, memory, run):
        """The outputs of all connections, at an axis of their own, 0 where there is none."""
        memories = (None,) * len(self.connections) if memory is None else memory
        found = [None if c is None else run(c, m) for c, m in zip(self.connections, memories, strict=True)]
        zero = jnp.zeros_like(next(y[0] for y in found if y is not None))
        outputs = jnp.stack([zero if y is None else y[0] for y in found], axis)
        return outputs, tuple(None if y is None else y[1] for y in found)


__all__ = ["Ports"]
