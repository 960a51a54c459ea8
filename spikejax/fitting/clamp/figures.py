"""Figures of a current-clamp fit. Every axis says what it shows and in which unit."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...plotting.style import above, beside, limits, page
from ..recordings import CurrentClamp
from .predict import Predicted

__all__ = ["Shown", "clamp_figures"]

MOST_SWEEPS = 4
"""Sweeps in the figure of traces."""
RECORDED = "0.25"
COLOURS = {"stochastic": "C3", "deterministic": "C0"}


class Shown(NamedTuple):
    """What the figures of a current-clamp fit show."""

    name: str
    recording: CurrentClamp
    predicted: Mapping[str, list[Predicted]]
    """Runs of each kind of neuron over all sweeps, by its name (see `COLOURS`)."""
    dt: float
    """Step of the predictions, ms."""
    kept: Int[np.ndarray, " kept"]
    """Positions of the fitted sweeps."""
    left_out: Int[np.ndarray, " left_out"]
    """Positions of the sweeps left out of the fit."""
    interpolated: tuple[float, ...]
    """Spike counts of the sweeps left out, interpolated between their neighbours."""


def clamp_figures(shown: Shown) -> dict[str, Callable[[], Figure]]:
    """What draws each figure, by name: ``traces`` and ``counts``."""
    return {"traces": partial(_traces, shown), "counts": partial(_counts, shown)}


def _traces(shown: Shown) -> Figure:
    """Current above, then voltage and spikes of a few sweeps, recorded and predicted."""
    recording = shown.recording
    pool = shown.left_out if len(shown.left_out) else shown.kept
    some = pool[np.unique(np.linspace(0, len(pool) - 1, min(MOST_SWEEPS, len(pool))).round().astype(int))]
    ratios = [0.6] + [1.0] * len(some)
    figure, axes = page(len(some) + 1, 1, 9.0, 1.4 + 1.7 * len(some), sharex=True, height_ratios=ratios)
    axes = axes[:, 0]
    time = np.arange(recording.current.shape[1]) * recording.sample
    for k, i in enumerate(some):
        axes[0].plot(time, recording.current[i], color=f"C{k}", lw=0.9, label=f"sweep {recording.sweeps[i]}")
        _trace(axes[k + 1], shown, int(i))
    axes[0].set(ylabel="current (pA)")
    beside(axes[0])
    above(figure, axes[1], title=f"Recorded and predicted voltage: {shown.name}")
    axes[-1].set(xlabel="time (ms)")
    return figure


def _trace(ax: Axes, shown: Shown, i: int) -> None:
    """Voltage and spikes of sweep number `i` of the recording, from 0."""
    recording = shown.recording
    recorded, spikes = recording.voltage[i], recording.spikes[i]
    time, top = np.arange(len(recorded)) * recording.sample, recorded.max()
    ax.plot(time, recorded, color=RECORDED, lw=0.7, label="recorded")
    ax.plot(spikes, np.full(len(spikes), top + 8), "|", color=RECORDED, ms=5)
    counts = f"{len(spikes)} recorded"
    for row, (kind, runs) in enumerate(shown.predicted.items()):
        v, times = runs[0].voltage[i], runs[0].spikes[i]
        label = f"{kind} model{', one run' if len(runs) > 1 else ''}"
        ax.plot((np.arange(len(v)) + 1) * shown.dt, v, color=COLOURS[kind], lw=0.7, alpha=0.8, label=label)
        ax.plot(times, np.full(len(times), top + 20 + 12 * row), "|", color=COLOURS[kind], ms=5)
        counts += f", {np.mean([len(run.spikes[i]) for run in runs]):.3g} {kind}"
    part = ", left out of the fit" if i in shown.left_out else ""
    ax.set_title(f"sweep {recording.sweeps[i]}{part}: {counts} spikes", fontsize=8, loc="left")
    ax.set(ylabel="voltage (mV)")


def _counts(shown: Shown) -> Figure:
    """Spikes of every sweep against its mean current, recorded, predicted and interpolated."""
    recording, kept, left_out = shown.recording, shown.kept, shown.left_out
    figure, axes = page(1, 1, 7.6, 3.8)
    ax = axes[0, 0]
    amount = recording.current.mean(axis=1)
    known = np.array([len(times) for times in recording.spikes])
    ax.plot(amount[kept], known[kept], "o", mfc="none", color=RECORDED, label="recorded, fitted")
    ax.plot(amount[left_out], known[left_out], "o", color=RECORDED, label="recorded, left out")
    order = np.argsort(amount, kind="stable")
    for kind, runs in shown.predicted.items():
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
    label = "interpolated between neighbours"
    ax.plot(amount[left_out], shown.interpolated, "x", color="k", label=label)
    ax.set(
        xlabel="current, mean over the sweep (pA)", ylabel="number of spikes in the sweep", title=shown.name
    )
    ax.set_ylim(limits(known, keep=(0.0, 1.2 * known.max())))
    beside(ax)
    return figure
