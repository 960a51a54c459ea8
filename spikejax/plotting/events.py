"""Figures of an event-driven trial: exact spike times, and what comes after the trial."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ..simulate import Solution
from ..spike_times import SpikeTimes
from .style import page


class ShownSpikes(NamedTuple):
    """One trial, solved from spike to spike."""

    name: str
    stimulus: SpikeTimes | np.ndarray
    """Spikes, or an array ``(time, *channels)``."""
    solution: Solution
    dt: float
    """Length of a step of a stimulus in steps, ms."""
    channel: str = "channel"
    """What the channels of the stimulus are."""
    labels: tuple[str, ...] = ()
    """Names of the classes, which the neurons of the last layer stand for."""


def spike_raster(shown: ShownSpikes) -> Figure:
    """Spikes of the input and of every layer, pseudospikes in another colour."""
    end, times = float(shown.solution.duration), shown.solution.spikes
    figure, axes = page(1 + len(times), 1, 7.4, 2.0 + 2.2 * len(times), sharex=True)
    t, channel, channels = _given(shown)
    top, *others = axes[:, 0]
    top.scatter(t, channel, s=6, marker="|", color="k")
    top.set(ylabel=f"input spikes\n({shown.channel})", ylim=(-1, channels))
    last = [end]
    for i, (ax, found, count) in enumerate(zip(others, times, shown.solution.counts, strict=True)):
        each, number = np.asarray(found).reshape(len(found), -1), np.asarray(count).reshape(-1)
        slot, n = np.nonzero(np.isfinite(each))
        moment = each[slot, n]
        within = slot < number[n]
        # Of pseudospikes the first says when a neuron would fire; those that follow repeat its period.
        first = slot == number[n]
        ax.scatter(moment[within], n[within], s=6, marker="|", color="k", label="spike")
        if first.any():
            ax.scatter(moment[first], n[first], s=6, marker="|", color="C1", label="first pseudospike")
            last.append(float(np.quantile(moment[first], 0.9)))
        ax.axvline(end, color="0.6", lw=0.8, ls="--", label="end of the trial")
        ax.set(ylabel=f"neuron (layer {i})", ylim=(-1, each.shape[1]))
        if i == len(times) - 1 and len(shown.labels) == each.shape[1]:
            ax.set_yticks(range(each.shape[1]), shown.labels, fontsize=7)
            ax.set(ylabel=f"neuron (layer {i}): class")
    top.axvline(end, color="0.6", lw=0.8, ls="--")
    others[0].legend(frameon=False, fontsize=7, ncols=3, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    others[-1].set(xlabel="time (ms)", xlim=(0, 1.05 * min(max(last), 3 * end)))
    figure.suptitle(f"Input and spikes, {shown.name}", fontsize="medium")
    return figure


def _given(shown: ShownSpikes) -> tuple[np.ndarray, np.ndarray, int]:
    """Times (ms) and channels of the stimulus, and how many of these there are."""
    x = shown.stimulus
    if isinstance(x, SpikeTimes):
        there = np.asarray(x.value) != 0
        return np.asarray(x.time)[there], np.asarray(x.channel)[there], int(np.prod(x.channels))
    flat = x.reshape(len(x), -1)
    step, channel = np.nonzero(flat)
    return step * shown.dt, channel, flat.shape[1]


__all__ = ["ShownSpikes", "spike_raster"]
