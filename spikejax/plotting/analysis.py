"""A figure for each analysis of a trained network."""

import numpy as np
from jaxtyping import Complex, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..analysis import Ablation, Components, Recording
from ..tasks.base import Probe
from .style import page

COLOURS = ("C0", "0.5", "C3", "C2", "C4", "C1")


def _colour(value: int, names: tuple[str, ...]) -> str:
    return COLOURS[value % len(COLOURS)] if len(names) <= len(COLOURS) else f"C{value % 10}"


def _moments(ax: Axes, probe: Probe) -> None:
    """Mark the moments of a trial, with their names."""
    style = {"xycoords": ("data", "axes fraction"), "rotation": 90, "fontsize": 6, "ha": "right", "va": "top"}
    for name, at in probe.moments.items():
        ax.axvline(at, color="k", lw=0.6, ls=":")
        ax.annotate(name, (at, 1.0), **style)


def trajectories(found: Components, recording: Recording, probe: Probe) -> Figure:
    """Every trial's way through the plane of the first two components, coloured by each property; and the
    components over time."""
    properties = list(probe.groups) or [None]
    figure, axes = page(2, len(properties), 4.2 * len(properties), 7.0)
    share = [f"{100 * x:.0f} %" for x in found.explained[:3]]
    for (plane, course), name in zip(axes.T, properties, strict=True):
        value = np.zeros(len(recording.v), int) if name is None else probe.groups[name]
        names = ("trials",) if name is None else probe.names[name]
        for g in np.unique(value):
            colour, these = _colour(int(g), names), np.flatnonzero(value == g)
            for trial in these[:12]:
                _path(plane, found, recording, probe, int(trial), colour)
            mean = found.trajectories[these].mean(axis=0)
            for k in range(min(3, mean.shape[1])):
                label = names[g] if k == 0 else None
                style = ("-", "--", ":")[k]
                course.plot(recording.time, mean[:, k], color=colour, ls=style, lw=1.0, label=label)
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
        ax.set(ylabel=f"{name}\ndecoded (fraction)", ylim=(0, 1.03))
        _moments(ax, probe)
    axes[0, 0].legend(frameon=False, fontsize=7, loc="lower right")
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
    figure, axes = page(2, len(matrices), 4.4 * len(matrices), 7.0, height_ratios=(1.6, 1))
    for (ax, bars), (window, matrix) in zip(axes.T, matrices.items(), strict=True):
        name = probe.windows[window][2]
        order = np.lexsort((np.arange(len(matrix)), probe.groups[name]))
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
        figure.colorbar(image, ax=ax, label="correlation of rasters", shrink=0.8)
        names, x = list(scores[window]), np.arange(len(scores[window]))
        bars.bar(x - 0.2, [scores[window][n][0] for n in names], 0.4, color="C0", label="same")
        bars.bar(x + 0.2, [scores[window][n][1] for n in names], 0.4, color="0.7", label="different")
        bars.axhline(0, color="k", lw=0.6)
        bars.set_xticks(x, names)
        bars.set(ylabel="mean correlation of rasters", xlabel="property of the two trials")
        bars.legend(frameon=False, fontsize=7)
    return figure


def ablation(neurons: Ablation, synapses: Ablation | None) -> Figure:
    """Effect of removing single neurons, and single synapses beside what the gradient predicts."""
    figure, axes = page(1, 2 if synapses else 1, 9.0 if synapses else 5.0, 3.4)
    _removed_neurons(axes[0, 0], neurons)
    if synapses is not None:
        _removed_synapses(axes[0, 1], synapses)
    return figure


def _removed_neurons(ax: Axes, found: Ablation) -> None:
    order = np.argsort(-found.loss)
    ax.bar(np.arange(len(order)), found.loss[order] - found.whole[0], color="C0")
    ax.axhline(0, color="k", lw=0.6)
    ax.set(xlabel="neuron removed (sorted)", ylabel="change of the loss (dimensionless)")
    if np.isfinite(found.whole[1]):
        twin = ax.twinx()
        twin.plot(np.arange(len(order)), found.accuracy[order], ".", color="C3", ms=4)
        twin.axhline(found.whole[1], color="C3", lw=0.6, ls="--")
        twin.set_ylim(0, 1.03)
        twin.set_ylabel("accuracy without it (dashed: intact)", color="C3")
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
        xlabel="change of the loss by the gradient, -w dL/dw", ylabel="change of the loss without the synapse"
    )
    if np.ptp(predicted) > 10 * np.ptp(found.loss):
        ax.set_xscale("symlog", linthresh=0.1)  # the gradient of an unstable trajectory
        largest = 1.1 * np.abs(change).max()
        ax.set_ylim(-largest, largest)
    ax.legend(frameon=False, fontsize=7)


def stability(
    eigenvalues: dict[str, Complex[np.ndarray, " state"]],
    exponents: dict[str, Float[np.ndarray, " state"]],
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
    for k, (name, values) in enumerate(eigenvalues.items()):
        plane.plot(np.real(values), np.imag(values), ".", ms=3, color=f"C{k}", label=name)
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
    return figure


__all__ = ["ablation", "decoding", "similarity", "stability", "trajectories"]
