"""How well a readout follows a signal."""

import numpy as np
from jaxtyping import Float


def lagged_error(
    readout: Float[np.ndarray, "trials time out"],
    target: Float[np.ndarray, "trials time out"],
    dt: float,
    longest: float = 20.0,
) -> tuple[Float[np.ndarray, " lags"], Float[np.ndarray, " lags"]]:
    """Normalised squared error ``sum |o(t + lag) - y(t)|^2 / sum |y(t)|^2`` for lags from 0 to `longest` ms,
    in steps of `dt`.

    **Returns:** the lags (ms) and the error at each.
    """
    steps = np.arange(min(round(longest / dt), readout.shape[1] - 1) + 1)
    errors = []
    for n in steps:
        y = target[:, : target.shape[1] - n]
        errors.append(np.sum((readout[:, n:] - y) ** 2) / np.sum(y**2))
    return steps * dt, np.array(errors)


__all__ = ["lagged_error"]
