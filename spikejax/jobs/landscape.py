"""``spikejax landscape``: the loss around a trained network and around its initialisation."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np

from ..adjoints import Costate
from ..component import option
from ..configuration import Config, build_damping, build_noise, build_simulator, initial_state
from ..configuration.load import new_folder
from ..errors import input_errors
from ..files import write_atomically, write_table
from ..landscape.report import (
    LandscapeOptions,
    compared_simulators,
    curves,
    landscape_parts,
    landscapes,
    table,
)
from ..progress import Progress
from ..tasks.base import first_trials
from .command import COMMANDS, AbstractCommand, Overrides, announce
from .options import FigureOptions
from .run import changed, last_stage, trained


def landscape_run(
    folder: Path,
    options: LandscapeOptions | None = None,
    config: Config | None = None,
    *,
    progress: bool = True,
    formats: Sequence[str] = ("png",),
) -> list[Path]:
    """Landscapes around a run's trained network and around its initialisation; returns the paths of what it
    writes into ``landscape/``: figures, ``landscape.csv`` (the numbers of a line in each row) and
    ``landscape.npz`` (the curves).

    **Arguments:** `config`: the run's own, with changes; `formats`: of the figures.

    **Raises:** `ConfigError` for options that make no landscape of this run.
    """
    # Here for start-up time: Matplotlib is slow to import.
    from ..plotting import save_figures
    from ..plotting.landscape import landscape_figures

    options = LandscapeOptions() if options is None else options
    run, network, config = trained(folder, config)
    target = Path(folder) / "landscape"
    new_folder(target)
    networks = {"trained": network, "initial": eqx.combine(initial_state(config, run).params, run.fixed)}
    adjoint = Costate(**build_damping(last_stage(config)))
    final = build_simulator(last_stage(config), gate=run.final_gate, adjoint=adjoint)
    with input_errors():
        trials = first_trials(run.task.parts(options.split), options.trials)
        count = len(trials.stimulus)
        if options.trial >= count:
            raise ValueError(
                f"`trial` is {options.trial}, but the {options.split} split has {count} trials, from 0 on"
            )
        simulators = compared_simulators(final, options)
        for simulator in simulators.values():
            simulator.check(run.network)
        total = landscape_parts(len(networks), count, len(simulators), options)
        with Progress(total, shown=progress, unit="part") as bar:
            begun = itertools.count()

            def report(what: str) -> None:
                bar.advance(min(next(begun), 1))
                bar.phase(what)

            found = landscapes(
                networks, trials, run.loss, final, options, noise=build_noise(config), report=report
            )
            bar.advance()
    rows = [
        {k: v if isinstance(v, str | int) else f"{v:.4g}" for k, v in row.items()}
        for row in table(found.slices)
    ]
    write_table(target / "landscape.csv", rows)
    arrays: dict[str, Any] = curves(found)
    write_atomically(target / "landscape.npz", lambda file: np.savez_compressed(file, **arrays))
    return [
        target / "landscape.csv",
        target / "landscape.npz",
        *save_figures(target, landscape_figures(found), formats),
    ]


@COMMANDS.register("landscape")
class Landscape(LandscapeOptions, FigureOptions, AbstractCommand):
    """Draw the landscapes of one run."""

    summary = "draw the loss around a trained network and around its initialisation, and what gradients say"
    example = "spikejax landscape runs/braille --directions random --sharpness 2.5 10 --no-plane"

    run: Path = option(doc="folder of the run")
    quiet: bool = option(False, doc="no progress bar, no line on the way")

    def execute(self, overrides: Overrides) -> None:
        config = changed(self.run, overrides)
        announce(*landscape_run(self.run, self, config, progress=not self.quiet, formats=self.format))


__all__ = ["Landscape", "landscape_run"]
