"""The baseline of the sound recordings: a generalised linear model of spikes in bins of 1 ms."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .scores import log_likelihood

__all__ = ["GLM", "fit_glm"]

RIDGES = (0.01, 0.1, 1.0, 3.0, 10.0, 30.0)
"""Weights of the penalty that are tried."""
HELD_OUT = 0.2
"""Part of the training bins, at their end, on which the ridge is chosen."""


class GLM(NamedTuple):
    """Logistic regression of the spike in a bin on the stimulus and on the spikes before it.

    ```
    p_k = sigma(b + sum_{j < stimulus} f_j x_{k-j} + sum_{0 < j <= history} h_j y_{k-j})
    ```
    with x the mean stimulus in bin k, standardised on the training bins, and y_k whether bin k holds a spike.

    **Reference:** Truccolo et al., J. Neurophysiol. 2005; Pillow et al., Nature 2008 (the GLM of spikes).
    """

    bias: float
    stimulus: Float[np.ndarray, " lags"]
    """f, from lag 0 on."""
    history: Float[np.ndarray, " past"]
    """h, from lag 1 on."""
    ridge: float
    """Weight of the penalty that was chosen."""
    centre: float
    """Mean of the stimulus in the training bins."""
    scale: float
    """Its standard deviation there."""

    def probability(
        self, stimulus: Float[np.ndarray, "trials bins"], spikes: Float[np.ndarray, "trials bins"]
    ) -> Float[np.ndarray, "trials bins"]:
        """Probability of a spike in every bin, given the recorded spikes before it.

        **Arguments:** as of `fit_glm`.
        """
        x = _features((stimulus - self.centre) / self.scale, spikes, len(self.stimulus), len(self.history))
        return _sigmoid(x @ np.concatenate([[self.bias], self.stimulus, self.history]))


def fit_glm(
    stimulus: Float[np.ndarray, "trials bins"],
    spikes: Float[np.ndarray, "trials bins"],
    train: int,
    *,
    stimulus_lags: int = 30,
    history_lags: int = 15,
    ridges: tuple[float, ...] = RIDGES,
) -> GLM:
    """The GLM of the first `train` bins of all trials: maximum likelihood with a ridge on both filters, by
    Newton's method.

    The ridge is the one of `ridges` with the best likelihood on the last fifth of the training bins; then all
    of them are fitted.

    **Arguments:** `stimulus`: mean in every bin; `spikes`: above 0 in bins with one; `stimulus_lags`,
    `history_lags`: lengths of the filters in bins, a history of 0 for a GLM of the stimulus alone; `ridges`
    to choose from.
    """
    centre, scale = float(stimulus[:, :train].mean()), float(stimulus[:, :train].std())
    x = _features((stimulus - centre) / scale, spikes, stimulus_lags, history_lags)[:, :train]
    y = (spikes[:, :train] > 0).astype(float)
    inner = round((1 - HELD_OUT) * train)

    def held_out(ridge):
        w = _newton(x[:, :inner], y[:, :inner], ridge)
        return log_likelihood(_sigmoid(x[:, inner:] @ w), y[:, inner:])

    ridge = max(ridges, key=held_out)
    w = _newton(x, y, ridge)
    return GLM(float(w[0]), w[1 : 1 + stimulus_lags], w[1 + stimulus_lags :], ridge, centre, scale)


def _features(x, y, stimulus_lags, history_lags):
    def lagged(series, lag):
        return np.concatenate([np.zeros((len(series), lag)), series[:, : series.shape[1] - lag]], axis=1)

    held = (y > 0).astype(float)
    columns = [np.ones_like(x)]
    columns += [lagged(x, lag) for lag in range(stimulus_lags)]
    columns += [lagged(held, lag) for lag in range(1, history_lags + 1)]
    return np.stack(columns, axis=-1)


def _sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def _newton(x, y, ridge, steps=100, tolerance=1e-8):
    """Weights of a logistic regression with a ridge on all but the first, the bias."""
    x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1)
    penalty = ridge * np.eye(x.shape[1])
    penalty[0, 0] = 0.0
    w = np.zeros(x.shape[1])

    def loss(w):
        u = x @ w
        return np.sum(np.logaddexp(0.0, u) - y * u) + 0.5 * w @ penalty @ w

    now = loss(w)
    for _ in range(steps):
        p = _sigmoid(x @ w)
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + penalty, x.T @ (y - p) - penalty @ w)
        size = 1.0
        while (new := loss(w + size * step)) > now + 1e-12 * abs(now) and size > 1e-6:
            size *= 0.5
        w, now = w + size * step, new
        if np.abs(size * step).max() < tolerance:
            break
    return w
