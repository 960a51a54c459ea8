"""Figures of a fit to sound. Every axis says what it shows and in which unit."""

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from ...plotting.style import above, beside, page
from .fit import BinnedSound, FittedSound, Score

__all__ = ["sound_figures"]

SHOWN_MS = 400.0
"""Length of the stretch of sound that is shown, ms."""
MODEL, OTHER = "C3", "C0"


def sound_figures(
    data: BinnedSound, fit: FittedSound, scores: dict[str, Score]
) -> dict[str, Callable[[], Figure]]:
    """What draws each figure, by name: ``rate``, ``bits`` and ``filters``."""
    return {
        "rate": partial(_rate, data, fit),
        "bits": partial(_bits, scores),
        "filters": partial(_filters, data, fit),
    }


def _rate(data: BinnedSound, fit: FittedSound) -> Figure:
    """Predicted and recorded spikes of the test part's begin, a pair of axes for each trial."""
    width = data.dt * data.sub
    begin, end = data.train, min(data.train + round(SHOWN_MS / width), data.spikes.shape[1])
    time = (np.arange(begin, end) + 0.5) * width
    trials = len(data.spikes)
    ratios = [0.5, 1.0] * trials
    figure, axes = page(2 * trials, 1, 9.0, 3.4 * trials + 0.3, sharex=True, height_ratios=ratios)
    axes = axes[:, 0]
    for i in range(trials):
        top, bottom = axes[2 * i], axes[2 * i + 1]
        top.plot(time, data.stimulus[i, begin:end], color="0.4", lw=0.7)
        top.set(ylabel="amplitude\n(unit of the file)", title=f"Trial {i + 1}, test part")
        alone, past = fit.stimulus_only[i, begin:end], fit.with_history[i, begin:end]
        bottom.plot(time, 1e3 * alone / width, color=OTHER, lw=0.9, label="predicted from the stimulus alone")
        bottom.plot(time, 1e3 * past / width, color=MODEL, lw=0.7, alpha=0.8, label="with the spikes before")
        at = time[data.spikes[i, begin:end] > 0]
        bottom.plot(at, np.full(len(at), 1060.0 / width), "|", color="k", ms=7, label="recorded spikes")
        bottom.set(ylabel="rate (spikes/s)", ylim=(0, 1120.0 / width))
    above(figure, axes[1])
    axes[-1].set(xlabel="time (ms)")
    return figure


def _bits(scores: dict[str, Score]) -> Figure:
    """Bits per spike of model and GLM."""
    figure, axes = page(1, 1, 6.0, 3.6)
    ax = axes[0, 0]
    for k, (name, score) in enumerate(scores.items()):
        bar = ax.bar(k, score.test, color=MODEL if name.startswith("model") else "0.7")
        ax.bar_label(bar, fmt="%.2f", label_type="center")
        ax.plot(np.full(len(score.trials), k), score.trials, "k.", ms=4, label=None if k else "each trial")
    names = [name.replace(", ", "\n").replace("glm", "GLM") for name in scores]
    ax.set_xticks(range(len(scores)), names, fontsize=8)
    ax.set(
        xlabel="prediction (model or GLM, and from what)",
        ylabel="information (bits per spike)",
        title="Test part, in bins of one width for both",
    )
    beside(ax)
    return figure


def _filters(data: BinnedSound, fit: FittedSound) -> Figure:
    """The stimulus filters of the three channels."""
    figure, axes = page(1, 1, 6.0, 3.6)
    ax = axes[0, 0]
    lags = data.basis.knots[:-1]
    weights = np.asarray(fit.model.weight)[: 3 * len(lags)].reshape(3, -1)
    for row, label in zip(weights, ("amplitude", "logarithm", "square"), strict=True):
        ax.plot(lags, row, ".-", ms=3, label=label)
    ax.axhline(0, color="0.8", lw=0.7)
    ax.set(
        xlabel="time before (ms)",
        ylabel="weight at the knot\n(widths of the escape zone)",
        title="Stimulus filters",
    )
    beside(ax)
    return figure
