"""Dropout of inputs, for a whole trial."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..component import option
from ..parameters import precision
from ..stimulus import Events
from .around import AbstractAround
from .base import AbstractConnection, ActivationShape


class Dropout(AbstractAround):
    """A connection some inputs of which are 0 throughout a trial, at random: each with the probability
    `rate`; the others are times ``1/(1 - rate)``.

    By itself nothing is left out, as in evaluation; `with_dropout` draws what is in a trial of training.

    **Arguments:** `connection`; `rate`; `mask`: factors of the inputs, 0 or ``1/(1 - rate)``, of the shape of
    the input without the synaptic time constants; None: all are 1.
    """

    connection: AbstractConnection
    rate: float = option(doc="probability that an input is left out of a trial", at_least=0.0, below=1.0)
    mask: Float[Array, "..."] | None = None

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of the input."""
        return self.connection.in_shape

    @classmethod
    def create(
        cls,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...] | None = None,
        *,
        key: PRNGKeyArray,
        connection: Callable[..., AbstractConnection],
        rate: float,
    ) -> "Dropout":
        """A connection drawn by `connection`, such as ``partial(Dense.create, scale=2.0)``, with dropout."""
        return cls(connection(in_shape, out_shape, key=key), rate=rate)

    def at(self, dt, passed=0.0):
        return Dropout(self.connection.at(dt, passed), rate=self.rate, mask=self.mask)

    def init(self, dtype):
        return self.connection.init(dtype)

    def step(self, x, memory=None):
        return self.connection.step(self._left(x), memory)

    def over_time(self, x, memory=None, mask=None):
        return self.connection.over_time(self._left(x), memory, mask)

    def _left(self, x: Any) -> Any:
        if self.mask is None:
            return x
        if isinstance(x, Events):
            factor = jnp.broadcast_to(self.mask, self.in_shape).reshape(-1)[x.channel]
            return eqx.tree_at(lambda events: events.value, x, x.value * factor)
        return x * self.mask


def with_dropout(network: PyTree, key: PRNGKeyArray | None) -> PyTree:
    """A network, or a connection, with the inputs drawn that every `Dropout` in it leaves out of a trial;
    `jax.vmap` over the keys of trials. Without a key as it is."""
    count = iter(range(2**31 - 1))

    def drawn(one):
        if not isinstance(one, Dropout) or one.rate == 0:
            return one
        shape = one.in_shape[1:] if isinstance(one.in_shape, ActivationShape) else one.in_shape
        own = jax.random.fold_in(stream, next(count))
        kept = jax.random.bernoulli(own, 1 - one.rate, shape)
        mask = jnp.where(kept, 1 / (1 - one.rate), 0.0).astype(dtype)
        inner = jax.tree.map(drawn, one.connection, is_leaf=_is_dropout)
        return Dropout(inner, rate=one.rate, mask=mask)

    if key is None or not any(map(_is_dropout, jax.tree.leaves(network, is_leaf=_is_dropout))):
        return network
    # Another stream than those of the noise in a trial.
    stream, dtype = jax.random.fold_in(key, 2**31 - 1), precision(network)
    return jax.tree.map(drawn, network, is_leaf=_is_dropout)


def _is_dropout(x: Any) -> bool:
    return isinstance(x, Dropout)


__all__ = ["Dropout", "with_dropout"]
