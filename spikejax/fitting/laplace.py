"""Standard errors of parameters from the curvature of a log-likelihood at its maximum."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

__all__ = ["standard_errors"]

CURVED = 0.02
"""First step of the differences, in unbounded parameters."""


def standard_errors(
    loss: Callable[[Any, Any], Float[Array, ""]],
    fitted: Any,
    data: Any,
    values: Callable[[Any], dict[str, Float[Array, ""]]],
) -> dict[str, float]:
    """Standard errors of ``values(fitted)`` by Laplace's approximation, in the units of `values`: from the
    inverse of the Hessian of `loss`, through the slope of `values`.

    NaN where more than 1 % of a parameter lies along directions in which the Hessian is not positive: the
    data do not hold it.

    **Arguments:** `loss`: minus the log-likelihood of fitted numbers and data, with its penalties, in nats;
    `fitted`: a pytree of unbounded numbers, where it has its minimum; `data`: a pytree of arrays; `values`:
    parameters by name, from fitted numbers.
    """
    vector, unravel = ravel_pytree(fitted)
    slope = jax.jit(jax.grad(lambda vector, data: loss(unravel(vector), data)))
    names = list(values(fitted))

    def stacked(vector):
        named = values(unravel(vector))
        return jnp.stack([named[name] for name in names])

    hessian = _hessian(lambda vector: slope(vector, data), vector)
    curvature, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
    loading = (np.asarray(jax.jacobian(stacked)(vector), np.float64) @ vectors) ** 2
    flat = loading[:, curvature <= 0].sum(axis=1) > 0.01 * loading.sum(axis=1)
    variance = (loading[:, curvature > 0] / curvature[curvature > 0]).sum(axis=1)
    return dict(zip(names, np.where(flat, np.nan, np.sqrt(variance)).tolist(), strict=True))


def _hessian(
    slope: Callable[[Float[Array, " n"]], Float[Array, " n"]], vector: Float[Array, " n"]
) -> Float[np.ndarray, "n n"]:
    """Central differences of an exact gradient."""

    def differences(steps):
        directions = np.diag(steps).astype(vector.dtype)
        rows = [
            np.asarray(slope(vector + d), np.float64) - np.asarray(slope(vector - d), np.float64)
            for d in directions
        ]
        return np.stack(rows) / (2 * steps[:, None])

    # Curvatures differ by 10^6: a second pass with a step for each, long where the rounding of the gradient
    # would count.
    rough = np.diag(differences(np.full(len(vector), CURVED)))
    return differences(0.1 / np.sqrt(np.maximum(rough, 1.0)))
