"""``spikejax analyse``: what a trained network represents, by which neurons, and how stable it is."""

from collections.abc import Sequence
from pathlib import Path

from ..component import option
from ..configuration import Config, build_noise
from ..configuration.load import new_folder
from ..errors import ConfigError
from ..files import write_json
from ..progress import Progress
from ..simulators import ClockDriven
from .command import COMMANDS, AbstractCommand, Overrides, announce
from .options import FigureOptions
from .run import changed, trained

TRIALS = 240
"""Trials of the probe."""


def analyse_run(
    folder: Path,
    config: Config | None = None,
    *,
    progress: bool = True,
    formats: Sequence[str] = ("png",),
) -> list[Path]:
    """Analyse a run's trained network; writes ``analysis/*.png`` and ``analysis/analysis.json`` and returns
    their paths.

    **Arguments:** `config`: the run's own, with changes; `formats`: of the figures.
    """
    # Here for start-up time: SciPy and Matplotlib are slow to import.
    from ..plotting import save_figures
    from .report import PARTS, analyse

    run, network, config = trained(Path(folder), config)
    target = Path(folder) / "analysis"
    new_folder(target)
    simulator = run.simulator
    if not isinstance(simulator, ClockDriven):
        raise ConfigError(
            f"{folder}: analyse looks at time series, which the simulator {config.simulator.kind} does not "
            "give: use plot and landscape, or --simulator.kind clock_driven"
        )
    probe = run.task.probe(config.dt, TRIALS)
    with Progress(len(PARTS), shown=progress, unit="part") as bar:
        report = analyse(network, probe, run.loss, simulator, noise=build_noise(config), part=bar.part)
        with bar.part("drawing figures"):
            paths = save_figures(target, report.figures, formats)
    write_json(target / "analysis.json", report.numbers)
    return [target / "analysis.json", *paths]


@COMMANDS.register("analyse")
class Analyse(FigureOptions, AbstractCommand):
    """Analyse one run."""

    summary = "analyse a trained network: state space, decoding, rasters, ablation, stability"
    example = "spikejax analyse runs/delayed_xor"

    run: Path = option(doc="folder of the run")
    quiet: bool = option(False, doc="no progress bar, no line on the way")

    def execute(self, overrides: Overrides) -> None:
        config = changed(self.run, overrides)
        announce(*analyse_run(self.run, config, progress=not self.quiet, formats=self.format))


__all__ = ["Analyse", "analyse_run"]
