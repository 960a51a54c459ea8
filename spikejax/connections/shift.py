"""Shifts in time, of every channel by whole steps of its own.

The transpose of JAX's own gather is a scatter, which costs thirty times as much on a CPU. That of a shift is
the shift back: a primitive can say so.
"""

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float, Int

from ..parameters import vary_together


def shifted(x: Float[Array, "time *n"], steps: Int[Array, "*n"]) -> Float[Array, "time *n"]:
    """``y[t, j] = x[t - steps[j], j]``, and 0 where there is no such step. Linear in `x`, with derivatives of
    every order and mode."""
    flat, steps = vary_together((x.reshape(len(x), -1), steps.reshape(-1)))
    return _shift.bind(flat, steps).reshape(x.shape)


_shift = Primitive("shift_in_time")
"""From ``(*batch, time, n)`` and ``(*batch, n)``, whose batch axes broadcast, to ``(*batch, time, n)``."""


@_shift.def_impl
@jax.jit
def _value(x, steps):
    def one(x, steps):
        source = jnp.arange(len(x), dtype=steps.dtype)[:, None] - steps[None]
        # A negative index would count from the end.
        source = jnp.where(source < 0, len(x), source)
        return jnp.take_along_axis(x, source, axis=0, mode="fill", fill_value=0)

    batch = jnp.broadcast_shapes(x.shape[:-2], steps.shape[:-1])
    shared = steps.ndim == 1
    steps = steps if shared else jnp.broadcast_to(steps, (*batch, *steps.shape[-1:]))
    for _ in batch:
        one = jax.vmap(one, (0, None if shared else 0))
    return one(jnp.broadcast_to(x, (*batch, *x.shape[-2:])), steps)


@_shift.def_abstract_eval
def _shape(x, steps):
    batch = jnp.broadcast_shapes(x.shape[:-2], steps.shape[:-1])
    return x.update(shape=(*batch, *x.shape[-2:]))


def _transposed(cotangent, x, steps):
    if type(cotangent) is ad.Zero:
        return ad.Zero(x.aval), None
    back = _shift.bind(*vary_together((cotangent, -steps)))
    # Over the batch axes that `x` does not have.
    extra = back.ndim - len(x.aval.shape)
    back = back.sum(tuple(range(extra)))
    alone = tuple(i for i, size in enumerate(x.aval.shape) if size != back.shape[i])
    return back.sum(alone, keepdims=True), None


def _batched(arguments, axes):
    (x, steps), (of_x, of_steps) = arguments, axes
    rank = max(x.ndim - (of_x is not None) - 2, steps.ndim - (of_steps is not None) - 1)

    def first(array, axis, own):
        """The new axis in front of as many batch axes as either has."""
        if axis is None:
            return array
        array = jnp.moveaxis(array, axis, 0)
        return array.reshape(len(array), *(1,) * (rank - (array.ndim - 1 - own)), *array.shape[1:])

    return _shift.bind(*vary_together((first(x, of_x, 2), first(steps, of_steps, 1)))), 0


ad.defjvp(_shift, lambda tangent, x, steps: _shift.bind(*vary_together((tangent, steps))), None)
ad.primitive_transposes[_shift] = _transposed
batching.primitive_batchers[_shift] = _batched
mlir.register_lowering(_shift, mlir.lower_fun(_value, multiple_results=False))


__all__ = ["shifted"]
