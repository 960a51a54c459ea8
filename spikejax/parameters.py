"""Parameters: positive, masked and signed ones, and saying which are trained."""

import abc
from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, PyTree


def as_parameter(value: Any) -> Any:
    """`value` as a floating array of the default precision that is not weakly typed (weak types make a train
    step trace again); a reparametrisation, which stands for one, as it is."""
    if isinstance(value, AbstractReparametrisation):
        return value
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jnp.floating) and not value.weak_type:
        return value
    return jnp.asarray(value, dtype=jnp.result_type(float))


class AbstractReparametrisation(eqx.Module):
    """Stands in a network where an array is expected, and is replaced by its `value` at the start of every
    simulation (`resolve`). What is trained of it are its leaf `raw`, which may be a reparametrisation too,
    and others that are called ``raw_...``."""

    raw: eqx.AbstractVar[Any]

    @property
    @abc.abstractmethod
    def value(self) -> Float[Array, "..."]:
        """The array that the network uses."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return eqx.filter_eval_shape(lambda one: one.value, self).shape

    @property
    def ndim(self) -> int:
        """Number of axes of the value."""
        return len(self.shape)

    def times(self, factor: Float[Array, "..."] | float) -> "AbstractReparametrisation":
        """The parameter whose value is `factor`, above 0, times that of this one; by default `raw` is
        scaled."""
        raw = self.raw.times(factor) if _is_wrapped(self.raw) else self.raw * factor
        return eqx.tree_at(lambda one: one.raw, self, raw)


class Positive(AbstractReparametrisation):
    """A positive parameter ``exp(raw)``: gradient steps on `raw` cannot make a time constant negative.

    Wrap any field of a neuron, synapse or readout in it, for example ``eqx.tree_at(lambda n:
    n.layers[0].neuron.tau_mem, network, replace_fn=Positive.of)``; `simulate` unwraps it.
    """

    raw: Float[Array, "..."]

    @classmethod
    def of(cls, value) -> "Positive":
        """The wrapper whose value is `value`.

        **Raises:** `ValueError` for a value that is known and not above 0.
        """
        value = as_parameter(value)
        if not isinstance(value, Tracer) and value.is_fully_addressable and not np.all(np.asarray(value) > 0):
            raise ValueError(
                f"a parameter that stays positive in training starts at {np.min(np.asarray(value)):g}: give "
                "it a value "
                "above 0, or do not train it"
            )
        return cls(jnp.log(value))

    @property
    def value(self) -> Float[Array, "..."]:
        """``exp(raw)``."""
        return jnp.exp(self.raw)

    def times(self, factor):
        return Positive(self.raw + jnp.log(factor))


class Masked(AbstractReparametrisation):
    """A parameter that is 0 for good where `mask` is False: autapses that are not there, a readout of some
    synapses only."""

    raw: Float[Array, "..."] | AbstractReparametrisation
    mask: Bool[Array, "..."]

    @property
    def value(self) -> Float[Array, "..."]:
        """``raw`` where the mask is True, else 0."""
        return jnp.where(self.mask, resolve(self.raw), 0.0)


class Signed(AbstractReparametrisation):
    """A parameter of fixed sign, ``sign |raw|``: excitatory (1) or inhibitory (-1) synapses, absent ones (0),
    conductances (1)."""

    raw: Float[Array, "..."] | AbstractReparametrisation
    sign: Float[Array, "..."]

    @property
    def value(self) -> Float[Array, "..."]:
        """``sign |raw|``."""
        return self.sign * jnp.abs(resolve(self.raw))


class WeightNormalised(AbstractReparametrisation):
    """Weights as a direction and a length, ``raw_gain raw/|raw|`` for every output: the gradient in the
    direction stands at right angles to it, and the length has one of its own.

    Within `Masked` or `Signed` the weights that are not there are 0 in `raw`, and stay so: they are no part
    of the length.

    **Arguments:** `raw`: ``(*out, *in)``; `raw_gain`: ``(*out)``.

    **Reference:** Salimans & Kingma, Weight normalization, NeurIPS 2016, eq. 2.
    """

    raw: Float[Array, "..."]
    raw_gain: Float[Array, "..."]

    @classmethod
    def of(cls, value: Float[Array, "..."], outputs: int) -> "WeightNormalised":
        """The wrapper whose value is `value`, the first axes of which, so many, are those of the outputs."""
        return cls(value, _lengths(value, outputs))

    @property
    def value(self) -> Float[Array, "..."]:
        """``raw_gain raw/|raw|``; 0 for an output all of whose weights are."""
        length = _lengths(self.raw, self.raw_gain.ndim)
        factor = self.raw_gain / jnp.where(length > 0, length, 1.0)
        return self.raw * factor.reshape(factor.shape + (1,) * (self.raw.ndim - factor.ndim))

    def times(self, factor):
        return WeightNormalised(self.raw, self.raw_gain * factor)


def _lengths(value: Float[Array, "..."], outputs: int) -> Float[Array, "..."]:
    """Euclidean norms over all axes but the first `outputs`; their gradient at 0 is 0."""
    square = jnp.sum(value**2, axis=tuple(range(outputs, value.ndim)))
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def like(own: Any, value: Float[Array, "..."]) -> Any:
    """`value` with the weight normalisation that the weight `own` has, if it has any."""
    while isinstance(own, Masked | Signed):
        own = own.raw
    return WeightNormalised.of(value, own.raw_gain.ndim) if isinstance(own, WeightNormalised) else value


class Within(AbstractReparametrisation):
    """A parameter between `low` and `high`: `raw`, reflected at both ends.

    Its derivative is 1 or -1 everywhere, so that a gradient step has the size that it would have without the
    limits, and nothing is stuck at an end.
    """

    raw: Float[Array, "..."]
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)

    @classmethod
    def of(cls, value, low: float, high: float) -> "Within":
        """The wrapper whose value is `value`.

        **Raises:** `ValueError` for limits in the wrong order, and for a value that is known and outside.
        """
        value = as_parameter(value)
        if not low < high:
            raise ValueError(f"a parameter cannot stay between {low:g} and {high:g}: the first must be below")
        if not isinstance(value, Tracer) and value.is_fully_addressable:
            known = np.asarray(value)
            # As exact as the precision of the value.
            slack = 1e-6 * (high - low)
            if not np.all((known >= low - slack) & (known <= high + slack)):
                worst = known.reshape(-1)[np.argmax(np.abs(known - (low + high) / 2))]
                raise ValueError(
                    f"a parameter that stays between {low:g} and {high:g} starts at {worst:g}: give it a "
                    "value between them"
                )
        return cls(value, float(low), float(high))

    @property
    def value(self) -> Float[Array, "..."]:
        """``raw`` where it is between the two, else its reflection."""
        span = self.high - self.low
        along = jnp.mod(self.raw - self.low, 2 * span)
        return self.low + jnp.where(along <= span, along, 2 * span - along)

    def times(self, factor):
        return Within(self.value * factor, self.low, self.high)


def _is_wrapped(x) -> bool:
    return isinstance(x, AbstractReparametrisation)


def resolve(tree: PyTree) -> PyTree:
    """`tree` with every reparametrisation replaced by its value; differentiable, and idempotent."""
    return jtu.tree_map(lambda x: x.value if _is_wrapped(x) else x, tree, is_leaf=_is_wrapped)


def field_name(path: tuple) -> str:
    """Name of the field that a leaf belongs to: its last attribute, reparametrisations looked through."""
    names = [k.name for k in path if isinstance(k, jtu.GetAttrKey)]
    while len(names) > 1 and (names[-1] == "raw" or names[-1].startswith("raw_")):
        names.pop()
    return names[-1]


def fields_of(tree: PyTree) -> frozenset[str]:
    """Names of the fields of a tree of modules that hold arrays of real numbers."""
    leaves, _ = jtu.tree_flatten_with_path(tree)
    return frozenset(field_name(path) for path, leaf in leaves if eqx.is_inexact_array(leaf))


def trainable(network: PyTree, fields: Iterable[str] = ("weight", "bias")) -> PyTree[bool]:
    """Filter for `equinox.partition`: True at the arrays of the named fields, False elsewhere.

    **Arguments:** `fields`: names of fields of the network's modules, such as ``weight``, ``bias``,
    ``tau_mem``, ``tau_syn``, ``v_th``, ``v_init``.

    **Raises:** `ValueError` for a name that no array of the network has.
    """
    fields = tuple(fields)
    names = sorted(fields_of(network))
    for name in fields:
        if name not in names:
            raise ValueError(
                f"`trainable` names {name!r}, which the network does not have: choose from {', '.join(names)}"
            )
    return jtu.tree_map_with_path(lambda p, x: eqx.is_inexact_array(x) and field_name(p) in fields, network)


def positive(network: PyTree, fields: Iterable[str]) -> PyTree:
    """`network` with every array of the named fields wrapped in `Positive`."""
    fields = tuple(fields)

    def wrap(path, leaf):
        return Positive.of(leaf) if not _is_wrapped(leaf) and field_name(path) in fields else leaf

    return jtu.tree_map_with_path(wrap, network, is_leaf=_is_wrapped)


def scaled(tree: PyTree, fields: Iterable[str], factor: Float[Array, ""] | float) -> PyTree:
    """`tree` with every array of the named fields times `factor`, which is above 0."""
    fields = tuple(fields)

    def scale(path, leaf):
        if field_name(path) not in fields:
            return leaf
        return (
            leaf.times(factor) if _is_wrapped(leaf) else leaf * factor if eqx.is_inexact_array(leaf) else leaf
        )

    return jtu.tree_map_with_path(scale, tree, is_leaf=_is_wrapped)


def is_floating(x: Any) -> bool:
    """Whether `x` is an array of real numbers, JAX's or numpy's."""
    return isinstance(x, jax.Array | np.ndarray | np.generic) and jnp.issubdtype(x.dtype, jnp.floating)


def cast(tree: PyTree, dtype) -> PyTree:
    """`tree` with its floating arrays in `dtype`."""
    return jax.tree.map(lambda x: jnp.asarray(x, dtype) if is_floating(x) else x, tree)


def precision(tree: PyTree) -> Any:
    """The floating type that holds every floating array of `tree`: the widest of theirs."""
    found = [x.dtype for x in jax.tree.leaves(tree) if is_floating(x)]
    # Types that are mixed are mixed on purpose here, whatever is allowed elsewhere.
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*found) if found else jnp.result_type(float)


def constant(tree: PyTree) -> PyTree:
    """`tree` without derivative: `jax.lax.stop_gradient` of its floating arrays, and all else as it is."""
    return jax.tree.map(lambda x: jax.lax.stop_gradient(x) if eqx.is_inexact_array(x) else x, tree)


def vary_together(tree: PyTree) -> PyTree:
    """`tree` with arrays that all vary over the devices that any of them varies over: inside `jax.shard_map`
    a loop cannot carry what is the same on all devices in and what is not out. Elsewhere as it is."""

    def axes(x) -> frozenset[Any]:
        found = jax.typeof(x)
        # Named differently by different versions of JAX.
        return found.vma if hasattr(found, "vma") else found.mat.varying

    is_array = lambda x: isinstance(x, jax.Array | np.ndarray)
    every = frozenset[Any]().union(*(axes(x) for x in jax.tree.leaves(tree) if is_array(x)))
    if not every:
        return tree

    def varying(x):
        missing = every - axes(x) if is_array(x) else ()
        return jax.lax.pcast(jnp.asarray(x), tuple(missing), to="varying") if missing else x

    return jax.tree.map(varying, tree)


__all__ = [
    "AbstractReparametrisation",
    "Masked",
    "Positive",
    "Signed",
    "WeightNormalised",
    "Within",
    "as_parameter",
    "cast",
    "constant",
    "field_name",
    "fields_of",
    "is_floating",
    "like",
    "positive",
    "precision",
    "resolve",
    "scaled",
    "trainable",
    "vary_together",
]
