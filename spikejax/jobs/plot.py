"""``spikejax plot``: the figures of a run."""

from collections.abc import Sequence
from pathlib import Path

import equinox as eqx
import jax
import numpy as np

from ..component import option
from ..configuration import Config, build_noise
from ..configuration.load import new_folder
from ..simulators import ClockDriven
from ..tasks.base import first_trials
from ..training import make_evaluate, run_trial
from ..training.log import read_metrics
from .command import COMMANDS, AbstractCommand, Overrides, announce
from .options import FigureOptions
from .run import changed, trained


@eqx.filter_jit
def _simulated(network, trial, simulator):
    return run_trial(network, trial, simulator, save=("release", "v", "activation"))


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
    solution = _simulated(network, trial, simulator)
    result = make_evaluate(run.loss, noise=build_noise(config))(network, test, simulator)
    name = f"test trial 0 ({labels[int(trial.label)]})" if labels else "test trial 0"
    shown = ShownTrial(name, np.asarray(trial.stimulus), solution, network, gate, config.dt)
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
