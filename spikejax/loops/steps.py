"""A loop over steps whose series keep the time axis where it is."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from ..parameters import vary_together


def row(series: PyTree, t: Int[Array, ""]) -> PyTree:
    """Step `t` of every series."""
    return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, t, 0, keepdims=False), series)


def over_steps(
    step: Callable[[Int[Array, ""], PyTree], tuple[PyTree, PyTree]],
    carry: PyTree,
    steps: int,
    reverse: bool = False,
) -> tuple[PyTree, PyTree]:
    """``carry, row = step(t, carry)`` for every t, forwards or back: the last carry, and the rows as series.

    What `jax.lax.scan` does, but for one thing: under `jax.vmap` a scan puts time before the batch, and
    copies every series into that order and out of it. Here a series of a batch stays ``(batch, time, ..)``,
    as the matrix products before and after the loop have it.
    """
    rows = jax.eval_shape(step, jax.ShapeDtypeStruct((), jnp.int32), carry)[1]
    series = jax.tree.map(lambda x: jnp.zeros((steps, *x.shape), x.dtype), rows)
    carry, series = vary_together((carry, series))

    def body(state, t):
        carry, series = state
        carry, rows = step(t, carry)
        put = lambda x, new: jax.lax.dynamic_update_index_in_dim(x, new, t, 0)
        return (carry, jax.tree.map(put, series, rows)), None

    every = jnp.arange(steps, dtype=jnp.int32)
    return jax.lax.scan(body, (carry, series), every, reverse=reverse)[0]


__all__ = ["over_steps", "row"]
