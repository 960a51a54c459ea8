"""Figures of a fit. Every axis says what it shows and in which unit."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from ...plotting import STYLE
from ..recordings import CurrentClamp
from ..sound.fit import SoundData, SoundFit
from .predict import Predicted

SHOWN = 4
"""Sweeps in the figure of traces."""
SHOWN_MS = 400.0
"""Length of the stretch of sound that is shown, ms."""
RECORDED, MODEL, OTHER = "0.25", "C3", "C0"
COLOURS = {"noisy": MODEL, "deterministic": OTHER}


def clamp_figures(
    folder: Path,
    name: str,
    recording: CurrentClamp,
    predicted: dict[str, list[Predicted]],
    dt: float,
    kept: np.ndarray,
    left_out: np.ndarray,
    interpolated: tuple[float, ...],
) -> None:
    """``traces.png`` and ``counts.png`` of a current-clamp fit: of the runs of each kind of neuron, by its
    name."""
    with mpl.rc_context(STYLE):
        _traces(name, recording, predicted, dt, kept, left_out).savefig(folder / "traces.png")
        _counts(name, recording, predicted, kept, left_out, interpolated).savefig(folder / "counts.png")


def _traces(name, recording, predicted, dt, kept, left_out) -> Figure:
    pool = left_out if len(left_out) else kept
    shown = pool[np.unique(np.linspace(0, len(pool) - 1, min(SHOWN, len(pool))).round().astype(int))]
    figure = Figure(figsize=(9.0, 1.0 + 1.7 * len(shown)), layout="constrained")
    axes = figure.subplots(
        len(shown) + 1, 1, sharex=True, squeeze=False, height_ratios=[0.6] + [1.0] * len(shown)
    )[:, 0]
    time = np.arange(recording.current.shape[1]) * recording.sample
    for k, i in enumerate(shown):
        axes[0].plot(time, recording.current[i], color=f"C{k}", lw=0.9, label=f"sweep {recording.sweeps[i]}")
        ax = axes[k + 1]
        ax.plot(time, recording.voltage[i], color=RECORDED, lw=0.7, label="recorded")
        top = recording.voltage[i].max()
        ax.plot(recording.spikes[i], np.full(len(recording.spikes[i]), top + 8), "|", color=RECORDED, ms=5)
        counts = f"{len(recording.spikes[i])} recorded"
        for row, (kind, runs) in enumerate(predicted.items()):
            v, times = runs[0].voltage[i], runs[0].spikes[i]
            one = f"{kind} model{', one run' if len(runs) > 1 else ''}"
            ax.plot((np.arange(len(v)) + 1) * dt, v, color=COLOURS[kind], lw=0.7, alpha=0.8, label=one)
            ax.plot(times, np.full(len(times), top + 20 + 12 * row), "|", color=COLOURS[kind], ms=5)
            counts += f", {np.mean([len(run.spikes[i]) for run in runs]):.3g} {kind}"
        ax.set_title(
            f"sweep {recording.sweeps[i]}{', left out of the fit' if i in left_out else ''}: {counts} spikes",
            fontsize=8,
            loc="left",
        )
        ax.set(ylabel="voltage (mV)")
    axes[0].set(ylabel="current (pA)", title=f"Recorded and predicted voltage: {name}")
    axes[0].legend(frameon=False, fontsize=6, ncols=SHOWN)
    axes[1].legend(
        frameon=False, fontsize=7, loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=3, borderpad=0
    )
    axes[-1].set(xlabel="time (ms)")
    return figure


def _counts(name, recording, predicted, kept, left_out, interpolated) -> Figure:
    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    ax = figure.subplots()
    amount = recording.current.mean(axis=1)
    known = np.array([len(times) for times in recording.spikes])
    ax.plot(amount[kept], known[kept], "o", mfc="none", color=RECORDED, label="recorded, fitted")
    ax.plot(amount[left_out], known[left_out], "o", color=RECORDED, label="recorded, left out")
    order = np.argsort(amount, kind="stable")
    for kind, runs in predicted.items():
        own = np.array([[len(times) for times in run.spikes] for run in runs])
        mean, spread = own.mean(axis=0)[order], own.std(axis=0)[order]
        ax.plot(amount[order], mean, ".-", color=COLOURS[kind], lw=0.9, label=f"{kind} model")
        if len(runs) > 1:
            ax.fill_between(
                amount[order],
                mean - spread,
                mean + spread,
                color=COLOURS[kind],
                alpha=0.2,
                lw=0,
                label="its runs, mean +- SD",
            )
    ax.plot(amount[left_out], interpolated, "x", color="k", label="interpolated between neighbours")
    ax.set(xlabel="current, mean over the sweep (pA)", ylabel="spikes in the sweep", title=name)
    ax.legend(frameon=False, fontsize=7)
    return figure


def sound_figures(folder: Path, data: SoundData, fit: SoundFit, scores: dict) -> None:
    """``rate.png``, ``bits.png`` and ``filters.png`` of a fit to sound."""
    with mpl.rc_context(STYLE):
        _rate(data, fit).savefig(folder / "rate.png")
        _bits(scores).savefig(folder / "bits.png")
        _filters(data, fit).savefig(folder / "filters.png")


def _rate(data: SoundData, fit: SoundFit) -> Figure:
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


def _bits(scores: dict) -> Figure:
    figure = Figure(figsize=(5.5, 3.4), layout="constrained")
    ax = figure.subplots()
    for k, (name, score) in enumerate(scores.items()):
        bar = ax.bar(k, score["test"], color=MODEL if name.startswith("model") else "0.7")
        ax.bar_label(bar, fmt="%.2f")
        ax.plot(
            np.full(len(score["trials"]), k), score["trials"], "k.", ms=4, label=None if k else "each trial"
        )
    ax.set_xticks(
        range(len(scores)), [name.replace(", ", "\n").replace("glm", "GLM") for name in scores], fontsize=8
    )
    ax.set(ylabel="information (bits per spike)", title="Test part, in bins of one width for both")
    ax.legend(frameon=False)
    return figure


def _filters(data: SoundData, fit: SoundFit) -> Figure:
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
