"""A figure for each analysis of a trained network."""

from typing import Any

import numpy as np
from jaxtyping import Complex, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..analysis import Ablation, Components, Recording
from ..tasks.base import Probe
from .style import above, beside, colour_key, colours, limits, mark_outside, named_ticks, page

SIX = ("C0", "0.5", "C3", "C2", "C4", "C1")
"""Colours of few groups: the middle one of three is grey."""
MOST_NAMED = 8
"""Most groups that have each of their trials drawn, and all three components over time."""


def _hues(names: tuple[str, ...]) -> list[Any]:
    return list(SIX[: len(names)]) if len(names) <= len(SIX) else colours(len(names))


def _moments(ax: Axes, probe: Probe) -> None:
    """Mark the moments of a trial, with their names; of two that are close, one name is under the other."""
    style = {"xycoords": ("data", "axes fraction"), "rotation": 90, "fontsize": 6, "ha": "right", "va": "top"}
    first, last = ax.get_xlim()
    before, height = -np.inf, 1.0
    for name, at in sorted(probe.moments.items(), key=lambda item: item[1]):
        height = height - 0.4 if at - before < 0.06 * (last - first) and height > 0.5 else 1.0
        ax.axvline(at, color="k", lw=0.6, ls=":")
        ax.annotate(name, (at, height), **style)
        before = at


def trajectories(found: Components, recording: Recording, probe: Probe) -> Figure:
    """The trials' ways through the plane of the first two components, coloured by each property, of many
    groups their means; and the components over time."""
    properties = list(probe.groups) or [None]
    figure, axes = page(2, len(properties), 4.8 * len(properties), 7.0)
    share = [f"{100 * x:.0f} %" for x in found.explained[:3]]
    for (plane, course), name in zip(axes.T, properties, strict=True):
        value = np.zeros(len(recording.v), int) if name is None else probe.groups[name]
        names = ("trials",) if name is None else probe.names[name]
        hues, many = _hues(names), len(names) > MOST_NAMED
        for g in np.unique(value):
            these = np.flatnonzero(value == g)
            mean = found.trajectories[these].mean(axis=0)
            if many:
                plane.plot(mean[:, 0], mean[:, 1], color=hues[g], lw=0.8)
                plane.annotate(names[g], (mean[-1, 0], mean[-1, 1]), color=hues[g], fontsize=7)
            for trial in () if many else these[:12]:
                _path(plane, found, recording, probe, int(trial), hues[g])
            for k in range(1 if many else min(3, mean.shape[1])):
                course.plot(recording.time, mean[:, k], color=hues[g], ls=("-", "--", ":")[k], lw=1.0)
        plane.set(
            xlabel=f"component 1 ({share[0]} of the variance; activation)",
            ylabel=f"component 2 ({share[1]})",
            title=f"{name or 'all trials'}{': mean of each group' if many else ''}",
        )
        shown = "component 1" if many else "components 1, 2, 3\n(solid, dashed, dotted)"
        course.set(xlabel="time (ms)", ylabel=f"{shown}\nmean of the group (activation)")
        colour_key(figure, course, names, name or "", hues)
        _moments(course, probe)
    return figure


def _path(ax: Axes, found: Components, recording: Recording, probe: Probe, trial: int, colour: str) -> None:
    """One trial in the plane, with a dot at every moment."""
    path = found.trajectories[trial][recording.mask[trial]]
    ax.plot(path[:, 0], path[:, 1], color=colour, lw=0.4, alpha=0.5)
    for at in probe.moments.values():
        step = min(round(at / recording.dt), len(path) - 1)
        ax.plot(*path[step, :2], ".", color=colour, ms=3)


