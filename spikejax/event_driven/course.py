"""Two numbers with any common factor on their way through many steps, ``p' = a p + b q``, ``q' = c p + d
q``."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Pair = tuple[Float[Array, " n"], Float[Array, " n"]]
Pairs = tuple[Float[Array, "steps n"], Float[Array, "steps n"]]


class Matrices(NamedTuple):
    """What each step does to them."""

    a: Float[Array, "steps n"]
    b: Float[Array, "steps n"]
    c: Float[Array, "steps n"]
    d: Float[Array, "steps n"]


@jax.custom_vjp
def course(start: Pair, matrices: Matrices) -> tuple[Pairs, Pair]:
    """p and q before every step, and after the last.

    The factors that keep them near 1 are positive and have no derivative: what becomes of p and q must not
    hang on their common factor.
    """

    def step(pair, matrix):
        p, q = _moved(pair, matrix)
        size = 1 / jnp.maximum(jnp.abs(p), jnp.abs(q))
        return (size * p, size * q), pair

    last, before = jax.lax.scan(step, start, matrices)
    return before, last


def _moved(pair, matrix: Matrices):
    (p, q), (a, b, c, d) = pair, matrix
    return a * p + b * q, c * p + d * q


def _forward(start, matrices):
    before, last = course(start, matrices)
    return (before, last), (before, matrices)


def _backward(residuals, cotangents):
    before, matrices = residuals
    by_before, by_last = cotangents
    # By hand: in the loop there is the transposed step alone, all else is done at once.
    p, q = _moved(before, matrices)
    size = 1 / jnp.maximum(jnp.abs(p), jnp.abs(q))
    a, b, c, d = (size * x for x in matrices)

    def step(costate, x):
        back, own = x
        p, q = _moved(costate, back)
        return (p + own[0], q + own[1]), costate

    by_start, after = jax.lax.scan(step, by_last, (Matrices(a, c, b, d), by_before), reverse=True)
    p, q = before
    up, down = (size * x for x in after)
    return by_start, Matrices(up * p, up * q, down * p, down * q)


course.defvjp(_forward, _backward)

__all__ = ["Matrices", "Pair", "Pairs", "course"]
