"""The product of lists of events with a matrix of weights, and of lists of synapses with activations: the one
place that knows how it is computed.

``y[step] += value * matrix[channel]`` for every event. It is linear in the values and in the matrix, and so
is each of its derivatives: two operations that are one another's transposes, `_sums` and `_pairs`, are all
there is to it, in every order and mode and under every `jax.vmap`. A batch of lists is one operation on all
of them; a matrix that they share stays one.

Four paths lead to the same numbers, to rounding:

- ``"dense"``: the array that the events stand for, and one matrix product;
- ``"rows"``: compressed rows (CSR), of lists in the order of their steps as they are, of others sorted
  before; on a CPU by the kernel that JAX brings along;
- ``"loop"``: event by event;
- ``"scatter"``: all rows gathered, and added up where they belong. For accelerators.

`spikejax.event_path` decides by density and shape where a list says ``"auto"``.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float, Int

from .event_path import MOST_CELLS, Shape, chosen_path, costs
from .parameters import vary_together
from .stimulus import Events


def explain_product(events: Events, out: int, platform: str | None = None) -> str:
    """In words, which path the product of `events` (one list, or a batch of them) with a matrix of `out`
    columns takes, forward and for the gradient of the matrix, and why."""
    platform = jax.default_backend() if platform is None else platform
    lists, count = math.prod(events.step.shape[:-1]), events.step.shape[-1]
    columns = math.prod(events.channels)
    there = Shape(lists, count, events.steps, columns, out, results=lists, ordered=events.ordered)
    back = Shape(lists, count, columns, events.steps, out, matrices=lists)
    density = count / (events.steps * columns)
    lines = [
        f"{lists} x {count} events in {events.steps} steps of {columns} channels (density {density:.2%}, "
        f"{'in' if events.ordered else 'not in'} the order of steps), {out} outputs, on {platform}"
    ]
    for name, shape in (("product", there), ("gradient of the matrix", back)):
        if events.path != "auto":
            lines.append(f"{name}: {events.path}, as it was asked for")
            continue
        path = chosen_path(shape, platform)
        if platform == "cpu":
            why = "estimated " + ", ".join(f"{known} {ms:.3g} ms" for known, ms in costs(shape).items())
        else:
            why = f"its array has {shape.cells} numbers, and at most {MOST_CELLS} are made"
        lines.append(f"{name}: {path}; {why}")
    return "\n".join(lines)


def event_product(events: Events, matrix: Float[Array, "channels out"]) -> Float[Array, "time out"]:
    """``y[step] += value * matrix[channel]`` over the events of one trial; `jax.vmap` over trials.

    **Arguments:** `events`: with ``events.path``, the path to take; `matrix`: with a row for every channel,
    counted through all axes. The result is in its precision.
    """
    columns = math.prod(events.channels)
    if matrix.ndim != 2 or matrix.shape[0] != columns:
        raise ValueError(f"`matrix` has shape {matrix.shape}, but there are {columns} channels")
    if not events.step.shape[-1]:
        return jnp.zeros((events.steps, matrix.shape[1]), matrix.dtype)
    value = events.value.astype(matrix.dtype)
    none = _unordered(1)
    operands = vary_together((value[None], events.step[None], events.channel[None], matrix[None], none, none))
    ordered = (events.ordered, False)
    return _sums.bind(*operands, size=events.steps, results=1, ordered=ordered, path=events.path)[0]


def sparse_product(
    weight: Float[Array, " synapses"],
    target: Int[Array, " synapses"],
    source: Int[Array, " synapses"],
    orders: tuple[Int[Array, " synapses"], Int[Array, " synapses"]],
    x: Float[Array, "inputs columns"],
    outputs: int,
    *,
    path: str = "auto",
) -> Float[Array, "outputs columns"]:
    """``y[target] += weight * x[source]`` over a list of synapses in the order of their targets: the product
    of a sparse matrix with a dense one. Under `jax.vmap` over `x` the columns of all are one product.

    **Arguments:** `orders`: the synapses in the order of their sources, ``argsort(source)``, and the way
    back, ``argsort(argsort(source))``, so that the transposed product, which every step of a costate takes,
    has a list in order too.
    """
    lists = (one[None] for one in (weight.astype(x.dtype), target, source))
    operands = vary_together((*lists, x[None], *(order[None] for order in orders)))
    return _sums.bind(*operands, size=outputs, results=1, ordered=(True, False), path=path)[0]


# `_sums`: of value (lists, events), at and of (lists, events), rows (matrices, columns, out) the results
# (results, rows, out): y[at] += value * rows[of]. List number i takes from matrix i // (lists / matrices) and
# adds to result i // (lists / results). Of a list in which `at` does not fall, `there` may be the order in
# which `of` does not, and `back` the way back from it, both (lists, events); else both are `_unordered`.
#
# `_pairs`: of left (matrices, n, out), right (results, m, out), a and b (lists, events) the inner products
# (lists, events): left[a] . right[b]. Matrices as above.
_sums = Primitive("event_sums")
_pairs = Primitive("event_pairs")


def _unordered(lists: int) -> Int[Array, "lists 0"]:
    """In the place of an order that is not known."""
    return jnp.zeros((lists, 0), jnp.int32)


def _flat(at: Array, groups: int, size: int) -> Array:
    """Numbers within a group as numbers within all groups, one after the other, of all lists."""
    group = jnp.arange(at.shape[0], dtype=at.dtype) // (at.shape[0] // groups)
    return (at + (group * size)[:, None]).reshape(-1)


def _grouped(value: Array, first: Array, second: Array, shape: tuple[int, int, int]) -> Array:
    """The dense arrays ``(groups, n, m)``."""
    groups, n, m = shape
    x = jnp.zeros((groups * n, m), value.dtype)
    return x.at[_flat(first, groups, n), second.reshape(-1)].add(value.reshape(-1)).reshape(shape)


def _sums_dense(value, at, of, rows, size: int, results: int):
    matrices, columns, out = rows.shape
    groups = max(matrices, results)
    if results >= matrices:
        x = _grouped(value, at, of, (groups, size, columns))
        y = jnp.einsum("gqtf,gfo->gqto", x.reshape(matrices, -1, size, columns), rows)
        return y.reshape(results, size, out)
    # The matrix product sums over the first axes of both, so that nothing is transposed before it.
    x = _grouped(value, of, at, (groups, columns, size))
    wide = lambda a: a.reshape(results, -1, columns, a.shape[-1])
    return jnp.einsum("gqft,gqfo->gto", wide(x), wide(rows))


def _sums_loop(value, at, of, rows, size: int, results: int):
    matrices, columns, out = rows.shape
    at, of = _flat(at, results, size), _flat(of, matrices, columns)
    value, rows = value.reshape(-1), rows.reshape(-1, out)

    zero = jnp.zeros((), at.dtype)

    def add(i, total):
        row = jax.lax.dynamic_slice(rows, (of[i], zero), (1, out)) * value[i]
        old = jax.lax.dynamic_slice(total, (at[i], zero), (1, out))
        return jax.lax.dynamic_update_slice(total, old + row, (at[i], zero))

    start = jnp.zeros((results * size, out), rows.dtype)
    start, *_ = vary_together((start, value, at, of, rows))
    return jax.lax.fori_loop(0, len(value), add, start).reshape(results, size, out)


def _sums_rows(value, at, of, rows, size: int, results: int, ordered: bool):
    # Here for start-up time.
    from jax.experimental.sparse import BCSR

    matrices, columns, out = rows.shape
    lists = value.shape[0]
    at, of, value = _flat(at, results, size), _flat(of, matrices, columns), value.reshape(-1)
    if not (ordered and results == lists):
        order = jnp.argsort(at)
        at, of, value = at[order], of[order], value[order]
    begin = jnp.searchsorted(at, jnp.arange(results * size + 1, dtype=at.dtype)).astype(at.dtype)
    y = BCSR((value, of, begin), shape=(results * size, matrices * columns)) @ rows.reshape(-1, out)
    return y.reshape(results, size, out)


def _sums_scatter(value, at, of, rows, size: int, results: int):
    matrices, columns, out = rows.shape
    taken = rows.reshape(-1, out)[_flat(of, matrices, columns)] * value.reshape(-1, 1)
    y = jnp.zeros((results * size, out), rows.dtype).at[_flat(at, results, size)].add(taken)
    return y.reshape(results, size, out)


def _run_sums(value, at, of, rows, there, back, *, platform: str, **params):
    del there, back  # of the transpose
    size, results, ordered, path = (params[name] for name in ("size", "results", "ordered", "path"))
    matrices, columns, out = rows.shape
    if path == "auto":
        shape = Shape(value.shape[0], value.shape[1], size, columns, out, results, matrices, ordered[0])
        path = chosen_path(shape, platform, rows.dtype in (jnp.float32, jnp.float64))
    if path == "rows":
        return _sums_rows(value, at, of, rows, size, results, ordered[0])
    run = {"dense": _sums_dense, "loop": _sums_loop, "scatter": _sums_scatter}[path]
    return run(value, at, of, rows, size, results)


def _run_pairs(left, right, a, b, *, platform: str, **params):
    path, out = params["path"], left.shape[-1]
    if path == "auto":
        groups, other = left.shape[0], right.shape[0]
        shape = Shape(a.shape[0], a.shape[1], left.shape[1], right.shape[1], out, groups, other)
        path = chosen_path(shape, platform, False)
    if path == "dense":
        groups = max(left.shape[0], right.shape[0])
        every = lambda x: jnp.repeat(x, groups // x.shape[0], axis=0)
        x = jnp.einsum("gno,gmo->gnm", every(left), every(right))
        place = jnp.arange(a.shape[0]) // (a.shape[0] // groups)
        return x[place[:, None], a, b]
    first, second = _flat(a, *left.shape[:2]), _flat(b, *right.shape[:2])
    left, right = left.reshape(-1, out), right.reshape(-1, out)
    if path == "scatter":
        return jnp.sum(left[first] * right[second], axis=1).reshape(a.shape)

    zero = jnp.zeros((), first.dtype)

    def one(i, found):
        x = jax.lax.dynamic_slice(left, (first[i], zero), (1, out))
        y = jax.lax.dynamic_slice(right, (second[i], zero), (1, out))
        return jax.lax.dynamic_update_slice(found, jnp.sum(x * y, axis=1), (i,))

    start, *_ = vary_together((jnp.zeros(a.size, left.dtype), left, right, first, second))
    return jax.lax.fori_loop(0, a.size, one, start).reshape(a.shape)


def _sums_abstract(value, at, of, rows, there, back, *, results: int, **params):
    del there, back
    return _like((results, params["size"], rows.shape[-1]), value, at, of, rows)


def _pairs_abstract(left, right, a, b, **params):
    del params
    return _like(a.shape, left, right, a, b)


def _like(shape: tuple[int, ...], *given):
    """The type of an array of this shape that depends on all of these: inside `jax.shard_map` it says over
    which devices it varies."""
    dtype = next(x.dtype for x in given if jnp.issubdtype(x.dtype, jnp.floating))
    depends = lambda *xs: sum((x.sum().astype(dtype) for x in xs), jnp.zeros(shape, dtype))
    return jax.make_jaxpr(depends)(*given).out_avals[0]


def _sums_transpose(ct, value, at, of, rows, there, back, *, results: int, ordered, path: str, **params):
    # The results' own rows are in the cotangent's shape; those of the matrix become the results'.
    own, other = ordered
    if ad.is_undefined_primal(value):
        given = vary_together((rows, ct, of, at))
        return _pairs.bind(*given, ordered=(other, own), path=path), None, None, None, None, None
    matrices, columns = rows.aval.shape[:2]
    if there.shape[1]:
        value, of, at = (jnp.take_along_axis(x, there, axis=1) for x in (value, of, at))
        order = ordered
    else:
        order = other, own
    given = vary_together((value, of, at, ct, back, there))
    found = _sums.bind(*given, size=columns, results=matrices, ordered=order, path=path)
    return None, None, None, found, None, None


def _pairs_transpose(ct, left, right, a, b, *, ordered, path: str):
    own, other = ordered
    if ad.is_undefined_primal(left):
        groups, size = left.aval.shape[:2]
        given = vary_together((ct, a, b, right, *(_unordered(len(ct)),) * 2))
        return (
            _sums.bind(*given, size=size, results=groups, ordered=(own, other), path=path),
            None,
            None,
            None,
        )
    groups, size = right.aval.shape[:2]
    given = vary_together((ct, b, a, left, *(_unordered(len(ct)),) * 2))
    back = _sums.bind(*given, size=size, results=groups, ordered=(other, own), path=path)
    return None, back, None, None


def _fronted(x, dim, size: int, one_for_all: bool = False):
    """An operand with the new axis merged into its first one; `one_for_all`: a single matrix stays one."""
    if dim is None:
        if one_for_all and x.shape[0] == 1:
            return x
        x = jnp.broadcast_to(x[None], (size, *x.shape))
    else:
        x = jnp.moveaxis(x, dim, 0)
    return x.reshape(size * x.shape[1], *x.shape[2:])


def _sums_batched(args, dims, *, results: int, **params):
    rows = args[3]
    size = next(x.shape[d] for x, d in zip(args, dims, strict=True) if d is not None)
    if all(d is None for d in dims[:3]):
        # Several matrices for the same lists are one with more columns.
        beside = jnp.moveaxis(rows, dims[3], 2)
        beside = beside.reshape(*beside.shape[:2], -1)
        y = _sums.bind(*args[:3], beside, *args[4:], results=results, **params)
        return jnp.moveaxis(y.reshape(*y.shape[:2], size, -1), 2, 0), 0
    each = enumerate(zip(args, dims, strict=True))
    fronted = tuple(_fronted(x, d, size, one_for_all=i == 3) for i, (x, d) in each)
    y = _sums.bind(*vary_together(fronted), results=size * results, **params)
    return y.reshape(size, results, *y.shape[1:]), 0


def _pairs_batched(args, dims, **params):
    size = next(x.shape[d] for x, d in zip(args, dims, strict=True) if d is not None)
    matrices = [_fronted(x, d, size, one_for_all=True) for x, d in zip(args[:2], dims[:2], strict=True)]
    lists = [_fronted(x, d, size) for x, d in zip(args[2:], dims[2:], strict=True)]
    y = _pairs.bind(*vary_together((*matrices, *lists)), **params)
    return y.reshape(size, -1, y.shape[1]), 0


@functools.lru_cache(maxsize=256)
def _compiled(primitive: Primitive, params: tuple[tuple[str, Any], ...]):
    return jax.jit(functools.partial(primitive.bind, **dict(params)))


def _declare(primitive: Primitive, run, abstract, batched, transpose) -> None:
    primitive.def_impl(lambda *args, **params: _compiled(primitive, tuple(params.items()))(*args))
    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = batched
    ad.primitive_transposes[primitive] = transpose
    for platform in ("cpu", None):
        ran = functools.partial(run, platform=platform or "accelerator")
        mlir.register_lowering(primitive, mlir.lower_fun(ran, multiple_results=False), platform=platform)


_declare(_sums, _run_sums, _sums_abstract, _sums_batched, _sums_transpose)
_declare(_pairs, _run_pairs, _pairs_abstract, _pairs_batched, _pairs_transpose)
ad.defjvp(
    _sums,
    lambda t, value, at, of, rows, there, back, **p: _sums.bind(
        *vary_together((t, at, of, rows, there, back)), **p
    ),
    None,
    None,
    lambda t, value, at, of, rows, there, back, **p: _sums.bind(
        *vary_together((value, at, of, t, there, back)), **p
    ),
    None,
    None,
)
ad.defjvp(
    _pairs,
    lambda t, left, right, a, b, **p: _pairs.bind(*vary_together((t, right, a, b)), **p),
    lambda t, left, right, a, b, **p: _pairs.bind(*vary_together((left, t, a, b)), **p),
    None,
    None,
)

__all__ = ["event_product", "explain_product", "sparse_product"]
