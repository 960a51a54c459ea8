"""Figures of a sweep: what was reached against the key that was swept."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .style import above, limits, log_axis, mark_outside, named_ticks, page

SCORES = {
    "accuracy": "accuracy (fraction)",
    "error": "error (1 = a readout of 0)",
    "loss": "loss (dimensionless)",
}
"""Columns of a table in the order in which they are preferred, with their names on an axis."""
LOGARITHMIC = ("gradient norm", "gradient noise")
"""Columns on a logarithmic axis, beside errors and losses."""

Keys = dict[str, Any]
"""The keys that a point of a sweep sets, with their values."""


class Panel(NamedTuple):
    """What one axis shows."""

    column: str
    """Name of the column of the table."""
    label: str


def sweep_figures(points: Sequence[Keys], rows: Sequence[dict[str, Any]]) -> dict[str, Callable[[], Figure]]:
    """Scores and gradients against the first key with several values, a line for each combination of the
    others; mean and range over seeds. Nothing if no key but the seed has several values.

    **Arguments:** `points`: the keys of every point; `rows`: its line of the table.
    """
    swept = _swept(points)
    if not swept:
        return {}
    # Numbers make the better axis.
    numeric = [key for key in swept if _numeric(points, key)]
    key = numeric[0] if numeric else swept[0]
    others = [k for k in swept if k != key]
    score = next(name for name in SCORES if f"hard {name}" in rows[0])
    scores = [
        Panel(f"smooth {score}", f"test {SCORES[score]},\nsmooth gate"),
        Panel(f"hard {score}", f"test {SCORES[score]},\nhard threshold"),
    ]
    gradients = [
        Panel("gradient norm", "norm of the gradient\n(loss per unit of weight)"),
        Panel("gradient noise", "variance over trials\n/ squared norm"),
        Panel("gradient agreement", "secant / gradient\n(1: the gradient is right)"),
    ]
    draw = partial(_draw, points, rows, key, others)
    return {"scores": partial(draw, scores, sharey=True), "gradients": partial(draw, gradients, sharey=False)}


def _swept(points: Sequence[Keys]) -> list[str]:
    """The keys with several values, without those that the name of a point stands for."""
    swept = [
        key
        for key in dict.fromkeys(k for p in points for k in p)
        if key != "seed" and len({str(p.get(key)) for p in points}) > 1
    ]
    if "name" not in swept:
        return swept
    names = {p.get("name") for p in points}

    def varies(key: str) -> bool:
        """Whether points of one name differ in the key."""
        return any(len({str(p.get(key)) for p in points if p.get("name") == name}) > 1 for name in names)

    return ["name", *(key for key in swept if key != "name" and varies(key))]


def _numeric(points: Sequence[Keys], key: str) -> bool:
    return all(isinstance(p.get(key), int | float) for p in points)


def _combination(point: Keys, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(point.get(key)) for key in keys)


def _draw(
    points: Sequence[Keys],
    rows: Sequence[dict[str, Any]],
    key: str,
    others: list[str],
    panels: list[Panel],
    *,
    sharey: bool,
) -> Figure:
    """A panel for every column: lines over the numbers of a key, or dots beside its words."""
    numeric = _numeric(points, key)
    at: list[Any] = [p.get(key) if numeric else str(p.get(key)) for p in points]
    values = sorted(set(at)) if numeric else list(dict.fromkeys(at))
    figure, axes = page(
        1,
        len(panels),
        3.6 * len(panels),
        3.2 if numeric else 0.9 + 0.2 * len(values),
        sharey=sharey or not numeric,
        sharex=sharey and not numeric,
    )
    combinations = list(dict.fromkeys(_combination(p, others) for p in points))
    columns = [np.array([row.get(panel.column, np.nan) for row in rows], float) for panel in panels]
    for ax, panel, column in zip(axes[0], panels, columns, strict=True):
        for number, combination in enumerate(combinations):
            chosen = [i for i, p in enumerate(points) if _combination(p, others) == combination]
            stats = [_spread(column[[i for i in chosen if at[i] == value]]) for value in values]
            label = ", ".join(combination) or None
            if numeric:
                _line(ax, values, stats, label)
            else:
                # Combinations stand a little above each other.
                offset = 0.25 * (number - (len(combinations) - 1) / 2) / max(len(combinations), 1)
                _dots(ax, np.arange(len(values)) + offset, stats, label)
        # An axis that panels share has to show what any of them shows.
        shown = np.concatenate(columns) if sharey else column
        _scale(ax, panel, shown, values if numeric else None)
        ax.set(**{"xlabel": key, "ylabel": panel.label} if numeric else {"xlabel": panel.label})
    if not numeric:
        axes[0, 0].set_yticks(np.arange(len(values)), values)
        axes[0, 0].set_ylabel(key)
        axes[0, 0].invert_yaxis()
    if others:
        above(figure, axes[0, 0], columns=3, title=", ".join(others))
    return figure


def _spread(found: np.ndarray) -> tuple[float, float, float]:
    """Mean, smallest and largest of the numbers that are finite; nan if there are none."""
    found = found[np.isfinite(found)]
    if not found.size:
        return np.nan, np.nan, np.nan
    return float(found.mean()), float(found.min()), float(found.max())


def _line(ax: Axes, x: list[float], stats, label: str | None) -> None:
    mean, low, high = np.array(stats).T
    line = ax.plot(x, mean, "o-", ms=3, label=label)[0]
    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.2, lw=0)


def _dots(ax: Axes, y: np.ndarray, stats, label: str | None) -> None:
    mean, low, high = np.array(stats).T
    line = ax.plot(mean, y, "o", ms=3, label=label)[0]
    ax.hlines(y, low, high, color=line.get_color(), lw=1)


def _scale(ax: Axes, panel: Panel, column: np.ndarray, values: list[float] | None) -> None:
    """Logarithmic axes where they show more. `values`: those of the key, if they are numbers."""
    axis = "x" if values is None else "y"
    small = "error" in panel.column or "loss" in panel.column or panel.column in LOGARITHMIC
    if not (small and log_axis(ax, axis, column, most=4 if axis == "x" else 5)):
        ax.set(**{f"{axis}lim": limits(column)})
        if values is not None:
            mark_outside(ax, column)
        else:
            ax.locator_params(axis="x", nbins=4)
    if values is None:
        return
    if min(values) > 0 and max(values) / min(values) >= 8:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
        named_ticks(ax, "x", values, [f"{v:g}" for v in values], 2.6)
    else:
        ax.locator_params(axis="x", nbins=6)


__all__ = ["sweep_figures"]
