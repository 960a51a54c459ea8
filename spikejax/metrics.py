"""Names and norms of parameters, and a table of confusions."""

import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, Int, PyTree


def leaf_name(path: tuple) -> str:
    """Readable name of a leaf of a network, such as ``layers.0.recurrent.weight``."""
    return jtu.keystr(path, simple=True, separator=".")


def group_norms(gradient: PyTree) -> dict[str, Float[Array, ""]]:
    """Euclidean norm of each parameter's gradient, by `leaf_name`."""
    leaves, _ = jtu.tree_flatten_with_path(gradient)
    return {leaf_name(path): jnp.linalg.norm(leaf.reshape(-1)) for path, leaf in leaves}


def confusion(
    target: Int[np.ndarray, " trials"], label: Int[np.ndarray, " trials"], classes: int
) -> Int[np.ndarray, "classes labels"]:
    """How often class i (row) was taken for class j (column). If there are trials without an answer, of label
    -1, they have a column more, the last.

    **Raises:** `ValueError` for a class outside 0 to ``classes - 1``.
    """
    silent = len(label) > 0 and np.min(label) == -1
    for name, x, low in (("target", target, 0), ("label", label, -1)):
        if len(x) and (np.min(x) < low or np.max(x) >= classes):
            raise ValueError(
                f"`{name}` goes from {np.min(x)} to {np.max(x)}, but there are {classes} classes: number "
                f"them 0 to {classes - 1}"
            )
    table = np.zeros((classes, classes + silent), int)
    np.add.at(table, (np.asarray(target), np.asarray(label)), 1)
    return table


__all__ = [
    "confusion",
    "group_norms",
    "leaf_name",
]
