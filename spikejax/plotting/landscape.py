"""Figures of landscapes."""

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ..landscape import Landscapes, Plane, Slice, SliceKey
from .style import page

AXES = {
    "random": "change, random direction\n(relative to the norm)",
    "gradient": "change down the gradient\n(relative to the norm)",
}
GRADIENT, LOSS = "C3", "0.25"
"""Colours."""


def landscape_figures(found: Landscapes) -> dict[str, Callable[[], Figure]]:
    """What draws each figure of some landscapes, by name."""
    figures: dict[str, Callable[[], Figure]] = {"scales": partial(scales, found.slices)}
    for network, direction in dict.fromkeys((key.network, key.direction) for key in found.slices):
        figures[f"{network}-{direction}"] = partial(lines, found.slices, network, direction)
    if found.planes:
        figures["plane"] = partial(planes, found.planes)
    return figures


def _label(name: str) -> str:
    return AXES.get(name, f"change, {name} direction\n(relative to the norm)")


def _symlog(axes, linear: float) -> None:
    """A scale of slopes that shows an exploding gradient beside those of the loss, which are about as large
    as `linear`."""
    first = np.ceil(np.log10(linear)) if linear > 0 else 0.0
    for ax in axes:
        ax.set_yscale("symlog", linthresh=10**first)
    largest = np.log10(max(np.abs(ax.get_ylim()).max() for ax in axes))
    decades = 10 ** np.arange(first, max(largest, first) + 1, max(np.ceil((largest - first) / 3), 1))
    if largest - first > 8:  # too close to 0 to be labelled
        decades = decades[1:]
    for ax in axes:
        ax.set_yticks([*-decades[::-1], 0.0, *decades])
        ax.minorticks_off()


def lines(slices: dict[SliceKey, Slice], network: str, direction: str) -> Figure:
    """The loss along a line for every gate, over all trials and for one; beneath each the gradient's slope
    and the loss's own."""
    these = [key for key in slices if (key.network, key.direction) == (network, direction)]
    sets, gates = (
        list(dict.fromkeys(key.trials for key in these)),
        list(dict.fromkeys(key.gate for key in these)),
    )
    figure, axes = page(
        2 * len(sets),
        len(gates),
        2.3 * len(gates) + 0.9,
        3.4 * len(sets) + 0.4,
        sharex=True,
        sharey="row",
    )
    for row, which in enumerate(sets):
        found = [slices[SliceKey(network, direction, which, gate)].line for gate in gates]
        for top, bottom, line in zip(axes[2 * row], axes[2 * row + 1], found, strict=True):
            top.plot(line.position, line.loss, ".-", ms=2, lw=0.8, color=LOSS)
            label = "loss, between neighbouring points"
            bottom.plot(line.position, line.secant, color=LOSS, lw=0.8, label=label)
            bottom.plot(line.position, line.slope, ".", ms=3, color=GRADIENT, label="gradient of the gate")
            bottom.axhline(0, color="0.8", lw=0.6, zorder=0)
        secant = np.concatenate([line.secant for line in found])
        _symlog(axes[2 * row + 1], float(np.median(np.abs(secant))))
        axes[2 * row, 0].set(ylabel=f"loss (dimensionless)\n{which}")
        axes[2 * row + 1, 0].set(ylabel=f"slope of the loss\n(per relative change)\n{which}")
    for ax, gate in zip(axes[0], gates, strict=True):
        ax.set_title(gate.replace(", ", ",\n", 1), fontsize=8)
    for ax in axes[-1]:
        ax.set_xlabel(_label(direction), fontsize=8)
    handles, labels = axes[1, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=2, frameon=False, title=f"{network} network"
    )
    return figure


def scales(slices: dict[SliceKey, Slice]) -> Figure:
    """Secants through the network against their span: the exact gradient is their limit, and what they go to
    is what a step feels."""
    gates = list(dict.fromkeys(key.gate for key in slices))
    places = list(dict.fromkeys((key.network, key.direction) for key in slices))
    sets = list(dict.fromkeys(key.trials for key in slices))
    figure, axes = page(len(sets), len(places), 3.0 * len(places) + 0.5, 2.6 * len(sets) + 0.6, sharex=True)
    for row, which in enumerate(sets):
        for ax, place in zip(axes[row], places, strict=True):
            _secants(ax, {gate: slices[SliceKey(*place, which, gate)] for gate in gates})
            if row == 0:
                ax.set_title(f"{place[0]}, {place[1]} direction", fontsize=9)
        axes[row, 0].set(ylabel=f"slope of the loss\n(per relative change)\n{which}")
    for ax in axes[-1]:
        ax.set(xlabel="half of the secant's span\n(relative change)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=min(len(gates), 3),
        frameon=False,
        fontsize=7,
        title="secants through the network (dashed: what the gradient says)",
    )
    return figure


def _secants(ax: Axes, slices: dict[str, Slice]) -> None:
    """The secants of every gate; of gates that share a loss, once."""
    gates = list(slices)
    for k, (gate, one) in enumerate(slices.items()):
        same = [other for other in gates[:k] if np.array_equal(slices[other].secants, one.secants)]
        x, y = ([], []) if same else (one.spans, one.secants)
        label = gate + (f" (loss of: {same[0]})" if same else "")
        ax.plot(x, y, ".-", ms=3, lw=0.8, color=f"C{k}", label=label)
        ax.axhline(one.slope, color=f"C{k}", ls="--", lw=0.8)
    ax.set_xscale("log")
    _symlog([ax], max(abs(one.secants[-1]) for one in slices.values()))


def planes(found: dict[tuple[str, str], Plane]) -> Figure:
    """Contours of the loss on a plane, in equal steps of its logarithm where it is positive."""
    networks, gates = (list(dict.fromkeys(key[i] for key in found)) for i in (0, 1))
    figure, axes = page(len(networks), len(gates), 4.4 * len(gates), 3.7 * len(networks))
    for row, network in enumerate(networks):
        values = np.stack([found[network, gate].loss for gate in gates])
        low, high = np.min(values), np.max(values)
        logarithmic = low > 0
        levels = (np.geomspace if logarithmic else np.linspace)(low, high if high > low else low + 1, 19)
        norm = LogNorm(low, levels[-1]) if logarithmic else None
        for column, gate in enumerate(gates):
            ax, plane = axes[row, column], found[network, gate]
            filled = ax.contourf(plane.x, plane.y, plane.loss, levels, norm=norm, cmap="viridis_r")
            ax.contour(plane.x, plane.y, plane.loss, levels, colors="k", linewidths=0.3)
            ax.plot(0, 0, "+", color="C3", ms=9, mew=1.5)
            ax.set(xlabel=_label(plane.names[0]), ylabel=_label(plane.names[1]), title=f"{network}, {gate}")
            bar = figure.colorbar(filled, ax=ax, label="loss (dimensionless)", format="%.3g")
            bar.set_ticks(levels[::3])
    return figure


__all__ = ["landscape_figures", "lines", "planes", "scales"]
