"""``spikejax train``: from a configuration to a trained network, its results and its figures."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..component import option
from ..configuration import Config, batch_key, build, initial_state, load
from ..errors import ConfigError, input_errors
from ..files import write_json
from ..progress import Progress
from ..training import distributed, train
from ..training.log import MakeLogger
from .command import COMMANDS, AbstractProcessCommand, Overrides, announce
from .evaluate import evaluate_network, shown_results
from .memory import check_batch_memory, check_network_memory
from .options import FigureOptions, LogOptions
from .plot import plot_run
from .run import (
    check_inside,
    check_same,
    claimed,
    clock,
    locked,
    name_of,
    newest_folder,
    prepare,
    read_summary,
    tidy,
)


def train_run(
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    devices: int | None = None,
    report: Callable[[int, float], None] | None = None,
    figures: bool = True,
    formats: Sequence[str] = ("png",),
    loggers: Sequence[MakeLogger] = (),
    wait: float = 0.0,
) -> dict[str, Any]:
    """Train, evaluate on the test split, draw the figures; returns the summary.

    With several processes (`spikejax.training.distributed`) each of them makes the same call, and process 0
    alone reads and writes `folder`.

    **Arguments:** `devices`: number of devices of this process that every batch is cut over (0: all; default:
    one); `report`, `loggers`: see `spikejax.training.train`; `figures`: whether they are drawn, in these
    `formats` (see `spikejax.plotting.save_figures`); `wait`: seconds for which another process that trains
    into the folder is waited for.

    **Raises:** `ConfigError`, before anything is computed, if the folder cannot be written, is being written
    to (`FolderInUse`), holds another run, or (with `resume`) a run of another configuration, and if the
    network cannot fit into memory; `spikejax.training.TrainingStopped` if training
    stops early.
    """
    folder = Path(folder)
    with locked(folder, wait):
        distributed.call(lambda: _check_folder(config, folder, resume))
        options = {"resume": resume, "progress": progress, "report": report, "loggers": loggers}
        return _train(config, folder, devices, tuple(formats) if figures else (), **options)


def _train(
    config: Config,
    folder: Path,
    devices: int | None,
    formats: tuple[str, ...],
    *,
    resume: bool,
    progress: bool,
    **options: Any,
) -> dict[str, Any]:
    """As `train_run`. `formats`: none for no figures; `options`: of `spikejax.training.train`."""
    with input_errors():
        mesh = distributed.mesh(devices)
    check_network_memory(config)
    run = build(config, mesh)
    check_batch_memory(config, run)
    distributed.call(lambda: prepare(folder, config))
    with clock(folder / "minutes.json") as minutes:
        # A checkpoint replaces it: then it need not be solved for.
        saved = distributed.call(lambda: resume and (folder / "last.ckpt").exists())
        state = run.state if saved else initial_state(config, run)
        options |= {"resume": resume, "progress": progress}
        state, network = train(run.plan, state, run.fixed, folder, key=batch_key(config), **options)
    facts = {"training_minutes": round(minutes(), 2), "steps": int(state.step), "seed": config.seed}

    def finish() -> dict[str, Any]:
        with Progress(2 if formats else 1, shown=progress, unit="part", stays=False) as bar:
            with bar.part("evaluating on the test split"):
                summary = evaluate_network(run, network, config) | facts
                write_json(folder / "summary.json", summary)
            if formats:
                with bar.part("drawing figures"):
                    plot_run(folder, formats=formats)
        return summary

    return distributed.call(finish)


def _check_folder(config: Config, folder: Path, resume: bool) -> None:
    check_inside(folder)
    if (folder / "config.toml").exists():
        if not resume:
            raise ConfigError(
                f"{folder} already holds a run: continue it with --resume, "
                "or choose another folder with --out"
            )
        check_same(config, load(folder), folder)
    elif resume:
        raise ConfigError(f"there is no run to resume in {folder}")


def finished_run(config: Config, folder: Path, **options) -> dict[str, Any]:
    """The summary of the run of `config` in `folder`, which is trained first if it is not there, and goes on
    if it was interrupted.

    **Arguments:** `options`: those of `train_run` but `resume`.

    **Raises:** as `train_run`; also for a finished run of another configuration.
    """
    folder = Path(folder)

    def there() -> tuple[bool, dict[str, Any] | None]:
        summary = read_summary(folder)
        if summary is None:
            return (folder / "config.toml").exists(), None
        check_same(config, load(folder), folder)
        tidy(folder)
        return True, summary

    begun, summary = distributed.call(there)
    return train_run(config, folder, resume=begun, **options) if summary is None else summary


@COMMANDS.register("train")
class Train(FigureOptions, LogOptions, AbstractProcessCommand):
    """Train one network."""

    summary = "train a network from a configuration file, then evaluate it and draw figures"
    example = "spikejax train configs/braille.toml --seed 1 --gate.release surrogate"
    after_interrupt = "; --resume continues from the last checkpoint, if there is one"

    config: Path = option(doc="configuration file (TOML), or the folder of a run with one")
    out: Path | None = option(None, doc="folder of the run; default: a new folder runs/NAME")
    resume: bool = option(False, doc="continue the run in --out, or the newest of runs/NAME, bit for bit")
    quiet: bool = option(False, doc="no progress bar, no line on the way but warnings")
    devices: str | None = option(None, doc="cut every batch over so many devices of this machine, or all [1]")

    def __check_init__(self):
        text = self.devices
        if text not in (None, "all") and not (text.isdigit() and int(text) > 0):
            raise ValueError(f"--devices is {text!r}, which is not a number of devices, or all")

    def execute(self, overrides: Overrides) -> None:
        # First: reading a configuration makes arrays, after which no process can join others.
        with input_errors():
            self.join()
        config, name = load(self.config, overrides), name_of(self.config)
        self.loggers()  # what is not installed is said before anything is made
        with self._folder(name) as folder:
            self._train(config, folder)

    def _folder(self, name: str) -> contextlib.AbstractContextManager[Path]:
        if self.out is None and not self.resume:
            return claimed(name)
        return contextlib.nullcontext(self.out or distributed.call(lambda: newest_folder(name)))

    def _train(self, config: Config, folder: Path) -> None:
        announce(f"run folder: {folder}")
        devices = 0 if self.devices == "all" else None if self.devices is None else int(self.devices)
        summary = train_run(
            config,
            folder,
            resume=self.resume,
            progress=not self.quiet,
            devices=devices,
            formats=self.format,
            loggers=self.loggers(),
        )
        announce(shown_results(summary))
        announce(f"figures and summary.json: {folder}")


__all__ = ["Train", "finished_run", "train_run"]
