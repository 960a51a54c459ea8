"""``spikejax plot``: the figures of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ..component import option
from ..configuration import Config, Run, build_noise
from ..configuration.load import new_folder
from ..losses import CrossEntropy, Sum
from ..network import Network
from ..simulators import ClockDriven
from ..spike_times import SpikeTimes
from ..stimulus import as_array
from ..tasks import Trial
from ..tasks.base import first_trials
from ..training import make_evaluate, run_trial
from ..training.log import read_metrics
from .command import COMMANDS, AbstractCommand, Overrides, announce
from .options import FigureOptions
from .run import changed, trained


@eqx.filter_jit
def _simulated(network, trial, simulator, save):
    return run_trial(network, trial, simulator, save=save)


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
    from ..plotting.events import ShownSpikes
    from ..plotting.run import run_figures

    folder = Path(folder)
    run, network, config = trained(folder, config)
    new_folder(folder / "figures")
    test, simulator, labels = run.task.parts("test"), run.simulator, run.task.labels
    trial = jax.tree.map(lambda x: x[0], first_trials(test, 1))
    name = (
        f"test trial 0 ({labels[int(trial.label)]})" if labels and trial.label is not None else "test trial 0"
    )
    result = make_evaluate(run.loss, noise=build_noise(config))(network, test, simulator)
    if isinstance(simulator, ClockDriven):
        shown = _in_steps(run, network, trial, simulator, name)
    else:
        shown = ShownSpikes(
            name,
            trial.stimulus
            if isinstance(trial.stimulus, SpikeTimes)
            else np.asarray(as_array(trial.stimulus)),
            _simulated(network, trial, simulator, ()),
            config.dt,
            channel=run.task.channel_label,
            labels=labels,
        )
    metrics = read_metrics(folder / "metrics.jsonl")
    return save_figures(folder / "figures", run_figures(metrics, shown, result, labels), formats)


def _in_steps(run: Run, network: Network, trial: Trial, simulator: ClockDriven, name: str) -> Any:
    """A trial, simulated, to be shown; what follows its end, where it is a shorter one, is not."""
    from ..plotting.run import ShownTrial

    dt = simulator.dt
    given = trial.stimulus.in_steps(dt) if isinstance(trial.stimulus, SpikeTimes) else trial.stimulus
    there = len(given) if trial.mask is None else max(int(np.asarray(trial.mask).sum()), 1)
    solution = _simulated(network, trial, simulator, ("release", "v", "activation"))
    readout, layers = jax.tree.map(lambda x: x[:there], (solution.readout, solution.layers))
    solution = solution._replace(readout=readout, layers=layers)
    target, first = shown_target(run.task.target, trial), run.loss
    while isinstance(first, Sum):
        first = first.parts[0]
    return ShownTrial(
        name,
        np.asarray(as_array(given))[:there],
        solution,
        network,
        simulator.gate,
        dt,
        **{"wanted" if run.task.target == "spikes" else "target": None if target is None else target[:there]},
        windows=first.windows if isinstance(first, CrossEntropy) else 1,
        labels=run.task.labels,
        channel=run.task.channel_label,
    )


@COMMANDS.register("plot")
class Plot(FigureOptions, AbstractCommand):
    """Draw the figures of one run."""

    summary = "draw the figures of a run again"
    example = "spikejax plot runs/braille --format pdf png"

    run: Path = option(doc="folder of the run")

    def execute(self, overrides: Overrides) -> None:
        announce(*plot_run(self.run, changed(self.run, overrides), formats=self.format))


__all__ = ["Plot", "plot_run"]
