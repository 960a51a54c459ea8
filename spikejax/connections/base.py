"""What a connection is: a linear map of a stretch of time, which may remember a past."""

import abc
import math
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ..component import Component
from ..parameters import fields_of, scaled
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
    """A map from activations (or a stimulus) to currents, linear in its input and in what it remembers of
    earlier ones.

    A new one without a memory is an `AbstractInstant`. One that remembers writes `init` and `step`, and then
    works feed-forward and in recurrence, with every adjoint; one that does better than step by step overrides
    `over_time`.
    """

    in_shape: AbstractVar[tuple[int, ...]]
    out_shape: AbstractVar[tuple[int, ...]]
    derives_shape: ClassVar[bool] = False
    """Whether the shape of its output follows from that of its input, so that no one else has to give it."""

    @property
    def reach(self) -> float:
        """How long an input may take to arrive, ms."""
        return 0.0

    def at(
        self, dt: float | Float[Array, ""], passed: float | Float[Array, ""] = 0.0
    ) -> "AbstractConnection":
        """The connection at a time step of `dt` ms, as a simulation asks for it once, before its loop: what
        depends on the step, or is the same for all steps, is worked out here.

        **Arguments:** `passed`: ms that have passed before the input is seen, which are dt in a recurrence.
        """
        del dt, passed
        return self

    def init(self, dtype: Any) -> PyTree[Float[Array, "..."]]:
        """What it remembers when a trial begins, arrays of real numbers; None if it remembers nothing."""
        del dtype

    @abc.abstractmethod
    def step(
        self, x: Float[Array, "*in"], memory: PyTree[Float[Array, "..."]] = None
    ) -> tuple[Float[Array, "*out"], PyTree[Float[Array, "..."]]]:
        """Output of one step, from the input `x` in it and what is remembered (None: a trial begins), and
        what is remembered after it."""

    def over_time(
        self,
        x: Stimulus,
        memory: PyTree[Float[Array, "..."]] = None,
        mask: Bool[Array, " time"] | None = None,
    ) -> tuple[Float[Array, "time *out"], PyTree[Float[Array, "..."]]]:
        """Output over a stretch of time, and what is remembered after it; where `mask` is False, the trial is
        over and nothing more is remembered.

        Events become arrays a chunk of steps at a time (`in_chunks`), unless a connection has a way of its
        own for them.
        """
        if isinstance(x, Events):
            return in_chunks(self, x, memory, mask)

        def step(memory, now):
            x, m = now
            y, after = self.step(x, memory)
            return hold(m, after, memory), y

        start = self.init(x.dtype) if memory is None else memory
        memory, out = jax.lax.scan(step, start, (x, mask))
        return out, memory

    @property
    def weighted(self) -> bool:
        """Whether it has a `weight`, which `times` scales; a pool has none."""
        return "weight" in fields_of(self)

    def times(self, factor: float | Float[Array, ""]) -> "AbstractConnection":
        """The connection with `factor`, above 0, times its output, by its weights."""
        return scaled(self, ("weight",), factor)

    @classmethod
    def create(
        cls, in_shape: tuple[int, ...], out_shape: tuple[int, ...] | None, *args: Any, **options: Any
    ) -> "AbstractConnection":
        """One drawn at random, from inputs of `in_shape` (an `ActivationShape` if they are neurons) to a
        population of `out_shape`; None: of the shape that follows, if it does.

        `options` are `key` and keywords of the class itself, annotated ``Annotated[type, Declaration(...)]``:
        a configuration's table of the connection follows from them.
        """
        raise NotImplementedError(f"a {cls.__name__} is not drawn at random: it is made of what is there")


class AbstractInstant(AbstractConnection):
    """A connection without a memory: a class writes `__call__`, its value at one moment, and `create`."""

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "*in"]) -> Float[Array, "*out"]:
        """Output at one moment, linear in the input `x` then."""

    def step(self, x, memory=None):
        return self(x), memory

    def over_time(self, x, memory=None, mask=None):
        if isinstance(x, Events):
            return in_chunks(self, x, memory, mask)
        return jax.vmap(self)(x), memory


CONNECTIONS: Registry[AbstractConnection] = Registry("connection")


def hold(mask: Bool[Array, ""] | None, after: PyTree, before: PyTree) -> PyTree:
    """What is remembered after a step, or, where `mask` is False, before it."""
    return after if mask is None else jax.tree.map(lambda a, b: jnp.where(mask, a, b), after, before)


CELLS = 1 << 16
"""Numbers in a chunk of a trial's stimulus, at most, unless a single step has more: 8 MiB for a batch of 32
in single precision, what an allocator keeps to itself."""


def in_chunks(
    connection: AbstractConnection, events: Events, memory: PyTree, mask: Bool[Array, " time"] | None
) -> tuple[Float[Array, "time *out"], PyTree]:
    """``connection.over_time`` of events by way of arrays, which are never longer than a chunk of steps: the
    chunks run one after the other, each remembers the one before, and on the way back each is made again."""
    steps, dtype = events.steps, events.value.dtype
    length = min(max(CELLS // math.prod(events.channels), 1), steps)
    start = connection.init(dtype) if memory is None else memory

    def run(connection, events, memory, begin, m, length):
        return connection.over_time(events.window(begin, length), memory, m)

    if length == steps:
        return run(connection, events, start, 0, mask, steps)
    whole = steps // length
    cut = None if mask is None else mask[: whole * length].reshape(whole, length)

    # What is made again depends on its arguments alone, which are arrays.
    arrays, others = eqx.partition(connection, eqx.is_array)
    made = lambda arrays, e, memory, begin, m: run(eqx.combine(arrays, others), e, memory, begin, m, length)
    again = jax.checkpoint(made, prevent_cse=False)

    def chunk(memory, xs):
        begin, m = xs
        out, memory = again(arrays, events, memory, begin, m)
        return memory, out

    memory, out = jax.lax.scan(chunk, start, (length * jnp.arange(whole, dtype=jnp.int32), cut))
    out = out.reshape(whole * length, *out.shape[2:])
    if whole * length == steps:
        return out, memory
    rest = None if mask is None else mask[whole * length :]
    last, memory = run(connection, events, memory, whole * length, rest, steps - whole * length)
    return jnp.concatenate([out, last]), memory


def check_shapes(connection: AbstractConnection, expected: tuple[int, ...], name: str, given: str) -> None:
    """Raise `ValueError` unless a connection called `name` takes inputs of the `expected` shape, which
    `given` explains (a text with a place for the shape)."""
    if connection.in_shape != expected:
        raise ValueError(
            f"`{name}` takes inputs of shape {connection.in_shape}, but {given.format(expected)}"
        )


__all__ = [
    "CONNECTIONS",
    "AbstractConnection",
    "AbstractInstant",
    "ActivationShape",
    "check_shapes",
    "fan_in",
    "hold",
    "in_chunks",
]
