"""A figure for each analysis. Every axis says what it shows and in which unit."""

import numpy as np
from matplotlib.figure import Figure

from ..tasks.base import Probe
from .ablation import Ablation
from .record import Recording
from .statespace import Components

COLOURS = ("C0", "0.5", "C3", "C2", "C4", "C1")


def _page(rows: int, columns: int, width: float, height: float, **kwargs):
    page = Figure(figsize=(width, height), layout="constrained")
    return page, page.subplots(rows, columns, squeeze=False, **kwargs)


def _colour(value: int, names: tuple[str, ...]) -> str:
    return COLOURS[value % len(COLOURS)] if len(names) <= len(COLOURS) else f"C{value % 10}"


def _moments(ax, probe: Probe) -> None:
    for name, at in probe.moments.items():
        ax.axvline(at, color="k", lw=0.6, ls=":")
        ax.annotate(
            name, (at, 1.0), xycoords=("data", "axes fraction"), rotation=90, fontsize=6, ha="right", va="top"
        )


def trajectories(found: Components, recording: Recording, probe: Probe) -> Figure:
    """Every trial's way through the plane of the first two components, coloured by each property; and the
    components over time."""
    groups = list(probe.groups) or [None]
    page, axes = _page(2, len(groups), 4.2 * len(groups), 7.0)
    time = recording.time
    for column, name in enumerate(groups):
        plane, course = axes[:, column]
        value = np.zeros(len(recording.v), int) if name is None else probe.groups[name]
        names = ("trials",) if name is None else probe.names[name]
        for g in np.unique(value):
            colour, these = _colour(int(g), names), np.flatnonzero(value == g)
            for trial in these[:12]:
                kept = recording.mask[trial]
                way = found.trajectories[trial][kept]
                plane.plot(way[:, 0], way[:, 1], color=colour, lw=0.4, alpha=0.5)
                for at in probe.moments.values():
                    step = min(round(at / recording.dt), len(way) - 1)
                    plane.plot(*way[step, :2], ".", color=colour, ms=3)
            mean = found.trajectories[these].mean(axis=0)
            for k in range(min(3, mean.shape[1])):
                course.plot(
                    time,
                    mean[:, k],
                    color=colour,
                    ls=("-", "--", ":")[k],
                    lw=1.0,
                    label=names[g] if k == 0 else None,
                )
        share = [f"{100 * x:.0f} %" for x in found.explained[:3]]
        plane.set(
            xlabel=f"component 1 ({share[0]} of the variance)",
            ylabel=f"component 2 ({share[1]})",
            title=name or "all trials",
        )
        course.set(
            xlabel="time (ms)", ylabel="components 1, 2, 3 (solid,\ndashed, dotted), group mean (a.u.)"
        )
        course.legend(frameon=False, fontsize=7)
        _moments(course, probe)
    return page


def decoding(
    curves: dict[str, np.ndarray], frozen: dict[str, np.ndarray], time: np.ndarray, probe: Probe
) -> Figure:
    """Accuracy of linear decoders over time."""
    page, axes = _page(len(curves), 1, 7.0, 2.4 * len(curves), sharex=True)
    for ax, (name, curve) in zip(axes[:, 0], curves.items(), strict=True):
        ax.plot(time, curve, color="C0", label="decoder fitted at each time")
        if name in frozen:
            ax.plot(
                time,
                frozen[name],
                color="C3",
                lw=0.8,
                label="one decoder, fitted before the last but one moment",
            )
        chance = np.bincount(probe.groups[name]).max() / len(probe.groups[name])
        ax.axhline(chance, color="0.6", lw=0.8, ls="--", label="most frequent value")
        ax.set(ylabel=f"{name}\ndecoded (fraction)", ylim=(0, 1.03))
        _moments(ax, probe)
    axes[0, 0].legend(frameon=False, fontsize=7, loc="lower right")
    axes[-1, 0].set(xlabel="time (ms)")
    return page


