"""Connections with transmission delays, which can be learned."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from ..component import Declaration, check_keywords, option, parameter
from ..parameters import AbstractReparametrisation, Masked, Within, resolve
from .around import AbstractAround
from .base import CONNECTIONS, AbstractConnection, ActivationShape
from .dense import Dense, Scale
from .lines import DelayLines, Lagged, taps

Initial = Annotated[
    tuple[float, float] | None,
    Declaration(
        doc="initial delays are drawn uniformly between the two", unit="ms", at_least=0.0, length=(2, 2)
    ),
]
Longest = Annotated[
    float, Declaration(doc="the longest delay, which memory is kept for", unit="ms", above=0.0)
]
Shortest = Annotated[
    float,
    Declaration(
        doc="the shortest delay; in a recurrence the time step, which passes in any case",
        unit="ms",
        at_least=0.0,
    ),
]
Interpolation = Annotated[
    Literal["linear", "truncated"],
    Declaration(
        doc="what a delay between two steps does: interpolate, with its exact gradient, or go down to a "
        "whole step, with the gradient of a difference",
        choices=("linear", "truncated"),
    ),
]


def _longest() -> Any:
    return option(unit="ms", doc="the longest delay, which memory is kept for", above=0.0)


def _delay() -> Any:
    return parameter(None, unit="ms", doc="delays", at_least=0.0)


def _interpolation() -> Any:
    return option("linear", doc="linear or truncated", choices=("linear", "truncated"))


class _Delayed(AbstractConnection):
    """What both connections with delays have."""

    delay: eqx.AbstractVar[Float[Array, "..."] | AbstractReparametrisation]
    longest: eqx.AbstractVar[float]
    interpolation: eqx.AbstractVar[str]

    @property
    def reach(self):
        return self.longest

    def _lags(self, dt, passed) -> tuple[Float[Array, "..."], int]:
        """The delays in steps, what has passed already left out, and the most there can be."""
        name = type(self).__name__
        if isinstance(dt, Tracer):
            raise ValueError(f"{name}: the memory of a delay needs a time step that is known: `dt` is traced")
        delay = resolve(self.delay)
        if not isinstance(delay, Tracer) and delay.is_fully_addressable:
            known = np.asarray(delay, float)
            if known.min() < passed * (1 - 1e-6):
                raise ValueError(
                    f"{name}: a delay of {known.min():g} ms is shorter than the {passed:g} ms that a "
                    "recurrent connection takes in any case: make it at least that (`shortest`)"
                )
            if known.max() > self.longest * (1 + 1e-6):
                raise ValueError(
                    f"{name}: a delay of {known.max():g} ms is longer than `longest`, {self.longest:g} ms"
                )
        # As many steps as there are up to rounding.
        most = math.ceil((self.longest - passed) / dt * (1 - 1e-9))
        return (delay - passed) / dt, max(most, 1)


@CONNECTIONS.register("delayed")
class Delayed(_Delayed, AbstractAround):
    """A connection behind axons with delays, ``I(t) = C x(t - d)``, one for every input, or several lines for
    all.

    A delay is any real number. The activation is known as its mean over every step, and between two steps it
    is interpolated,
    ```
    x(t - d) = (1 - f) x_{t-k} + f x_{t-k-1},   d = (k + f) dt,   dx/dd = (x_{t-k-1} - x_{t-k})/dt
    ```
    whose gradient in the delay is exact. ``interpolation="truncated"`` takes f as 0, with the same
    derivative: a shift by whole steps and the finite difference that others use for its gradient, which is
    biased.

    In a recurrence the delay is that from the release on, at least dt. What arrives after the end of a trial
    is lost.

    **Arguments:** `connection`: C, from the shape that `delay` and ``in_shape`` broadcast to; `delay`: ms, an
    array or a `Within`, which stays in its range when it is trained; `longest`: ms; `in_shape`: of the input.

    Memory: ``longest/dt`` past inputs for every trial. With lines, ``delay`` of shape ``(lines, 1, ...)``, C
    sees the input of every line.

    **Raises:** `ValueError` where shapes do not fit; from a simulation, for a delay longer than `longest`, or
    in a recurrence below dt, and for a dt that is traced.
    """

    connection: AbstractConnection
    in_shape: tuple[int, ...] = eqx.field(static=True)
    delay: Float[Array, "..."] | AbstractReparametrisation = _delay()
    longest: float = _longest()
    interpolation: str = _interpolation()

    def __check_init__(self):
        try:
            wide = np.broadcast_shapes(self.delay.shape, self.in_shape)
        except ValueError:
            wide = None
        if wide != tuple(self.connection.in_shape):
            raise ValueError(
                f"Delayed: `delay` of shape {self.delay.shape} and inputs of {tuple(self.in_shape)} give "
                f"{wide or 'nothing together'}, but `connection` takes {tuple(self.connection.in_shape)}"
            )

    @property
    def reach(self):
        return self.longest + self.connection.reach

    def at(self, dt, passed=0.0):
        lag, most = self._lags(dt, passed)
        lag = lag.reshape(*(1,) * (len(self.in_shape) - lag.ndim), *lag.shape)
        exact = self.interpolation == "linear"
        return DelayLines(
            connection=self.connection.at(dt), lag=lag, in_shape=self.in_shape, most=most, exact=exact
        )

    def init(self, dtype):
        """Nothing as long as the time step is not known."""

    def step(self, x, memory=None):
        raise ValueError("Delayed: the time step is not known: use `Delayed.at(dt)`")

    @classmethod
    def create(
        cls,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...] | None,
        *,
        key: PRNGKeyArray,
        longest: Longest,
        shortest: Shortest = 0.0,
        initial: Initial = None,
        lines: Annotated[
            int | None,
            Declaration(
                doc="number of delay lines, of which every synapse belongs to one (default: one delay for "
                "each axon)",
                at_least=1,
            ),
        ] = None,
        interpolation: Interpolation = "linear",
        connection: Annotated[
            Callable[..., AbstractConnection],
            Declaration(doc="what is behind the delays", registry=CONNECTIONS, default="dense"),
        ] = Dense.create,
    ) -> "Delayed":
        """Delays drawn uniformly from `initial`, by default from `shortest` to a quarter of the way to
        `longest`, and kept between these two, before a connection that `connection` draws.

        **Arguments:** `lines`: None for one delay an axon; else that number of delays, and every synapse of a
        dense connection belongs to one of them, at random. Memory of the weights: that of one connection for
        every line.

        **Raises:** `ValueError` for numbers out of their range, and lines of a connection that is not dense.
        """
        check_keywords(
            cls, longest=longest, shortest=shortest, initial=initial, lines=lines, interpolation=interpolation
        )
        key_delay, key_lines = jax.random.split(jax.random.fold_in(key, 1))
        inner = connection(in_shape, out_shape, key=key)
        if lines is None:
            shape = tuple(in_shape[1:] if isinstance(in_shape, ActivationShape) else in_shape)
        else:
            shape = (lines, *(1 for _ in in_shape))
            inner = _on_lines(inner, lines, isinstance(in_shape, ActivationShape), key_lines)
        delay = _drawn(key_delay, shape, shortest, longest, initial)
        return cls(
            connection=inner, in_shape=in_shape, delay=delay, longest=longest, interpolation=interpolation
        )


def _drawn(
    key: PRNGKeyArray,
    shape: tuple[int, ...],
    shortest: float,
    longest: float,
    initial: tuple[float, float] | None,
) -> Within:
    if not shortest < longest:
        raise ValueError(f"`shortest` is {shortest:g} ms, but must be below `longest`, {longest:g} ms")
    low, high = (shortest, shortest + (longest - shortest) / 4) if initial is None else initial
    if not shortest <= low <= high <= longest:
        raise ValueError(
            f"`initial` is {[low, high]} ms, but must be [low, high] between `shortest`, {shortest:g}, and "
            f"`longest`, {longest:g}"
        )
    return Within.of(jax.random.uniform(key, shape, minval=low, maxval=high), shortest, longest)


def _on_lines(connection: AbstractConnection, lines: int, kinds: bool, key: PRNGKeyArray) -> Dense:
    """The dense connection with every synapse on one of several lines."""
    if not isinstance(connection, Dense):
        raise ValueError(
            f"`lines` are of dense connections, and this one is a {type(connection).__name__}: leave it out "
            "for one delay an axon"
        )
    weight, out, shape = resolve(connection.weight), connection.out_shape, connection.in_shape
    # A synapse is on one line with all its time constants.
    one_each = shape[1:] if kinds else shape
    line = jax.random.randint(key, (*out, *one_each), 0, lines)
    own = jax.nn.one_hot(line, lines, axis=len(out), dtype=bool)
    own = own if not kinds else jnp.expand_dims(own, len(out) + 1)
    there = (
        own
        if not isinstance(connection.weight, Masked)
        else own & jnp.expand_dims(connection.weight.mask, len(out))
    )
    wide = Dense(
        weight=jnp.broadcast_to(jnp.expand_dims(weight, len(out)), (*out, lines, *shape)),
        in_shape=(lines, *shape),
    )
    return wide.masked(there)


@CONNECTIONS.register("delayed_synapses")
class DelayedSynapses(_Delayed):
    """All-to-all connection with a delay for every synapse, ``I_i(t) = sum_j W_ij x_j(t - d_ij)``,
    interpolated in time as in `Delayed`.

    It is computed as a convolution in time with weights for every lag: their memory is ``(longest/dt + 1)``
    times that of the weights, and so is the time of a step of a recurrence. `Delayed` with lines has delays
    for synapses in less.

    **Arguments:** `weight`: ``(*out, *in)``; `delay`: ms, broadcast to it, an array or a `Within`; `longest`:
    ms; `in_shape`: of the input.

    **Raises:** as `Delayed`.
    """

    weight: Float[Array, "..."] | AbstractReparametrisation
    in_shape: tuple[int, ...] = eqx.field(static=True)
    delay: Float[Array, "..."] | AbstractReparametrisation = _delay()
    longest: float = _longest()
    interpolation: str = _interpolation()

    def __check_init__(self):
        shape = self.weight.shape
        if shape[len(shape) - len(self.in_shape) :] != tuple(self.in_shape):
            raise ValueError(
                f"DelayedSynapses: `weight` has shape {shape}, which does not end in the shape of the input, "
                f"{tuple(self.in_shape)}"
            )
        try:
            fits = np.broadcast_shapes(self.delay.shape, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"DelayedSynapses: `delay` has shape {self.delay.shape}, which does not broadcast to that of "
                f"the weight, {shape}"
            )

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the current."""
        return self.weight.shape[: self.weight.ndim - len(self.in_shape)]

    def at(self, dt, passed=0.0):
        lag, most = self._lags(dt, passed)
        weight = resolve(self.weight)
        shares = taps(jnp.broadcast_to(lag, weight.shape), most, self.interpolation == "linear")
        return Lagged(weight=jnp.flip(shares, 0) * weight[None], in_shape=self.in_shape)

    def init(self, dtype):
        """Nothing as long as the time step is not known."""

    def step(self, x, memory=None):
        raise ValueError("DelayedSynapses: the time step is not known: use `DelayedSynapses.at(dt)`")

    @classmethod
    def create(
        cls,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        *,
        key: PRNGKeyArray,
        longest: Longest,
        shortest: Shortest = 0.0,
        initial: Initial = None,
        interpolation: Interpolation = "linear",
        scale: Scale = 1.0,
    ) -> "DelayedSynapses":
        """Weights as those of `Dense.create`, and delays drawn as those of `Delayed.create`."""
        check_keywords(
            cls, longest=longest, shortest=shortest, initial=initial, interpolation=interpolation, scale=scale
        )
        weight = Dense.create(in_shape, out_shape, key=key, scale=scale).weight
        kinds = isinstance(in_shape, ActivationShape)
        shape = (*out_shape, *((1,) if kinds else ()), *in_shape[int(kinds) :])
        delay = _drawn(jax.random.fold_in(key, 1), shape, shortest, longest, initial)
        return cls(
            weight=weight, in_shape=in_shape, delay=delay, longest=longest, interpolation=interpolation
        )


__all__ = ["Delayed", "DelayedSynapses"]
