"""Several connections one after the other."""

from collections.abc import Callable
from typing import Annotated, Any

import jax
from jaxtyping import PRNGKeyArray

from ..component import Declaration
from .base import CONNECTIONS, AbstractConnection, AbstractInstant

Create = Callable[..., AbstractConnection]


@CONNECTIONS.register("chain")
class Chain(AbstractConnection):
    """Several connections one after the other, without spikes between them: pool, then convolve.

    **Arguments:** `connections`: at least one, each from the outputs of the one before.

    **Raises:** `ValueError` where they do not fit.
    """

    connections: tuple[AbstractConnection, ...]

    def __check_init__(self):
        if not self.connections:
            raise ValueError("`connections` is empty: a chain has at least one connection")
        for i, (one, two) in enumerate(zip(self.connections, self.connections[1:], strict=False)):
            if tuple(one.out_shape) != tuple(two.in_shape):
                raise ValueError(
                    f"`connections[{i}]` has outputs {tuple(one.out_shape)}, but `connections[{i + 1}]` "
                    f"takes inputs {tuple(two.in_shape)}"
                )

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of the input of the first."""
        return self.connections[0].in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output of the last."""
        return self.connections[-1].out_shape

    @classmethod
    def create(
        cls,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...] | None = None,
        *,
        key: PRNGKeyArray,
        connections: Annotated[
            tuple[Create, ...],
            Declaration(
                doc="tables of the connections, from the input on", registry=CONNECTIONS, default="dense"
            ),
        ],
    ) -> "Chain":
        """Connections drawn one after the other, all but the last of the shape that follows from its input.

        **Arguments:** `connections`: how each is drawn, such as ``(Pool.create, partial(Convolution.create,
        channels=16))``.
        """
        found: list[AbstractConnection] = []
        for i, (create, k) in enumerate(
            zip(connections, jax.random.split(key, len(connections)), strict=True)
        ):
            shape = out_shape if i == len(connections) - 1 else None
            found.append(create(found[-1].out_shape if found else in_shape, shape, key=k))
        return cls(tuple(found))

    @property
    def reach(self):
        return sum(one.reach for one in self.connections)

    def at(self, dt, passed=0.0):
        found = []
        for one in self.connections:
            found.append(one.at(dt, passed))
            # What has passed before the input is seen has passed once: the first that can count it does.
            passed = passed if isinstance(one, AbstractInstant) else 0.0
        return Chain(tuple(found))

    def init(self, dtype):
        return tuple(one.init(dtype) for one in self.connections)

    def step(self, x, memory=None):
        """Output of one step, and what every connection remembers."""
        return self._passed(x, memory, lambda one, x, own: one.step(x, own))

    def over_time(self, x, memory=None, mask=None):
        return self._passed(x, memory, lambda one, x, own: one.over_time(x, own, mask))

    def _passed(self, x: Any, memory, run) -> tuple[Any, tuple]:
        memories, after = (None,) * len(self.connections) if memory is None else memory, []
        for one, own in zip(self.connections, memories, strict=True):
            x, own = run(one, x, own)
            after.append(own)
        return x, tuple(after)

    def times(self, factor):
        # Of a product one factor is scaled: the last that can be.
        found = list(self.connections)
        for i in reversed(range(len(found))):
            if found[i].weighted:
                found[i] = found[i].times(factor)
                break
        return Chain(tuple(found))


__all__ = ["Chain"]
