"""Run folders: train, evaluate and plot a configuration on disk.

```
RUN/config.toml      the resolved configuration
RUN/versions.json    of Python, JAX and the rest
RUN/metrics.jsonl    one line a step
RUN/best.ckpt        the network with the best held-out score
RUN/last.ckpt        the whole state of training
RUN/minutes.json     of training so far
RUN/summary.json     results on the test split (evaluation.json: of `evaluate`)
RUN/figures/*.png
RUN/analysis/        figures and numbers of `analyse`
RUN/landscape/       figures and numbers of `landscape`
```
"""

import contextlib
import importlib.metadata
import json
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from . import distributed
from .build import Run, batch_key, build, build_damping, build_noise, evaluator, initial_state
from .config import Config, ConfigError, dump, load
from .config.load import new_folder
from .gates import RELEASES
from .metrics import confusion
from .network import Network
from .simulators import ClockDriven
from .training import checkpoint, train
from .training.checkpoint import write_atomically


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    names = ("spikejax", "jax", "jaxlib", "equinox", "optax", "numpy")
    found = {"python": platform.python_version(), "device": jax.devices()[0].device_kind}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def free_folder(name: str, root: Path = Path("runs")) -> Path:
    """``runs/NAME``, or the first of ``runs/NAME-2``, ``runs/NAME-3``, ... that is not there yet."""
    folder, n = root / name, 1
    while folder.exists():
        n += 1
        folder = root / f"{name}-{n}"
    return folder


def newest_folder(name: str, root: Path = Path("runs")) -> Path:
    """The last of ``runs/NAME``, ``runs/NAME-2``, ...

    **Raises:** `ConfigError` if there is none.
    """
    pattern = re.compile(re.escape(name) + r"(-\d+)?")
    found = [p for p in root.glob("*") if pattern.fullmatch(p.name)]
    if not found:
        raise ConfigError(
            f"there is no run to resume in {root}/{name}: train without --resume first, or name it with --out"
        )
    return max(found, key=lambda p: int(p.name.removeprefix(name).lstrip("-") or 1))


def train_run(
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    devices: int | None = None,
    report: Callable[[int, float], None] | None = None,
    figures: bool = True,
) -> dict[str, Any]:
    """Train, evaluate on the test split, draw the figures; returns the summary.

    With several processes (`spikejax.distributed`) each of them makes the same call, and process 0 alone
    reads and writes `folder`.

    **Arguments:** `devices`: number of devices of this process that every batch is cut over (0: all; default:
    one); `report`: see `train`; `figures`: whether they are drawn.

    **Raises:** `ConfigError`, before anything is computed, if the folder cannot be written, holds another
    run, or (with `resume`) a run of another configuration; `spikejax.training.TrainingStopped` if training
    stops early.
    """
    folder = Path(folder)
    distributed.call(lambda: _check_folder(config, folder, resume))
    run = build(config, distributed.mesh(devices))
    distributed.call(lambda: prepare(folder, config))
    with clock(folder / "minutes.json") as minutes:
        # A checkpoint replaces it: then it need not be solved for.
        saved = distributed.call(lambda: resume and (folder / "last.ckpt").exists())
        state = run.state if saved else initial_state(config, run)
        state, network = train(
            run.plan,
            state,
            run.fixed,
            folder,
            key=batch_key(config),
            resume=resume,
            progress=progress,
            report=report,
        )
    spent = minutes()

    def finish() -> dict[str, Any]:
        summary = evaluate_network(run, network, config)
        summary |= {"training_minutes": round(spent, 2), "steps": int(state.step), "seed": config.seed}
        write_json(folder / "summary.json", summary)
        if figures:
            plot_run(folder)
        return summary

    return distributed.call(finish)


def _check_folder(config: Config, folder: Path, resume: bool) -> None:
    if (folder / "config.toml").exists():
        if not resume:
            raise ConfigError(
                f"{folder} already holds a run: continue it with --resume, or choose another folder with --out"
            )
        same(config, load(folder), folder)
    elif resume:
        raise ConfigError(f"there is no run to resume in {folder}")


def prepare(folder: Path, config: Config) -> None:
    """Make a run's folder, with its configuration and versions, if they are not there."""
    new_folder(folder)
    _write(folder / "config.toml", dump(config))
    if not (folder / "versions.json").exists():
        write_json(folder / "versions.json", versions())


def write_json(path: Path, tree: Any) -> None:
    """Write `tree` as JSON, whole or not at all."""
    _write(path, json.dumps(tree, indent=2) + "\n")


