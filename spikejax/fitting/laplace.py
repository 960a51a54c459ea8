"""Standard errors of parameters from the curvature of a log-likelihood at its maximum."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, Float

CURVED = 0.02
"""First step of the differences, in unbounded parameters."""


def standard_errors(
    slope: Callable[[Float[Array, " n"]], Float[Array, " n"]],
    vector: Float[Array, " n"],
    values: Callable[[Float[Array, " n"]], Float[Array, " parameters"]],
) -> Float[np.ndarray, " parameters"]:
    """Standard errors of ``values(vector)``, by Laplace's approximation: from the inverse of the Hessian,
    through the slope of `values`.

    The Hessian is that of central differences of the exact gradient. NaN where more than 1 % of a parameter
    lies along directions in which it is not positive: the data do not hold it.

    **Arguments:** `slope`: gradient of minus the log-likelihood (with its penalties), in nats; `vector`:
    where it has its minimum.
    """

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
    hessian = differences(0.1 / np.sqrt(np.maximum(rough, 1.0)))
    curvature, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
    loading = (np.asarray(jax.jacobian(values)(vector), np.float64) @ vectors) ** 2
    flat = loading[:, curvature <= 0].sum(axis=1) > 0.01 * loading.sum(axis=1)
    variance = (loading[:, curvature > 0] / curvature[curvature > 0]).sum(axis=1)
    return np.where(flat, np.nan, np.sqrt(variance))
