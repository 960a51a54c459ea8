"""Statistics of spike trains, and the likeness of spike patterns between trials."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class IntervalStatistics(NamedTuple):
    """Irregularity of inter-spike intervals, averaged over the spike trains that have enough of them."""

    cv: float
    """Standard deviation over mean of the intervals; 1 for a Poisson process of constant rate."""
    cv2: float
    """Mean of ``2 |b - a|/(a + b)`` over successive intervals a, b: local, blind to slow changes of the rate;
    1 for Poisson."""
    trains: int
    """Number of spike trains averaged over."""


def interval_statistics(
    release: Float[np.ndarray, "trials time n"], dt: float, least: int = 5
) -> IntervalStatistics:
    """Irregularity of the spike trains of a hard-threshold run (whole spikes), from those with `least`
    intervals or more.

    **Reference:** Holt et al., J. Neurophysiol. 75, 1996 (CV2).
    """
    cv, cv2 = [], []
    for trial in release:
        for train in trial.T:
            interval = np.diff(np.flatnonzero(train > 0.5)) * dt
            if len(interval) >= least:
                cv.append(interval.std() / interval.mean())
                cv2.append(np.mean(2 * np.abs(np.diff(interval)) / (interval[1:] + interval[:-1])))
    if not cv:
        return IntervalStatistics(float("nan"), float("nan"), 0)
    return IntervalStatistics(float(np.mean(cv)), float(np.mean(cv2)), len(cv))


def smooth(
    release: Float[np.ndarray, "trials time n"], dt: float, width: float = 10.0
) -> Float[np.ndarray, "trials time n"]:
    """Spike trains filtered by a Gaussian of standard deviation `width` ms, as rates in Hz."""
    # Here for start-up time: it takes 0.2 s to import.
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(release / dt * 1e3, width / dt, axis=1, mode="constant")


def raster_similarity(
    release: Float[np.ndarray, "trials time n"], dt: float, begin: float, end: float, width: float = 10.0
) -> Float[np.ndarray, "trials trials"]:
    """Likeness of the spike patterns of every two trials between `begin` and `end` ms: the correlation, over
    neurons and time, of their smoothed spike trains (see `smooth`) after the mean over trials is taken
    away."""
    pattern = smooth(release[:, round(begin / dt) : round(end / dt)], dt, width)
    pattern = (pattern - pattern.mean(axis=0)).reshape(len(release), -1)
    norm = np.linalg.norm(pattern, axis=1, keepdims=True)
    pattern = pattern / np.where(norm > 0, norm, 1.0)
    return pattern @ pattern.T


def grouping(
    similarity: Float[np.ndarray, "trials trials"], group: Int[np.ndarray, " trials"]
) -> tuple[float, float]:
    """Mean similarity of different trials of the same group, and of different groups."""
    same = group[:, None] == group[None]
    other = ~np.eye(len(group), dtype=bool)
    return float(similarity[same & other].mean()), float(similarity[~same].mean())


__all__ = ["IntervalStatistics", "grouping", "interval_statistics", "raster_similarity", "smooth"]
