"""Figures of a search: how it went, which keys mattered, and what was reached against each."""

import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import optuna
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..plotting import STYLE
from .space import Plan, Range

COMPLETE = optuna.trial.TrialState.COMPLETE


def search_figures(folder: Path, study: "optuna.Study", plan: Plan, label: str) -> list[Path]:
    """``history.png``: the objective of each trial, the best so far, and the importance of the keys;
    ``slices.png``: the objective against each key."""
    folder.mkdir(parents=True, exist_ok=True)
    trials = [t for t in study.get_trials(deepcopy=False) if t.state is COMPLETE]
    with mpl.rc_context(STYLE):
        figures = {"history": _history(study, trials, label), "slices": _slices(trials, plan.space, label)}
        paths = []
        for name, figure in figures.items():
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1])
    return paths


def _history(study, trials, label: str) -> Figure:
    importance = _importance(study)
    figure = Figure(figsize=(7.6 if importance else 4.2, 3.2), layout="constrained")
    axes = figure.subplots(1, 2 if importance else 1, squeeze=False)[0]
    numbers, values = [t.number for t in trials], np.array([t.value for t in trials])
    best = np.maximum if study.direction is optuna.study.StudyDirection.MAXIMIZE else np.minimum
    axes[0].plot(numbers, values, "o", ms=4, alpha=0.7, label="trial")
    axes[0].step(numbers, best.accumulate(values), where="post", label="best so far")
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_xlabel("number of the trial")
    axes[0].set_ylabel(label)
    if (values > 0).all() and values.max() / values.min() > 30:
        axes[0].set_yscale("log")
    axes[0].legend(fontsize="small")
    if importance:
        names = list(importance)[::-1]
        axes[1].barh(names, [importance[name] for name in names])
        axes[1].set_xlabel("importance (PED-ANOVA, sum 1)")
        axes[1].set_xlim(0, 1)
    return figure


def _importance(study) -> dict[str, float]:
    """Of the keys for being among the best tenth of the trials; empty where too few came to an end to say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
            )
        except (ValueError, RuntimeError):
            return {}


def _slices(trials, space: dict[str, Range], label: str) -> Figure:
    columns = min(len(space), 3)
    rows = -(-len(space) // columns)
    figure = Figure(figsize=(3.2 * columns + 0.8, 2.9 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for ax in axes.flat[len(space) :]:
        ax.remove()
    numbers, values = [t.number for t in trials], [t.value for t in trials]
    for ax, (name, one) in zip(axes.flat, space.items(), strict=False):
        x = [t.params[name] for t in trials]
        if one.choices is not None:
            x = [str(value) for value in x]
        points = ax.scatter(x, values, c=numbers, s=14, cmap="viridis")
        if one.log:
            ax.set_xscale("log")
        ax.set_xlabel(name)
    for row in axes:
        row[0].set_ylabel(label)
    if min(values) > 0 and max(values) / min(values) > 30:
        axes[0, 0].set_yscale("log")
    figure.colorbar(points, ax=[ax for ax in axes.flat[: len(space)]], label="number of the trial")
    return figure
