"""``spikejax search``."""

from pathlib import Path

from ...component import option
from ...errors import check_extra
from ..command import COMMANDS, AbstractCommand, Overrides, announce
from ..options import FigureOptions, LogOptions
from .space import load_search


@COMMANDS.register("search")
class Search(FigureOptions, LogOptions, AbstractCommand):
    """Be one worker of a search."""

    summary = (
        "search for the best configuration ([search] table), in as many workers as this command is started"
    )
    example = "spikejax search my_search.toml --search.trials 50"

    config: Path = option(doc="configuration file (TOML) with a [search] table")
    out: Path | None = option(
        None, doc="folder of the search; default: runs/NAME; the same for all workers of one machine"
    )
    quiet: bool = option(False, doc="no progress bar, no line for each trial")

    def execute(self, overrides: Overrides) -> None:
        check_extra("optuna", "search", "spikejax search")
        # Here since Optuna, which it needs, is an extra.
        from .job import search_run
        from .study import FOLDER

        loggers = self.loggers()
        plan = load_search(self.config, overrides)
        folder = self.out or Path("runs") / self.config.stem
        announce(f"{plan.search.trials} trials in {folder}")
        best = search_run(
            plan, folder, progress=not self.quiet, formats=self.format, loggers=loggers
        ).best_trial
        announce(
            f"best: {folder / best.user_attrs[FOLDER]} with {best.value:.6g} (held-out); "
            f"table.csv and figures: {folder}"
        )


__all__ = ["Search"]
