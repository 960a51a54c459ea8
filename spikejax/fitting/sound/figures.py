"""Figures of a fit to sound. Every axis says what it shows and in which unit."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ...plotting import save_figures
from .fit import BinnedSound, FittedSound, Score

__all__ = ["sound_figures"]

SHOWN_MS = 400.0
"""Length of the stretch of sound that is shown, ms."""
MODEL, OTHER = "C3", "C0"


def sound_figures(
    folder: Path,
    data: BinnedSound,
    fit: FittedSound,
    scores: dict[str, Score],
    formats: Sequence[str] = ("png",),
) -> None:
    """Write ``rate.png``, ``bits.png`` and ``filters.png``, or other `formats`, into `folder`, made if it is
    not there."""
    figures = {
        "rate": lambda: _rate(data, fit),
        "bits": lambda: _bits(scores),
        "filters": lambda: _filters(data, fit),
    }
    save_figures(folder, figures, formats)


def _rate(data: BinnedSound, fit: FittedSound) -> Figure:
    """Predicted and recorded spikes of the test part's begin, a pair of axes for each trial."""
    width = data.dt * data.sub
    begin, end = data.train, min(data.train + round(SHOWN_MS / width), data.spikes.shape[1])
    time = (np.arange(begin, end) + 0.5) * width
    trials = len(data.spikes)
    figure = Figure(figsize=(9.0, 3.4 * trials), layout="constrained")
    axes = figure.subplots(2 * trials, 1, sharex=True, height_ratios=[0.5, 1.0] * trials)
    for i in range(trials):
        top, bottom = axes[2 * i], axes[2 * i + 1]
        top.plot(time, data.stimulus[i, begin:end], color="0.4", lw=0.7)
        top.set(ylabel="amplitude", title=f"Trial {i + 1}, test part")
        alone, past = fit.stimulus_only[i, begin:end], fit.with_history[i, begin:end]
        bottom.plot(time, 1e3 * alone / width, color=OTHER, lw=0.9, label="predicted from the stimulus alone")
        bottom.plot(time, 1e3 * past / width, color=MODEL, lw=0.7, alpha=0.8, label="with the spikes before")
        at = time[data.spikes[i, begin:end] > 0]
        bottom.plot(at, np.full(len(at), 1060.0 / width), "|", color="k", ms=7, label="recorded spikes")
        bottom.set(ylabel="spikes per second", ylim=(0, 1120.0 / width))
    axes[1].legend(frameon=False, fontsize=7, loc="center right")
    axes[-1].set(xlabel="time (ms)")
    return figure


def _bits(scores: dict[str, Score]) -> Figure:
    """Bits per spike of model and GLM."""
    figure = Figure(figsize=(5.5, 3.4), layout="constrained")
    ax = figure.subplots()
    for k, (name, score) in enumerate(scores.items()):
        bar = ax.bar(k, score.test, color=MODEL if name.startswith("model") else "0.7")
        ax.bar_label(bar, fmt="%.2f")
        ax.plot(np.full(len(score.trials), k), score.trials, "k.", ms=4, label=None if k else "each trial")
    ax.set_xticks(
        range(len(scores)), [name.replace(", ", "\n").replace("glm", "GLM") for name in scores], fontsize=8
    )
    ax.set(ylabel="information (bits per spike)", title="Test part, in bins of one width for both")
    ax.legend(frameon=False)
    return figure


def _filters(data: BinnedSound, fit: FittedSound) -> Figure:
    """The stimulus filters of the three channels."""
    figure = Figure(figsize=(5.5, 3.4), layout="constrained")
    ax = figure.subplots()
    lags = data.knots[:-1]
    weights = np.asarray(fit.model.weight)[: 3 * len(lags)].reshape(3, -1)
    for row, label in zip(weights, ("amplitude", "logarithm", "square"), strict=True):
        ax.plot(lags, row, ".-", ms=3, label=label)
    ax.axhline(0, color="0.8", lw=0.7)
    ax.set(
        xlabel="time before (ms)",
        ylabel="weight at the knot (widths of the escape zone)",
        title="Stimulus filters",
    )
    ax.legend(frameon=False)
    return figure
