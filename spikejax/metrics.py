"""Numbers that say how a network is doing."""

import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

SILENT = 0.1
"""Below this rate (Hz, averaged over trials) a neuron counts as silent."""
SATURATED = 0.5
"""Above this many spikes a step (averaged over trials and time) a neuron counts as saturated."""


def rates(counts: Float[Array, "trials *n"], duration: float | Float[Array, " trials"]) -> Float[Array, "*n"]:
    """Firing rates in Hz, averaged over trials.

    **Arguments:** `counts`: released charge per trial and neuron (`Solution.counts`); `duration` of the
    trials, ms.
    """
    duration = jnp.broadcast_to(jnp.asarray(duration), counts.shape[:1])
    return 1e3 * jnp.sum(counts, axis=0) / jnp.sum(duration)


def silent_fraction(rate: Float[Array, "*n"]) -> Float[Array, ""]:
    """Fraction of neurons below `SILENT` Hz."""
    return jnp.mean(rate < SILENT)


def saturated_fraction(rate: Float[Array, "*n"], dt: float) -> Float[Array, ""]:
    """Fraction of neurons above `SATURATED` spikes a step of `dt` ms."""
    return jnp.mean(rate * dt * 1e-3 > SATURATED)


def leaf_name(path: tuple) -> str:
    """Readable name of a leaf of a network, such as ``layers.0.recurrent.weight``."""
    return jtu.keystr(path, simple=True, separator=".")


def group_norms(gradient: PyTree) -> dict[str, Float[Array, ""]]:
    """Euclidean norm of each parameter's gradient, by `leaf_name`."""
    leaves, _ = jtu.tree_flatten_with_path(gradient)
    return {leaf_name(path): jnp.linalg.norm(leaf.reshape(-1)) for path, leaf in leaves}


def confusion(
    target: Int[np.ndarray, " trials"], label: Int[np.ndarray, " trials"], classes: int
) -> Int[np.ndarray, "classes classes"]:
    """How often class i (row) was taken for class j (column).

    **Raises:** `ValueError` for a class outside 0 to ``classes - 1``.
    """
    for name, x in {"target": target, "label": label}.items():
        if len(x) and (np.min(x) < 0 or np.max(x) >= classes):
            raise ValueError(
                f"`{name}` goes from {np.min(x)} to {np.max(x)}, but there are {classes} classes: number "
                f"them 0 to {classes - 1}"
            )
    table = np.zeros((classes, classes), int)
    np.add.at(table, (np.asarray(target), np.asarray(label)), 1)
    return table


__all__ = [
    "SATURATED",
    "SILENT",
    "confusion",
    "group_norms",
    "leaf_name",
    "rates",
    "saturated_fraction",
    "silent_fraction",
]
