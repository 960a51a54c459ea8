"""``spikejax plot``: the figures of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ..component import option
from ..configuration import Config, build_noise
from ..configuration.load import new_folder
from ..losses import CrossEntropy, Sum
from ..simulators import ClockDriven
from ..stimulus import as_array
from ..tasks import Trial
from ..tasks.base import first_trials
from ..training import make_evaluate, run_trial
from ..training.log import read_metrics
from .command import COMMANDS, AbstractCommand, Overrides, announce
from .options import FigureOptions
from .run import changed, trained


@eqx.filter_jit
def _simulated(network, trial, simulator):
    return run_trial(network, trial, simulator, save=("release", "v", "activation"))


def shown_target(kind: str, trial: Trial) -> np.ndarray | None:
    """The signal ``(time, out)`` that the readout of a trial should be, or the spikes that the last layer
    should have; None if its target is none of them.

    **Arguments:** `kind`: of the task's target (`AbstractTask.target`).
    """
    known: Any = getattr(trial.target, "signal", trial.target)
    if kind == "class" or not isinstance(known, jax.Array | np.ndarray) or known.ndim != 2:
        return None
    return np.asarray(known)


def plot_run(folder: Path, config: Config | None = None, *, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Draw the figures of a run into ``figures/``; returns their paths.

    **Arguments:** `config`: the run's own, with changes; `formats`: of the files.
    """
    # Here for start-up time: Matplotlib is slow to import.
    from ..plotting import save_figures
    from ..plotting.run import ShownTrial, run_figures

    folder = Path(folder)
    run, network, config = trained(folder, config)
    new_folder(folder / "figures")
    test, gate, labels = run.task.parts("test"), run.final_gate, run.task.labels
    trial = jax.tree.map(lambda x: x[0], first_trials(test, 1))
    simulator = ClockDriven(gate, config.dt)
    # What follows the end of a shorter trial is not shown.
    there = len(trial.stimulus) if trial.mask is None else max(int(np.asarray(trial.mask).sum()), 1)
    solution = _simulated(network, trial, simulator)
    readout, layers = jax.tree.map(lambda x: x[:there], (solution.readout, solution.layers))
    solution = solution._replace(readout=readout, layers=layers)
    result = make_evaluate(run.loss, noise=build_noise(config))(network, test, simulator)
    name = f"test trial 0 ({labels[int(trial.label)]})" if labels else "test trial 0"
    target, first = shown_target(run.task.target, trial), run.loss
    while isinstance(first, Sum):
        first = first.parts[0]
    shown = ShownTrial(
        name,
        np.asarray(as_array(trial.stimulus))[:there],
        solution,
        network,
        gate,
        config.dt,
        **{"wanted" if run.task.target == "spikes" else "target": None if target is None else target[:there]},
        windows=first.windows if isinstance(first, CrossEntropy) else 1,
        labels=labels,
        channel=run.task.channel_label,
    )
    metrics = read_metrics(folder / "metrics.jsonl")
    return save_figures(folder / "figures", run_figures(metrics, shown, result, labels), formats)


@COMMANDS.register("plot")
class Plot(FigureOptions, AbstractCommand):
    """Draw the figures of one run."""

    summary = "draw the figures of a run again"
    example = "spikejax plot runs/braille --format pdf png"

    run: Path = option(doc="folder of the run")

    def execute(self, overrides: Overrides) -> None:
        announce(*plot_run(self.run, changed(self.run, overrides), formats=self.format))


__all__ = ["Plot", "plot_run"]
