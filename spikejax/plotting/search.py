"""Figures of a search: how it went, which keys mattered, and what was reached against each."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import beside, log_axis, named_ticks, page


class SearchedKey(NamedTuple):
    """A key of a search, as the trials that came to an end drew it."""

    name: str
    values: list[Any]
    log: bool = False
    """Drawn uniformly in the logarithm."""


class SearchResult(NamedTuple):
    """What a search found."""

    numbers: list[int]
    """Numbers of the trials that came to an end."""
    objective: Float[np.ndarray, " trials"]
    label: str
    """What the objective is."""
    maximised: bool
    keys: list[SearchedKey]
    importance: dict[str, float]
    """How much each key matters; empty if that cannot be said."""


def search_figures(found: SearchResult) -> dict[str, Callable[[], Figure]]:
    """What draws each figure, by name: ``history``, the objective of each trial, the best so far and the
    importance of the keys; ``slices``, the objective against each key."""
    return {"history": partial(_history, found), "slices": partial(_slices, found)}


def _history(found: SearchResult) -> Figure:
    importance, values = found.importance, found.objective
    figure, axes = page(1, 2 if importance else 1, 8.6 if importance else 4.6, 3.4)
    left = axes[0, 0]
    best = np.maximum if found.maximised else np.minimum
    left.plot(found.numbers, values, "o", ms=4, alpha=0.7, label="trial")
    left.step(found.numbers, best.accumulate(values), where="post", label="best so far")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set(xlabel="number of the trial", ylabel=_objective(found))
    if _spans_decades(values):
        log_axis(left, "y", values)
    beside(left)
    if importance:
        names = list(importance)[::-1]
        axes[0, 1].barh(names, [importance[name] for name in names])
        axes[0, 1].set(xlabel="importance (PED-ANOVA, of a sum of 1)", xlim=(0, 1))
    return figure


def _slices(found: SearchResult) -> Figure:
    columns = min(len(found.keys), 3)
    rows = -(-len(found.keys) // columns)
    figure, axes = page(rows, columns, 3.2 * columns + 0.8, 2.9 * rows, sharey=True)
    used, unused = axes.flat[: len(found.keys)], axes.flat[len(found.keys) :]
    for ax in unused:
        ax.remove()
    points = None
    for ax, key in zip(used, found.keys, strict=True):
        names = sorted(map(str, set(key.values)))
        at = [names.index(x) if isinstance(x, str) else x for x in key.values]
        points = ax.scatter(at, found.objective, c=found.numbers, s=14, cmap="viridis")
        if key.log:
            log_axis(ax, "x", key.values, most=4)
        elif key.values and isinstance(key.values[0], str):
            names = sorted(set(key.values))
            named_ticks(ax, "x", np.arange(len(names)), names, 2.2)
        else:
            ax.locator_params(axis="x", nbins=4)
        ax.set_xlabel(key.name)
    for row in axes:
        row[0].set_ylabel(_objective(found))
    if _spans_decades(found.objective):
        log_axis(axes[0, 0], "y", found.objective)
    if points is not None:
        ticks = MaxNLocator(5, integer=True)
        figure.colorbar(points, ax=list(used), label="number of the trial", ticks=ticks)
    return figure


def _objective(found: SearchResult) -> str:
    return f"{found.label}\n({'higher' if found.maximised else 'lower'} is better)"


def _spans_decades(values: np.ndarray) -> bool:
    """Whether a logarithmic axis shows more."""
    return bool(values.min() > 0 and values.max() / values.min() > 30)


__all__ = ["SearchResult", "SearchedKey", "search_figures"]