def similarity(
    matrices: dict[str, np.ndarray], scores: dict[str, dict[str, tuple[float, float]]], probe: Probe
) -> Figure:
    """Likeness of the rasters of every two trials, sorted by the property that is expected to group them."""
    page, axes = _page(2, len(matrices), 4.4 * len(matrices), 7.0, height_ratios=(1.6, 1))
    for column, (window, matrix) in enumerate(matrices.items()):
        name = probe.windows[window][2]
        order = np.lexsort((np.arange(len(matrix)), probe.groups[name]))
        ax, bars = axes[:, column]
        image = ax.imshow(
            matrix[np.ix_(order, order)], cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest"
        )
        edges = np.cumsum(np.bincount(probe.groups[name]))
        middle = edges - np.diff(np.concatenate([[0], edges])) / 2
        ax.set_xticks(middle, probe.names[name], fontsize=7)
        ax.set_yticks(middle, probe.names[name], fontsize=7)
        for edge in edges[:-1]:
            ax.axhline(edge - 0.5, color="k", lw=0.5)
            ax.axvline(edge - 0.5, color="k", lw=0.5)
        ax.set(title=f"{window}, sorted by {name}", xlabel=f"trial, by {name}", ylabel=f"trial, by {name}")
        page.colorbar(image, ax=ax, label="correlation of rasters", shrink=0.8)
        names, x = list(scores[window]), np.arange(len(scores[window]))
        bars.bar(x - 0.2, [scores[window][n][0] for n in names], 0.4, color="C0", label="same")
        bars.bar(x + 0.2, [scores[window][n][1] for n in names], 0.4, color="0.7", label="different")
        bars.axhline(0, color="k", lw=0.6)
        bars.set_xticks(x, names)
        bars.set(ylabel="mean correlation of rasters", xlabel="property of the two trials")
        bars.legend(frameon=False, fontsize=7)
    return page


def ablation(neurons: Ablation, synapses: Ablation | None) -> Figure:
    """Effect of removing single neurons, and single synapses beside what the gradient predicts."""
    page, axes = _page(1, 2 if synapses else 1, 9.0 if synapses else 5.0, 3.4)
    left = axes[0, 0]
    order = np.argsort(-neurons.loss)
    left.bar(np.arange(len(order)), neurons.loss[order] - neurons.whole[0], color="C0")
    left.axhline(0, color="k", lw=0.6)
    left.set(xlabel="neuron removed (sorted)", ylabel="change of the loss (dimensionless)")
    if np.isfinite(neurons.whole[1]):
        twin = left.twinx()
        twin.plot(np.arange(len(order)), neurons.accuracy[order], ".", color="C3", ms=4)
        twin.axhline(neurons.whole[1], color="C3", lw=0.6, ls="--")
        twin.set_ylim(0, 1.03)
        twin.set_ylabel("accuracy without it (dashed: intact)", color="C3")
        twin.spines["right"].set_visible(True)
    if synapses:
        right = axes[0, 1]
        right.plot(synapses.predicted, synapses.loss - synapses.whole[0], ".", color="C0")
        # Dense on any scale, so that the line is right on the symmetric logarithmic one too.
        line = (
            np.sinh(
                np.linspace(
                    *np.arcsinh([1e3 * synapses.predicted.min(), 1e3 * synapses.predicted.max()]), 400
                )
            )
            / 1e3
        )
        right.plot(line, line, color="k", lw=0.7, label="first order = truth")
        right.set(
            xlabel="change of the loss by the gradient, -w dL/dw",
            ylabel="change of the loss without the synapse",
        )
        if np.ptp(synapses.predicted) > 10 * np.ptp(synapses.loss):
            right.set_xscale("symlog", linthresh=0.1)  # the gradient of an unstable trajectory
            right.set_ylim(*(1.1 * np.array([-1, 1]) * np.abs(synapses.loss - synapses.whole[0]).max()))
        right.legend(frameon=False, fontsize=7)
    return page


def stability(
    eigenvalues: dict[str, np.ndarray],
    exponents: dict[str, np.ndarray],
    radius: np.ndarray,
    time: np.ndarray,
    probe: Probe,
) -> Figure:
    """Eigenvalues of the one-step map at some moments, the largest of them over time, and Lyapunov exponents
    of stretches."""
    page, axes = _page(1, 3, 12.0, 3.8)
    plane, course, spectrum = axes[0]
    circle = np.exp(2j * np.pi * np.linspace(0, 1, 200))
    plane.plot(circle.real, circle.imag, color="0.7", lw=0.8)
    for k, (name, values) in enumerate(eigenvalues.items()):
        plane.plot(values.real, values.imag, ".", ms=3, color=f"C{k}", label=name)
    plane.set(
        xlabel="real part", ylabel="imaginary part", title="Eigenvalues of the one-step map", aspect="equal"
    )
    plane.legend(frameon=False, fontsize=7, loc="lower right", bbox_to_anchor=(1.0, 1.15))
    course.plot(time, radius, lw=0.7, color="k")
    course.axhline(1, color="0.7", lw=0.8)
    course.set(xlabel="time (ms)", ylabel="largest |eigenvalue| of one step")
    _moments(course, probe)
    for k, (name, values) in enumerate(exponents.items()):
        spectrum.plot(np.arange(1, len(values) + 1), values, ".-", ms=2, lw=0.6, color=f"C{k}", label=name)
    spectrum.axhline(0, color="0.7", lw=0.8)
    spectrum.set(
        xlabel="direction (sorted)", ylabel="Lyapunov exponent over the stretch (1/s)", ylim=(-250, None)
    )
    spectrum.legend(frameon=False, fontsize=7)
    return page