def finished_run(config: Config, folder: Path, **options) -> dict[str, Any]:
    """The summary of the run of `config` in `folder`, which is trained first if it is not there, and goes on
    if it was interrupted.

    **Arguments:** `options`: those of `train_run` but `resume`.

    **Raises:** as `train_run`; also for a finished run of another configuration.
    """
    folder = Path(folder)

    def there() -> tuple[bool, dict[str, Any] | None]:
        if not (folder / "summary.json").exists():
            return (folder / "config.toml").exists(), None
        same(config, load(folder), folder)
        return True, json.loads((folder / "summary.json").read_text())

    begun, summary = distributed.call(there)
    return train_run(config, folder, resume=begun, **options) if summary is None else summary


@contextlib.contextmanager
def clock(path: Path):
    """Adds the minutes spent inside to those that earlier sessions of the run left in `path` (a killed one
    leaves none)."""
    begin = time.perf_counter()
    try:
        before = float(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        before = 0.0

    def minutes() -> float:
        return before + (time.perf_counter() - begin) / 60

    try:
        yield minutes
    finally:
        _write(path, json.dumps(minutes()))


def same(config: Config, there: Config, folder: Path) -> None:
    a, b = (dict(_flat(c.model_dump(mode="json"))) for c in (config, there))
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name):
            raise ConfigError(
                f"{folder} holds a run with {name} = {b.get(name)!r}, not {a.get(name)!r}: "
                "resume with the same configuration, or start anew with --out"
            )


def _flat(tree, prefix=""):
    if isinstance(tree, list):
        yield f"{prefix} (number)", len(tree)
    if isinstance(tree, dict | list):
        for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _flat(value, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, tree


def trained(folder: Path, config: Config | None = None) -> tuple[Run, Network, Config]:
    """The objects of a run folder, its trained network (best checkpoint), and its configuration, here with
    changes if given.

    **Raises:** `ConfigError` if the folder holds no run; `CheckpointError` if its checkpoint does not fit the
    configuration.
    """
    folder = Path(folder)
    config = load(folder) if config is None else config
    run = build(config)
    network, _ = checkpoint.load(folder / "best.ckpt", run.network)
    return run, network, config


def evaluate_network(run: Run, network: Network, config: Config) -> dict[str, Any]:
    """Test-split results with the gate that training ended with, and with a hard threshold in its place."""
    evaluate = evaluator(config.loss, config.noise)
    test = run.task.parts("test")
    summary: dict[str, Any] = {"release": RELEASES.name_of(run.final_gate.release)}
    for name, gate in (("smooth", run.final_gate), ("hard", run.final_gate.hard())):
        result = evaluate(network, test, ClockDriven(gate, config.dt))
        summary["trials"] = len(result.durations)
        summary[name] = result.metrics
        if result.labels is not None:
            table = confusion(np.asarray(result.classes), np.asarray(result.labels), len(run.task.labels))
            summary[name]["confusion"] = table.tolist()
    return summary


def evaluate_run(folder: Path, config: Config | None = None) -> dict[str, Any]:
    """Evaluate a run on the test split; writes ``evaluation.json``."""
    run, network, config = trained(folder, config)
    there, here = (dict(_flat(c.model_dump(mode="json"))) for c in (load(folder), config))
    summary = evaluate_network(run, network, config)
    summary["changed"] = {name: value for name, value in here.items() if there.get(name) != value}
    write_json(Path(folder) / "evaluation.json", summary)
    return summary


def analyse_run(folder: Path, config: Config | None = None) -> list[Path]:
    """Analyse a run's trained network; writes ``analysis/*.png`` and ``analysis/analysis.json`` and returns
    their paths."""
    from .analysis.report import analyse

    folder = Path(folder)
    run, network, config = trained(folder, config)
    target = folder / "analysis"
    new_folder(target)
    summary = analyse(run, network, config.dt, target, noise=build_noise(config))
    write_json(target / "analysis.json", summary)
    return [target / "analysis.json", *sorted(target.glob("*.png"))]


def landscape_run(folder: Path, config: Config | None = None, **options) -> list[Path]:
    """Landscapes around a run's trained network and around its initialisation; writes ``landscape/`` and
    returns the files' paths.

    **Arguments:** `options`: those of `spikejax.analysis.landscape_report.Options`.

    **Raises:** `ConfigError` for options that make no landscape of this run.
    """
    from .analysis.landscape_report import Options, landscape

    wanted = Options(**options)
    run, network, config = trained(folder, config)
    target = Path(folder) / "landscape"
    new_folder(target)
    last = config.stage(len(config.stages) - 1) if config.stages else config
    networks = {"trained": network, "initial": eqx.combine(initial_state(config, run).params, run.fixed)}
    try:
        return landscape(
            run, networks, config.dt, target, wanted, damping=build_damping(last), noise=build_noise(config)
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def plot_run(folder: Path, config: Config | None = None) -> list[Path]:
    """Draw the figures of a run into ``figures/``."""
    from . import plotting  # matplotlib is slow to import, and only needed here

    folder = Path(folder)
    run, network, config = trained(folder, config)
    target = folder / "figures"
    new_folder(target)
    return plotting.run_figures(folder, target, run, network, config.dt, build_noise(config))