def decoding(
    curves: dict[str, Float[np.ndarray, " time"]],
    frozen: dict[str, Float[np.ndarray, " time"]],
    time: Float[np.ndarray, " time"],
    probe: Probe,
) -> Figure:
    """Accuracy of linear decoders over time.

    **Arguments:** `curves`: of decoders that are fitted at every time, by property; `frozen`: of decoders
    that are fitted once; `time` in ms.
    """
    figure, axes = page(len(curves), 1, 7.0, 2.4 * len(curves), sharex=True)
    for ax, (name, curve) in zip(axes[:, 0], curves.items(), strict=True):
        ax.plot(time, curve, color="C0", label="decoder fitted at each time")
        if name in frozen:
            label = "one decoder, fitted before the last but one moment"
            ax.plot(time, frozen[name], color="C3", lw=0.8, label=label)
        chance = np.bincount(probe.groups[name]).max() / len(probe.groups[name])
        ax.axhline(chance, color="0.6", lw=0.8, ls="--", label="most frequent value")
        ax.set(ylabel=f"{name}: trials\ndecoded (fraction)", ylim=(0, 1.03))
        _moments(ax, probe)
    above(figure, axes[0, 0], columns=3, fontsize=7)
    axes[-1, 0].set(xlabel="time (ms)")
    return figure


def similarity(
    matrices: dict[str, Float[np.ndarray, "trials trials"]],
    scores: dict[str, dict[str, tuple[float, float]]],
    probe: Probe,
) -> Figure:
    """Likeness of the rasters of every two trials, sorted by the property that is expected to group them.

    **Arguments:** `matrices`: by window of time; `scores`: mean similarity of trials with the same and with
    different values of each property.
    """
    figure, axes = page(2, len(matrices), 5.4 * len(matrices), 7.6, height_ratios=(2.4, 1))
    for (ax, bars), (window, matrix) in zip(axes.T, matrices.items(), strict=True):
        name = probe.windows[window][2]
        order = np.lexsort((np.arange(len(matrix)), probe.groups[name]))
        image = ax.imshow(
            matrix[np.ix_(order, order)], cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest"
        )
        sizes = np.bincount(probe.groups[name], minlength=len(probe.names[name]))
        edges = np.cumsum(sizes)
        some = np.flatnonzero(sizes)
        middle, named = (edges - sizes / 2 - 0.5)[some], [probe.names[name][g] for g in some]
        for axis in ("x", "y"):
            named_ticks(ax, axis, middle, named, 3.2)
        for edge in edges[:-1]:
            ax.axhline(edge - 0.5, color="k", lw=0.5)
            ax.axvline(edge - 0.5, color="k", lw=0.5)
        ax.set(title=f"{window}, sorted by {name}", xlabel=f"trial, by {name}", ylabel=f"trial, by {name}")
        figure.colorbar(image, ax=ax, label="correlation of rasters (-1 to 1)", shrink=0.8)
        names, x = list(scores[window]), np.arange(len(scores[window]))
        bars.bar(x - 0.2, [scores[window][n][0] for n in names], 0.4, color="C0", label="same")
        bars.bar(x + 0.2, [scores[window][n][1] for n in names], 0.4, color="0.7", label="different")
        bars.axhline(0, color="k", lw=0.6)
        named_ticks(bars, "x", x, names, 3.0)
        bars.set(
            ylabel="mean correlation\nof rasters (-1 to 1)",
            xlabel="property of the two trials",
            xlim=(-1, len(x)),
        )
        beside(bars)
    return figure


def ablation(neurons: Ablation, synapses: Ablation | None) -> Figure:
    """Effect of removing single neurons, and single synapses beside what the gradient predicts."""
    figure, axes = page(1, 2 if synapses else 1, 10.0 if synapses else 5.4, 3.6)
    _removed_neurons(axes[0, 0], neurons)
    if synapses is not None:
        _removed_synapses(axes[0, 1], synapses)
    return figure


def _removed_neurons(ax: Axes, found: Ablation) -> None:
    order = np.argsort(-found.loss)
    change = found.loss[order] - found.whole[0]
    ax.bar(np.arange(len(order)), change, color="C0")
    ax.axhline(0, color="k", lw=0.6)
    ax.set(xlabel="neuron removed (sorted by its effect)", ylabel="change of the loss (dimensionless)")
    ax.set_ylim(limits(change, keep=(0.0,)))
    mark_outside(ax, change)
    if np.isfinite(found.whole[1]):
        twin = ax.twinx()
        twin.plot(np.arange(len(order)), found.accuracy[order], ".", color="C3", ms=4)
        twin.axhline(found.whole[1], color="C3", lw=0.6, ls="--")
        twin.set_ylim(0, 1.03)
        twin.set_ylabel("accuracy without it\n(fraction; dashed: intact)", color="C3")
        twin.spines["right"].set_visible(True)


