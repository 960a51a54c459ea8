"""Figures of a sweep: what was reached against the key that was swept."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from ..plotting import STYLE
from .points import Point

SCORES = {"accuracy": "accuracy", "error": "normalised squared error", "loss": "loss"}


def sweep_figures(folder: Path, points: list[Point], rows: list[dict[str, Any]]) -> list[Path]:
    """Scores and gradients against the first key with several values, a line for each combination of the
    others; mean and range over seeds."""
    swept = [
        key
        for key in dict.fromkeys(k for p in points for k in p.values)
        if key != "seed" and len({str(p.values.get(key)) for p in points}) > 1
    ]
    if "name" in swept:  # which stands for the keys that go with it
        names = dict.fromkeys(p.values.get("name") for p in points)
        whole = lambda key: all(
            len({str(p.values.get(key)) for p in points if p.values.get("name") == n}) == 1 for n in names
        )
        swept = ["name", *(key for key in swept if key != "name" and not whole(key))]
    if not swept:
        return []
    # Numbers make the better axis.
    numeric = [key for key in swept if all(isinstance(p.values.get(key), int | float) for p in points)]
    key = numeric[0] if numeric else swept[0]
    others = [k for k in swept if k != key]
    score = next(name for name in SCORES if f"hard {name}" in rows[0])
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        paths = []
        for name, panels in {
            "scores": [
                (f"smooth {score}", f"test {SCORES[score]},\nsmooth gate"),
                (f"hard {score}", f"test {SCORES[score]},\nhard threshold"),
            ],
            "gradients": [
                ("gradient norm", "norm of the gradient"),
                ("gradient noise", "variance over trials\n/ squared norm"),
                ("gradient agreement", "secant / gradient"),
            ],
        }.items():
            figure = _lines(points, rows, key, others, panels, sharey=name == "scores")
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1])
    return paths


def _lines(points, rows, key, others, panels, sharey) -> Figure:
    """A panel for every column: lines over the numbers of a key, or dots beside its words."""
    numeric = all(isinstance(p.values.get(key), int | float) for p in points)
    values = list(dict.fromkeys(p.values.get(key) if numeric else str(p.values.get(key)) for p in points))
    if numeric:
        values = sorted(values)
    combinations = list(dict.fromkeys(tuple(str(p.values.get(k)) for k in others) for p in points))
    height = 3.2 if numeric else 0.9 + 0.2 * len(values)
    figure = Figure(figsize=(3.6 * len(panels), height), layout="constrained")
    axes = figure.subplots(
        1, len(panels), squeeze=False, sharey=sharey or not numeric, sharex=sharey and not numeric
    )[0]
    at = np.array(values, float) if numeric else np.arange(len(values))
    for ax, (column, label) in zip(axes, panels, strict=True):
        for number, combination in enumerate(combinations):
            chosen = [
                i for i, p in enumerate(points) if tuple(str(p.values.get(k)) for k in others) == combination
            ]
            stats = []
            for value in values:
                same = [
                    i
                    for i in chosen
                    if (points[i].values.get(key) if numeric else str(points[i].values.get(key))) == value
                ]
                found = np.array([rows[i].get(column, np.nan) for i in same], float)
                found = found[np.isfinite(found)]
                stats.append((found.mean(), found.min(), found.max()) if found.size else (np.nan,) * 3)
            mean, low, high = np.array(stats).T
            name = ", ".join(combination) or None
            if numeric:
                line = ax.plot(at, mean, "o-", ms=3, label=name)[0]
                ax.fill_between(at, low, high, color=line.get_color(), alpha=0.2, lw=0)
            else:
                beside = at + 0.25 * (number - (len(combinations) - 1) / 2) / max(len(combinations), 1)
                line = ax.plot(mean, beside, "o", ms=3, label=name)[0]
                ax.hlines(beside, low, high, color=line.get_color(), lw=1)
        found = np.array([row.get(column, np.nan) for row in rows], float)
        if (
            "error" in column or "loss" in column or column in ("gradient norm", "gradient noise")
        ) and np.any(found[np.isfinite(found)] > 0):
            (ax.set_yscale if numeric else ax.set_xscale)("log")
        if numeric:
            ax.set(xlabel=key, ylabel=label)
            if min(values) > 0 and max(values) / min(values) >= 8:
                ax.set_xscale("log")
                ax.set_xticks(values, [f"{v:g}" for v in values], minor=False)
        else:
            ax.set(xlabel=label)
    if not numeric:
        axes[0].set_yticks(at, values)
        axes[0].set_ylabel(key)
        axes[0].invert_yaxis()
    if others:
        axes[0].legend(title=", ".join(others), fontsize="x-small", title_fontsize="x-small")
    return figure
