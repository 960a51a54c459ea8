"""``spikejax sweep``."""

from pathlib import Path

from ...component import option
from ...errors import input_errors
from ..command import COMMANDS, AbstractProcessCommand, Overrides, announce
from ..options import FigureOptions, LogOptions
from .job import sweep_run
from .points import load_sweep


@COMMANDS.register("sweep")
class Sweep(FigureOptions, LogOptions, AbstractProcessCommand):
    """Train every point of one sweep."""

    summary = "train every point of a sweep ([sweep] table), those that are one program side by side"
    example = "spikejax sweep configs/sharpness_braille.toml --training.steps 100"

    config: Path = option(doc="configuration file (TOML) with a [sweep] table")
    out: Path | None = option(
        None, doc="folder of the sweep; default: runs/NAME; one that was interrupted goes on there"
    )
    quiet: bool = option(False, doc="no progress bar, no line on the way but warnings")

    def execute(self, overrides: Overrides) -> None:
        # First: reading a configuration makes arrays, after which no process can join others.
        with input_errors():
            self.join()
        loggers = self.loggers()
        points = load_sweep(self.config, overrides)
        folder = self.out or Path("runs") / self.config.stem
        announce(f"{len(points)} points in {folder}")
        rows = sweep_run(points, folder, progress=not self.quiet, formats=self.format, loggers=loggers)
        lost = sum(bool(row["lost"]) for row in rows)
        announce(f"{lost} of {len(rows)} were lost; table.csv and figures: {folder}")


__all__ = ["Sweep"]
