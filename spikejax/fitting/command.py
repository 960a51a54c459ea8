"""``spikejax fit``."""

from contextlib import nullcontext
from pathlib import Path

from ..component import option
from ..configuration import FITS, describe, load_fit
from ..jobs.command import COMMANDS, AbstractCommand, Overrides, announce, listed_keys
from ..jobs.options import FigureOptions
from ..jobs.run import claimed, name_of


@COMMANDS.register("fit")
class Fit(FigureOptions, AbstractCommand):
    """Fit one model."""

    summary = "fit a model to recordings of a real neuron, and predict what was left out"
    example = "spikejax fit configs/patchclamp.toml --data.file FILE --model.kind adex"

    config: Path = option(doc="configuration file (TOML) of a fit, or the folder of one")
    out: Path | None = option(None, doc="folder of the run; default: a new folder runs/NAME")
    quiet: bool = option(False, doc="no progress bar, no line on the way")

    @classmethod
    def keys(cls) -> str:
        parts = (
            f'keys with kind = "{kind}", with [defaults]:\n{listed_keys(describe(schema))}'
            for kind, schema in FITS.items()
        )
        return "\n\n".join(parts)

    def execute(self, overrides: Overrides) -> None:
        # Here for start-up time: Matplotlib is slow to import.
        from .job import fit_run, show

        wanted = load_fit(self.config, overrides)
        own = claimed(name_of(self.config)) if self.out is None else nullcontext(self.out)
        with own as folder:
            announce(f"run folder: {folder}")
            announce(show(fit_run(wanted, folder, progress=not self.quiet, formats=self.format)))
            announce(f"figures and fit.json: {folder}")


__all__ = ["Fit"]
