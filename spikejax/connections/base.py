"""What a connection is: a linear map of a stretch of time, which may remember a past."""

import abc
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..component import Component
from ..registry import Registry
from ..stimulus import Events, Stimulus

if TYPE_CHECKING:  # no field of the constructor: a class may have a property in its place
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


class ActivationShape(tuple[int, ...]):
    """Shape ``(kinds, *n)`` of the activation of neurons, ``kinds`` synaptic time constants each.

    A tuple that says what its first axis is: a plain ``(28, 28)`` is a stimulus of 784 channels.
    """


def fan_in(in_shape: tuple[int, ...]) -> int:
    """Number of inputs that random weights of `in_shape` are scaled by: all channels of a stimulus, all
    neurons of an `ActivationShape`."""
    return math.prod(in_shape[1:] if isinstance(in_shape, ActivationShape) else in_shape)


class AbstractConnection(Component):
    """A map from activations (or a stimulus) to currents, linear in its input and in its own parameters.

    A new one is written by `__call__`, its value at one moment, and `create`, which draws one at random. It
    then works feed-forward and in recurrence, with every adjoint. One that does better than moment by moment
    overrides `over_time`.
    """

    in_shape: AbstractVar[tuple[int, ...]]
    out_shape: AbstractVar[tuple[int, ...]]

    @property
    def memory(self) -> int:
        """Number of steps before the present one that it reads."""
        return 0

    @abc.abstractmethod
    def __call__(
        self, x: Float[Array, "*in"], past: Float[Array, "memory *in"] | None = None
    ) -> Float[Array, "*out"]:
        """Output at one moment, from the input `x` then and those of the `memory` steps before, the oldest
        first (None without memory)."""

    def over_time(
        self, x: Stimulus, past: Float[Array, "memory *in"] | None = None
    ) -> Float[Array, "time *out"]:
        """Output over a stretch of time, from the input `x` and those of the `memory` steps before it
        (default: 0)."""
        if isinstance(x, Events):
            x = x.dense()
        if not self.memory:
            return jax.vmap(self)(x)
        past = self.no_past(x.dtype) if past is None else past
        whole = x if past is None else jnp.concatenate([past, x])
        window = lambda t: jax.lax.dynamic_slice_in_dim(whole, t, self.memory)
        return jax.vmap(lambda t, now: self(now, window(t)))(jnp.arange(len(x)), x)

    def no_past(self, dtype: Any) -> Float[Array, "memory *in"] | None:
        """The past of a trial that begins: 0, or None without memory."""
        return jnp.zeros((self.memory, *self.in_shape), dtype) if self.memory else None

    @classmethod
    @abc.abstractmethod
    def create(
        cls, in_shape: tuple[int, ...], out_shape: tuple[int, ...], *args: Any, **options: Any
    ) -> "AbstractConnection":
        """One drawn at random, from inputs of `in_shape` (an `ActivationShape` if they are neurons) to a
        population of `out_shape`.

        `options` are `key` and keywords of the class itself, annotated ``Annotated[type, Declaration(...)]``:
        a configuration's table of the connection follows from them.
        """


CONNECTIONS: Registry[AbstractConnection] = Registry("connection")


def check_shapes(connection: AbstractConnection, expected: tuple[int, ...], name: str, given: str) -> None:
    """Raise `ValueError` unless a connection called `name` takes inputs of the `expected` shape, which
    `given` explains (a text with a place for the shape)."""
    if connection.in_shape != expected:
        raise ValueError(
            f"`{name}` takes inputs of shape {connection.in_shape}, but {given.format(expected)}"
        )


__all__ = ["CONNECTIONS", "AbstractConnection", "ActivationShape", "check_shapes", "fan_in"]