def _removed_synapses(ax: Axes, found: Ablation) -> None:
    predicted, change = found.predicted, found.loss - found.whole[0]
    if predicted is None:
        raise ValueError("an ablation of synapses has `predicted`")
    ax.plot(predicted, change, ".", color="C0")
    # Dense on any scale, so that the line is right on the symmetric logarithmic one too.
    first, last = np.arcsinh([1e3 * predicted.min(), 1e3 * predicted.max()])
    line = np.sinh(np.linspace(first, last, 400)) / 1e3
    ax.plot(line, line, color="k", lw=0.7, label="first order = truth")
    ax.set(
        xlabel="change of the loss by the gradient, -w dL/dw\n(dimensionless)",
        ylabel="change of the loss without the synapse\n(dimensionless)",
        ylim=limits(change),
    )
    ax.locator_params(axis="x", nbins=4)  # the numbers are long
    largest = max(np.abs(predicted).max(), 1e-12)
    if np.ptp(predicted) > 10 * np.ptp(found.loss):  # the gradient of an unstable trajectory
        linear = np.floor(np.log10(max(np.abs(change).max(), 1e-12)))
        far = max(np.ceil(np.log10(largest)), linear + 1)
        ax.set_xscale("symlog", linthresh=10.0**linear)
        # The two ends and the middle: labels of every decade would lie over each other.
        ax.set_xticks([-(10.0**far), 0.0, 10.0**far])
        ax.minorticks_off()
    mark_outside(ax, change)
    ax.legend(frameon=False, fontsize=7, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)


def stability(
    eigenvalues: dict[str, Complex[np.ndarray, " state"]],
    exponents: dict[str, Float[np.ndarray, " directions"]],
    radius: Float[np.ndarray, " time"],
    time: Float[np.ndarray, " time"],
    probe: Probe,
) -> Figure:
    """Eigenvalues of the one-step map at some moments, the largest of them over time, and Lyapunov exponents
    (1/s) of stretches."""
    figure, axes = page(1, 3, 12.0, 3.8)
    plane, course, spectrum = axes[0]
    angle = 2 * np.pi * np.linspace(0, 1, 200)
    plane.plot(np.cos(angle), np.sin(angle), color="0.7", lw=0.8)
    hues = colours(len(eigenvalues))
    for (name, values), hue in zip(eigenvalues.items(), hues, strict=True):
        plane.plot(np.real(values), np.imag(values), ".", ms=3, color=hue, label=name)
    every = np.concatenate([*eigenvalues.values(), [-1, 1, -1j, 1j]])
    plane.set(
        xlabel="real part (dimensionless)",
        ylabel="imaginary part (dimensionless)",
        title="Eigenvalues of the one-step map",
        aspect="equal",
        xlim=limits(np.real(every), keep=(-1.0, 1.0)),
        ylim=limits(np.imag(every), keep=(-1.0, 1.0)),
    )
    plane.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2)
    course.plot(time, radius, ".-", ms=2, lw=0.7, color="k")
    course.axhline(1, color="0.7", lw=0.8)
    course.set(xlabel="time (ms)", ylabel="largest |eigenvalue| of one step\n(1: neither grows nor shrinks)")
    course.set_ylim(limits(radius, keep=(1.0,)))
    mark_outside(course, radius)
    _moments(course, probe)
    for (name, values), hue in zip(exponents.items(), colours(len(exponents)), strict=True):
        spectrum.plot(np.arange(1, len(values) + 1), values, ".-", ms=2, lw=0.6, color=hue, label=name)
    spectrum.axhline(0, color="0.7", lw=0.8)
    found = np.concatenate(list(exponents.values())) if exponents else np.zeros(1)
    spectrum.set(
        xlabel="direction (sorted)",
        ylabel="Lyapunov exponent over the stretch (1/s)",
        ylim=limits(found, keep=(0.0,), part=0.05),
    )
    mark_outside(spectrum, found)
    spectrum.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.25))
    return figure


__all__ = ["ablation", "decoding", "similarity", "stability", "trajectories"]
