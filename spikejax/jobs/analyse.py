"""``spikejax analyse``: what a trained network represents, by which neurons, and how stable it is."""

from pathlib import Path

from ..component import option
from ..configuration import Config, build_noise
from ..configuration.load import new_folder
from ..files import write_json
from ..simulators import ClockDriven
from .command import COMMANDS, AbstractCommand, Overrides, announce
from .run import changed, trained

TRIALS = 240
"""Trials of the probe."""


def analyse_run(folder: Path, config: Config | None = None) -> list[Path]:
    """Analyse a run's trained network; writes ``analysis/*.png`` and ``analysis/analysis.json`` and returns
    their paths.

    **Arguments:** `config`: the run's own, with changes.
    """
    # Here for start-up time: SciPy and Matplotlib are slow to import.
    from ..plotting import save_figures
    from .report import analyse

    run, network, config = trained(Path(folder), config)
    target = Path(folder) / "analysis"
    new_folder(target)
    probe, simulator = run.task.probe(config.dt, TRIALS), ClockDriven(run.final_gate, config.dt)
    report = analyse(network, probe, run.loss, simulator, noise=build_noise(config))
    paths = save_figures(target, report.figures)
    write_json(target / "analysis.json", report.numbers)
    return [target / "analysis.json", *paths]


@COMMANDS.register("analyse")
class Analyse(AbstractCommand):
    """Analyse one run."""

    summary = "analyse a trained network: state space, decoding, rasters, ablation, stability"
    example = "spikejax analyse runs/delayed_xor"

    run: Path = option(doc="folder of the run")

    def execute(self, overrides: Overrides) -> None:
        announce(*analyse_run(self.run, changed(self.run, overrides)))


__all__ = ["Analyse", "analyse_run"]
