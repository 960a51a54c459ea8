"""A trial chunk by chunk: only the states between chunks are kept, and nothing of its input is copied."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Int, PyTree

from ..parameters import vary_together

PRODUCT = "product"
"""Name of what the weights of a layer make of a stimulus, which may be kept where all else of a chunk is
computed again (`jax.ad_checkpoint.checkpoint_name`)."""


def over_chunks(
    advance: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    carry: PyTree,
    xs: PyTree,
    chunk: int,
    keep_products: bool = False,
) -> tuple[PyTree, PyTree]:
    """``advance(carry, xs) -> (carry, ys)`` over the time axis of `xs`, `chunk` steps at a time (the last
    fewer, where it does not divide the trial), each of which is run again on the way back."""
    steps = jax.tree.leaves(xs)[0].shape[0]
    chunk = min(chunk, steps)
    whole = steps // chunk
    names = [PRODUCT] if keep_products else []
    kept = jax.checkpoint_policies.save_only_these_names(*names)
    fixed = xs

    def part(state, i):
        carry, way = state
        way, piece = _windows(fixed, way, chunk * i, chunk)
        carry, ys = advance(carry, piece)
        return (carry, way), ys

    # Inside a scan the recomputation cannot be merged with the forward pass; outside it can, and must not be.
    run = jax.checkpoint(part, prevent_cse=False, policy=kept)
    (carry, _), ys = jax.lax.scan(run, (carry, xs), jnp.arange(whole, dtype=jnp.int32))
    ys = jax.tree.map(lambda y: y.reshape(whole * chunk, *y.shape[2:]), ys)
    if whole * chunk < steps:
        tail = jax.tree.map(lambda x: x[whole * chunk :], xs)
        carry, last = jax.checkpoint(lambda *both: advance(*both), policy=kept)(carry, tail)
        ys = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), ys, last)
    return carry, ys


def _windows(fixed: PyTree, way: PyTree, start: Int[Array, ""], length: int) -> tuple[PyTree, PyTree]:
    leaves, tree = jax.tree.flatten(way)
    both = [_window(length, x, w, start) for x, w in zip(jax.tree.leaves(fixed), leaves, strict=True)]
    return tree.unflatten([w for w, _ in both]), tree.unflatten([piece for _, piece in both])


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _window(length: int, fixed: Array, way: Array, start: Int[Array, ""]) -> tuple[Array, Array]:
    """`way` as it is, and the rows of `fixed` from `start` on.

    The two are the same array: `fixed` is none that a loop carries, so that it need not be kept for every
    turn, and `way` is what the derivative takes. The cotangent goes back through the loop as one array, to
    which every chunk adds its rows in place; JAX's own transpose of a slice adds a whole array of zeros for
    every chunk.
    """
    return way, jax.lax.dynamic_slice_in_dim(fixed, start, length)


@_window.defjvp
def _window_jvp(length, primals, tangents):
    start, d_way = primals[2], tangents[1]
    if d_way.dtype == jax.dtypes.float0:
        return _window(length, *primals), (d_way, d_way[:length])
    d_way, d_piece = _cut.bind(*vary_together((d_way, start)), axis=0, length=length)
    return _window(length, *primals), (d_way, d_piece)


# `_cut`: of x and start x itself, and `length` rows of it along `axis`. `_added`: of x, rows and start x with
# the rows added. Each is the other's transpose.
_cut, _added = Primitive("cut_window"), Primitive("add_window")
_cut.multiple_results = True


def _run_cut(x, start, *, axis: int, length: int):
    return x, jax.lax.dynamic_slice_in_dim(x, start, length, axis)


def _run_added(x, rows, start, *, axis: int):
    old = jax.lax.dynamic_slice_in_dim(x, start, rows.shape[axis], axis)
    return jax.lax.dynamic_update_slice_in_dim(x, old + rows, start, axis)


def _cut_jvp(primals, tangents, **params):
    d_x = ad.instantiate_zeros(tangents[0])
    return _cut.bind(*primals, **params), _cut.bind(d_x, primals[1], **params)


def _cut_transpose(cts, x, start, *, axis: int, length: int):
    del length
    d_x, d_rows = cts
    if isinstance(d_rows, ad.Zero):
        return d_x, None
    d_x = ad.instantiate_zeros(d_x) if isinstance(d_x, ad.Zero) else d_x
    return _added.bind(*vary_together((d_x, d_rows, start)), axis=axis), None


def _added_jvp(primals, tangents, **params):
    d_x, d_rows = (ad.instantiate_zeros(t) for t in tangents[:2])
    return _added.bind(*primals, **params), _added.bind(d_x, d_rows, primals[2], **params)


def _added_transpose(ct, x, rows, start, *, axis: int):
    del x
    length = (rows.aval if ad.is_undefined_primal(rows) else rows).shape[axis]
    d_x, d_rows = _cut.bind(*vary_together((ct, start)), axis=axis, length=length)
    return d_x, d_rows, None


def _batched(primitive):
    def rule(args, dims, *, axis: int, **params):
        *arrays, start = args
        size = next(x.shape[d] for x, d in zip(args, dims, strict=True) if d is not None)
        front = lambda x, d: (
            jnp.broadcast_to(x[None], (size, *x.shape)) if d is None else jnp.moveaxis(x, d, 0)
        )
        assert dims[-1] is None, "every trial is in the same chunk"
        out = primitive.bind(*map(front, arrays, dims), start, axis=axis + 1, **params)
        return out, [0] * len(out) if primitive.multiple_results else 0

    return rule


def _declare(primitive, run, jvp, transpose) -> None:
    primitive.def_impl(run)

    def abstract(*args, **params):
        found = jax.make_jaxpr(functools.partial(run, **params))(*args).out_avals
        return list(found) if primitive.multiple_results else found[0]

    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = _batched(primitive)
    ad.primitive_jvps[primitive] = jvp
    ad.primitive_transposes[primitive] = transpose
    mlir.register_lowering(primitive, mlir.lower_fun(run, multiple_results=primitive.multiple_results))


_declare(_cut, _run_cut, _cut_jvp, _cut_transpose)
_declare(_added, _run_added, _added_jvp, _added_transpose)


def side_by_side(tree: PyTree) -> int:
    """How many copies of this run at once, under the `jax.vmap` that it is called in; 1 where a `jax.jit`
    lies between."""
    sizes = []

    @jax.custom_batching.custom_vmap
    def seen(xs):
        return xs

    @seen.def_vmap
    def _(size, batched, xs):
        sizes.append(size)
        return seen(xs), batched[0]

    seen([jax.lax.stop_gradient(x) for x in jax.tree.leaves(tree)])
    return math.prod(sizes)


__all__ = ["PRODUCT", "over_chunks", "side_by_side"]
