"""Running a sweep: points side by side, one run folder each, a table and figures of all.

```
SWEEP/points/NAME/   a run folder for each point: `spikejax evaluate` and `plot` work on it
SWEEP/group-0.ckpt   the state of points that are trained together, until they are finished
SWEEP/table.csv      a line for each point
SWEEP/figures/*.png
```
"""

import contextlib
import functools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from ...analysis.gradients import gradient_report
from ...configuration import Config, Run, alone, build, build_loss, build_noise, build_simulator, load
from ...errors import ConfigError, said_by_program
from ...files import write_json, write_table
from ...losses import AbstractLoss
from ...network import Network
from ...noise import Noise
from ...progress import Progress
from ...tasks.base import first_trials
from ...training import Interrupted, TrainingStopped, distributed
from ...training.log import MakeLogger
from ..evaluate import evaluate_network
from ..run import check_inside, check_same, clock, last_stage, locked, prepare, read_summary, tidy, trained
from ..train import finished_run
from .points import Point
from .together import groups, train_together

TRIALS = 64
"""Held-out trials on which the gradients of trained networks are compared."""


def sweep_run(
    points: list[Point],
    folder: Path,
    *,
    progress: bool = True,
    formats: Sequence[str] = ("png",),
    loggers: Sequence[MakeLogger] = (),
) -> list[dict[str, Any]]:
    """Train every point that is not finished in `folder`, then write the table and the figures; returns the
    table's rows.

    With several processes (`spikejax.training.distributed`) each of them makes the same call, and process 0
    alone reads and writes `folder`.

    **Arguments:** `formats`: of the figures; `loggers`: of each point, see `spikejax.training.train`.

    **Raises:** `ConfigError` if the folder holds another sweep; `TrainingStopped` on Ctrl-C, after which the
    same call goes on.
    """
    folder = Path(folder)
    places = {p.name: folder / "points" / p.name for p in points}

    def check() -> None:
        check_inside(folder)
        for point in points:
            if (places[point.name] / "config.toml").exists():
                check_same(point.config, load(places[point.name]), places[point.name])

    def begin(group: list[Point]) -> bool:
        """Whether there is something left to train."""
        if all(_finished(places[p.name]) for p in group):
            for point in group:
                tidy(places[point.name])
            return False
        for point in group:
            prepare(places[point.name], point.config)
        return True

    def end() -> list[dict[str, Any]]:
        rows = [_row(p, places[p.name]) for p in points]
        write_table(folder / "table.csv", rows)
        _draw(folder / "figures", points, rows, formats)
        return rows

    def show(line: str) -> None:
        if progress and distributed.leads():
            print(line, flush=True)

    with locked(folder):
        distributed.call(check)
        for number, group in enumerate(groups(points)):
            state = folder / f"group-{number}.ckpt"
            if distributed.call(partial(begin, group)):
                if alone(group[0].config):
                    for point in group:
                        show(f"point {points.index(point) + 1} of {len(points)}: {point.name}")
                        _train_alone(point, places[point.name], progress, formats, loggers)
                else:
                    show(f"{len(group)} of {len(points)} points side by side")
                    _train_group(group, [places[p.name] for p in group], state, progress, loggers)
            # Only now: a kill before this trains nothing again.
            if distributed.leads():
                state.unlink(missing_ok=True)
                state.with_suffix(".minutes").unlink(missing_ok=True)
        return distributed.call(end)


def _draw(folder: Path, points: list[Point], rows: list[dict[str, Any]], formats: Sequence[str]) -> None:
    # Here for start-up time: Matplotlib is slow to import.
    from ...plotting import save_figures
    from ...plotting.sweep import sweep_figures

    save_figures(folder, sweep_figures([point.values for point in points], rows), formats)


def _finished(place: Path) -> bool:
    """Whether the point's summary is there, with what a sweep adds to that of a training run."""
    summary = read_summary(place)
    return summary is not None and "gradient" in summary


def _train_group(
    group: list[Point], folders: list[Path], state: Path, progress: bool, loggers: Sequence[MakeLogger]
) -> None:
    with contextlib.ExitStack() as stack:
        for place in folders:
            stack.enter_context(locked(place))
        with clock(state.with_suffix(".minutes")) as minutes:
            found = train_together(group, folders, state, progress=progress, loggers=loggers)
            spent = minutes() / len(group)
        bar = stack.enter_context(Progress(len(group), shown=progress, unit="point", stays=False))
        for point, place, (run, network, reason) in zip(group, folders, found, strict=True):
            bar.phase("evaluating on the test split")
            distributed.call(lambda: _finish(point.config, place, run, network, reason, spent))
            bar.advance()


def _train_alone(
    point: Point, place: Path, progress: bool, formats: Sequence[str], loggers: Sequence[MakeLogger]
) -> None:
    if distributed.call(lambda: _finished(place)):
        return
    reason, minutes = None, None
    try:
        options = {"progress": progress, "formats": formats, "loggers": loggers}
        minutes = finished_run(point.config, place, **options)["training_minutes"]
    except Interrupted:
        raise
    except TrainingStopped as error:
        reason = str(error)
    except RuntimeError as error:
        reason = said_by_program(error)
        if reason is None:
            raise

    def finish() -> None:
        run, network = build(point.config), None
        if (place / "best.ckpt").exists():
            run, network, _ = trained(place)
        _finish(point.config, place, run, run.network if network is None else network, reason, minutes)

    distributed.call(finish)


def _reporter(config: Config):
    """The gradient report of a configuration's networks, compiled once for all points that share it."""
    return _report(build_loss(config), build_noise(config), config.training.trainable)


@functools.cache
def _report(objective: AbstractLoss, noise: Noise, fields: tuple[str, ...]):
    @eqx.filter_jit
    def report(network, trials, simulator):
        return gradient_report(network, trials, objective, simulator, fields=fields, noise=noise)

    return report


def _finish(
    config: Config, place: Path, run: Run, network: Network, reason: str | None, minutes: float | None
) -> None:
    """Write the summary of a point, as that of a training run, with its gradient and why it was lost."""
    summary = evaluate_network(run, network, config)
    trials = first_trials(run.task.parts("validation"), TRIALS)
    simulator = build_simulator(last_stage(config), gate=run.final_gate)
    found = _reporter(config)(network, trials, simulator)
    summary["gradient"] = {name: float(x) for name, x in jax.device_get(found)._asdict().items()}
    summary |= {"training_minutes": minutes, "steps": run.plan.steps, "seed": config.seed, "lost": reason}
    write_json(place / "summary.json", summary)


def _row(point: Point, place: Path) -> dict[str, Any]:
    """A line of the table."""
    summary = read_summary(place)
    if summary is None or not isinstance(summary.get("gradient"), dict):
        raise ConfigError(f"{place} has no summary.json any more: give the same command again")
    row = dict(point.values) | {"lost": summary.get("lost") or ""}
    for gate in ("smooth", "hard"):
        row |= {
            f"{gate} {name}": summary[gate][name]
            for name in ("loss", "accuracy", "error")
            if name in summary[gate]
        }
        row[f"{gate} rate (Hz)"] = summary[gate].get("rate/0")
    row["silent"] = summary["smooth"].get("silent/0")
    return row | {f"gradient {name}": x for name, x in summary["gradient"].items() if name != "loss"}


__all__ = ["sweep_run"]
