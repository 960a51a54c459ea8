"""Scores of predicted spikes against recorded ones, and the interpolation that a model of a neuron has to
beat."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int

__all__ = [
    "SpikeScores",
    "bits_per_spike",
    "coincidence_factor",
    "coincidences",
    "interpolate",
    "log_likelihood",
    "mean_scores",
    "spike_scores",
]

Times: TypeAlias = Float[np.ndarray, " _"]
"""Spike times, ms."""


def coincidence_factor(recorded: Times, predicted: Times, duration: float, window: float = 4.0) -> float:
    """The coincidence factor Gamma of two spike trains.

    ```
    Gamma = (N_coinc - <N_coinc>)/((N_rec + N_pred)/2) / (1 - 2 nu window)
    <N_coinc> = 2 nu window N_rec,   nu = N_pred/duration
    ```
    ``N_coinc`` is the number of recorded spikes with a predicted one within `window` on either side, each
    predicted spike used once; ``<N_coinc>`` is what a Poisson process of the predicted rate would reach. 1:
    every spike is met; 0: no better than chance.

    **Arguments:** `recorded` and `predicted` spike times, `duration` of the recording and `window`, in ms.

    **Returns:** Gamma; NaN if neither train has a spike, or if the predicted rate is so high (``2 nu window
    >= 1``) that the chance level reaches every spike; 0 if one train is empty.

    **Reference:** Kistler, Gerstner & van Hemmen, Neural Comput. 1997, eq. 39; Jolivet et al., J. Neurosci.
    Methods 2008, eq. 1 (there 4 ms).
    """
    n_rec, n_pred = len(recorded), len(predicted)
    if n_rec + n_pred == 0:
        return float("nan")
    chance = 2 * window * n_pred / duration
    if chance >= 1:
        return float("nan")
    met = coincidences(recorded, predicted, window)
    return (met - chance * n_rec) / (0.5 * (n_rec + n_pred)) / (1 - chance)


def coincidences(recorded: Times, predicted: Times, window: float) -> int:
    """Largest number of pairs of a recorded and a predicted spike no more than `window` ms apart, each spike
    in one pair at most."""
    met, i, j = 0, 0, 0
    recorded, predicted = np.sort(recorded), np.sort(predicted)
    while i < len(recorded) and j < len(predicted):
        apart = predicted[j] - recorded[i]
        if abs(apart) <= window:
            met, i, j = met + 1, i + 1, j + 1
        elif apart < 0:
            j += 1
        else:
            i += 1
    return met


class SpikeScores(NamedTuple):
    """How well spikes of several sweeps were predicted."""

    recorded: tuple[int, ...]
    """Recorded spikes in each sweep."""
    predicted: tuple[float, ...]
    """Predicted spikes in each sweep; of several runs the mean."""
    count_error: float
    """Mean of ``|predicted - recorded|`` over sweeps."""
    within_one: float
    """Fraction of sweeps in which ``|predicted - recorded|`` is at most 1."""
    gamma: float
    """Mean of `coincidence_factor` over the sweeps in which it is defined and a spike was recorded; NaN if
    there is none."""
    gammas: tuple[float, ...]
    """`coincidence_factor` of each sweep."""


def spike_scores(
    recorded: tuple[Times, ...],
    predicted: tuple[Times, ...],
    duration: float,
    *,
    window: float = 4.0,
    counts: tuple[float, ...] | None = None,
) -> SpikeScores:
    """Scores of a prediction for every sweep.

    **Arguments:** `recorded` and `predicted`: spike times of every sweep, ms; `duration` of a sweep and
    `window` of the coincidence factor, ms; `counts`: predicted counts, if they are not the numbers of
    predicted spikes.
    """
    known = tuple(len(times) for times in recorded)
    counts = tuple(float(len(times)) for times in predicted) if counts is None else counts
    return _score(
        known,
        counts,
        [coincidence_factor(a, b, duration, window) for a, b in zip(recorded, predicted, strict=True)],
    )


def _score(known: tuple[int, ...], counts: Sequence[float], gammas: Sequence[float]) -> SpikeScores:
    errors = np.abs(np.subtract(counts, known))
    defined = [g for g, n in zip(gammas, known, strict=True) if n and np.isfinite(g)]
    return SpikeScores(
        recorded=known,
        predicted=tuple(map(float, counts)),
        # Of no sweep at all: no number, without a warning.
        count_error=float(errors.mean()) if errors.size else float("nan"),
        within_one=float((errors <= 1).mean()) if errors.size else float("nan"),
        gamma=float(np.mean(defined)) if defined else float("nan"),
        gammas=tuple(map(float, gammas)),
    )


def mean_scores(runs: Sequence[SpikeScores]) -> SpikeScores:
    """Scores of the mean prediction of several runs: of their mean counts, and the mean of their coincidence
    factors where these are defined."""
    known, counts = runs[0].recorded, np.mean([run.predicted for run in runs], axis=0)
    gammas = np.array([run.gammas for run in runs], float)
    defined = np.isfinite(gammas)
    mean = np.where(defined, gammas, 0.0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
    mean = np.where(defined.any(axis=0), mean, np.nan)
    return _score(known, counts.tolist(), mean.tolist())


def interpolate(
    amount: Float[np.ndarray, " sweeps"],
    spikes: tuple[Times, ...],
    left_out: Int[np.ndarray, " left_out"],
    kept: Int[np.ndarray, " kept"],
) -> tuple[tuple[float, ...], tuple[Times, ...]]:
    """Spike counts and times of sweeps from their neighbours among the `kept` ones, the nearest with less and
    with more current.

    Counts are linear in the amount of current between the two (so they need not be whole). With the fraction
    x of the way, the n-th spike is at ``(1 - x) t_n + x t'_n``, for the n that both neighbours have, if the
    count of the sweep, rounded, reaches it; the further spikes are those of the neighbour that has them. A
    sweep past the last kept one on a side takes that one's spikes.

    **Arguments:** `amount` of current of every sweep, in any unit; `spikes` of every sweep, ms; `left_out`,
    `kept`: positions among them.
    """
    order = kept[np.argsort(amount[kept], kind="stable")]
    counts, times = [], []
    for i in left_out:
        above = int(np.searchsorted(amount[order], amount[i]))
        low, high = order[max(above - 1, 0)], order[min(above, len(order) - 1)]
        span = amount[high] - amount[low]
        x = float(np.clip((amount[i] - amount[low]) / span, 0, 1)) if span else 0.0
        a, b = spikes[low], spikes[high]
        count = (1 - x) * len(a) + x * len(b)
        both, longer = min(len(a), len(b)), a if len(a) > len(b) else b
        counts.append(count)
        times.append(np.concatenate([(1 - x) * a[:both] + x * b[:both], longer[both:]])[: round(count)])
    return tuple(counts), tuple(times)


def log_likelihood(probability: Float[np.ndarray, "*bins"], spikes: Float[np.ndarray, "*bins"]) -> float:
    """``sum_k y_k log p_k + (1 - y_k) log(1 - p_k)`` in nats, y_k being 1 if bin k holds a spike.

    **Arguments:** `probability` of a spike in every bin; `spikes`: above 0 in bins with one.
    """
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    return float(np.sum(np.where(spikes > 0, np.log(p), np.log1p(-p))))


def bits_per_spike(probability: Float[np.ndarray, "*bins"], spikes: Float[np.ndarray, "*bins"]) -> float:
    """Information of a prediction, ``(L(p) - L(mean rate))/(N log 2)``, in bits per spike.

    L is `log_likelihood` of a Bernoulli process, one bin a draw, N the number of bins with a spike. The
    reference is the homogeneous process whose rate is the mean of the very bins that are scored: no constant
    prediction is above 0.

    **Arguments:** `probability` of a spike in every bin; `spikes` in it.

    **Raises:** `ValueError` if every bin, or none, holds a spike.
    """
    held = (spikes > 0).astype(float)
    mean = held.mean()
    if not 0 < mean < 1:
        raise ValueError("bits per spike need bins with a spike and bins without")
    reference = log_likelihood(np.full_like(held, mean), held)
    return (log_likelihood(probability, held) - reference) / held.sum() / float(np.log(2))
