"""Optimiser parts that optax does not have; they compose with `optax.chain`."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optax
from jaxtyping import Array, Float, Int, PyTree

from ..metrics import leaf_name


class TensorAdamState(NamedTuple):
    """State of `scale_by_tensor_adam`: running means of the gradient and of its mean square."""

    count: Int[Array, ""]  # pyright: ignore[reportIncompatibleMethodOverride] (optax's name, in checkpoints)
    mean: PyTree
    square: PyTree[Float[Array, ""]]


def scale_by_tensor_adam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam with one second moment for a whole array: ``m/(sqrt(<v>) + eps)``, v the running mean of
    ``mean(g^2)``.

    The direction of the gradient within an array is kept. Where a few neurons carry most of the gradient, as
    in a network that learns a balance, Adam's element-wise scaling turns the noise of the others into steps
    of full size.
    """

    def init(params):
        zero = jax.tree.map(lambda x: jnp.zeros((), x.dtype), params)
        return TensorAdamState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params), zero)

    def update(updates, state, params=None):
        del params
        count = state.count + 1
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, updates)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * jnp.mean(g**2), state.square, updates)

        def scaled(m, v):
            step = count.astype(m.dtype)
            return m / (1 - b1**step) / (jnp.sqrt(v / (1 - b2**step)) + eps)

        return jax.tree.map(scaled, mean, square), TensorAdamState(count, mean, square)

    return optax.GradientTransformation(init, update)


def scale_by_slayer_nadam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """SLAYER's own variant of Nadam: ``sqrt(1 - b2^k)/(1 - b1^k) (b1 m + (1 - b1) g)/(sqrt(v) + eps)``, k
    counting updates from 1.

    The mean looks ahead by the present gradient and keeps its plain bias correction, which `optax.nadam` does
    not.

    **Reference:** the code of Shrestha & Orchard, NeurIPS 2018.
    """
    adam = optax.scale_by_adam(b1, b2, eps)

    def update(updates, state, params=None):
        found = cast(Any, adam.update(updates, state, params)[1])

        def scaled(g, m, v):
            step = found.count.astype(m.dtype)
            return jnp.sqrt(1 - b2**step) / (1 - b1**step) * (b1 * m + (1 - b1) * g) / (jnp.sqrt(v) + eps)

        return jax.tree.map(scaled, updates, found.mu, found.nu), found

    return optax.GradientTransformation(adam.init, update)


def group_of(path: tuple, groups: dict[str, float]) -> str | None:
    """The longest of the names in `groups` that is a part of the leaf's dotted name, such as ``recurrent`` or
    ``layers.0.bias``."""
    name = f".{leaf_name(path)}."
    found = [group for group in groups if f".{group}." in name]
    return max(found, key=len, default=None)


def scale_groups(groups: dict[str, float]) -> optax.GradientTransformation:
    """Multiply the update of every parameter by the factor of its group (1 without one); see `group_of` for
    the names."""

    def update(updates, params=None):
        del params

        def scaled(path, u):
            group = group_of(path, groups)
            return u * (1.0 if group is None else groups[group])

        return jtu.tree_map_with_path(scaled, updates)

    return optax.stateless(update)


def check_groups(params: PyTree, groups: dict[str, float]) -> None:
    """Raise `ValueError` for a group that no trained parameter belongs to."""
    names = [leaf_name(path) for path, _ in jtu.tree_flatten_with_path(params)[0]]
    for group in groups:
        if not any(f".{group}." in f".{name}." for name in names):
            raise ValueError(f"{group!r} is no part of the name of a trained parameter: {', '.join(names)}")


__all__ = ["check_groups", "scale_by_slayer_nadam", "scale_by_tensor_adam", "scale_groups"]
