"""The folder of a run: made, found again, and read back.

```
RUN/config.toml      the resolved configuration
RUN/versions.json    of Python, JAX and the rest
RUN/metrics.jsonl    one line a step
RUN/best.ckpt        the network with the best held-out score
RUN/last.ckpt        the whole state of training
RUN/minutes.json     of training so far
RUN/.lock            while it is trained
RUN/summary.json     results on the test split (evaluation.json: of `evaluate`)
RUN/figures/*.png
RUN/analysis/        figures and numbers of `analyse`
RUN/landscape/       figures and numbers of `landscape`
```
"""

import contextlib
import importlib.metadata
import json
import math
import os
import platform
import re
import stat
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ..configuration import Config, Run, build, dump, load
from ..configuration.load import new_folder
from ..errors import ConfigError
from ..files import parse_json, remove_leftovers, write_json, write_text
from ..locks import Lock
from ..metrics import leaf_name
from ..network import Network
from ..training import checkpoint, distributed
from ..training.loop import lost_best

LOCK = ".lock"
"""Name of the file that is locked while something is trained into its folder."""
FREE = ("dt", "task", "gate", "loss", "penalties", "noise")
"""Parts of the configuration that a finished run can be looked at with changes in."""


class FolderInUse(ConfigError):
    """Another process trains into the folder."""


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


def name_of(source: Path) -> str:
    """What a run of the configuration in a file, or in a run's folder, is called."""
    return source.resolve().name if source.is_dir() else source.stem


def claim_folder(name: str, root: Path = Path("runs")) -> Path:
    """Make ``runs/NAME``, or the first of ``runs/NAME-2``, ``runs/NAME-3``, ... that is not there yet: two
    starts at once never get the same.

    **Raises:** `ConfigError` if it cannot be made.
    """
    folder, n = root / name, 1
    new_folder(root)
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            n += 1
            folder = root / f"{name}-{n}"
        except OSError as error:
            raise ConfigError(f"the output folder {folder} cannot be created: {error.strerror}") from error
        else:
            return folder


@contextlib.contextmanager
def claimed(name: str) -> Iterator[Path]:
    """A context with a new folder of its own (`claim_folder`), which goes again if nothing comes into it.

    Collective: every process must enter it.
    """
    folder = distributed.call(lambda: claim_folder(name))
    try:
        yield folder
    finally:
        if distributed.leads():
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """A context in which no other process trains into `folder`, which is made if it is not there, and goes
    again if nothing comes into it. What killed processes left half written there is removed.

    Collective: with several processes each of them must enter it; the first holds the lock.

    **Arguments:** `wait`: seconds for which another process is waited for.

    **Raises:** `FolderInUse`; `ConfigError` if the folder cannot be made or written to.
    """
    lock = Lock(folder / LOCK)

    def take() -> None:
        try:
            there = lock.acquire(wait)
        except OSError as error:
            problem = "written to" if folder.is_dir() else "created"
            raise ConfigError(
                f"the output folder {folder} cannot be {problem}: {error.strerror}; choose another with --out"
            ) from error
        if not there:
            raise FolderInUse(
                f"{folder} is being written to by another process: wait for it, or choose another folder "
                "with --out"
            )
        remove_leftovers(folder)

    distributed.call(take)
    try:
        yield
    finally:
        lock.release()


def tidy(folder: Path) -> None:
    """Remove what a process that was killed at the very end left in the folder of a finished run."""
    lock = Lock(folder / LOCK)
    if lock.path.exists() and lock.acquire():
        remove_leftovers(folder)
        lock.release()


def newest_folder(name: str, root: Path = Path("runs")) -> Path:
    """The last of ``runs/NAME``, ``runs/NAME-2``, ...

    **Raises:** `ConfigError` if there is none.
    """
    pattern = re.compile(re.escape(name) + r"(-[0-9]{1,9})?")
    found = [p for p in root.glob("*") if pattern.fullmatch(p.name)]
    if not found:
        raise ConfigError(
            f"there is no run to resume in {root}/{name}: train without --resume first, or name it with --out"
        )
    return max(found, key=lambda p: int(p.name.removeprefix(name).lstrip("-") or 1))


def prepare(folder: Path, config: Config) -> None:
    """Make a run's folder, with its configuration and versions, if they are not there.

    **Raises:** `ConfigError` if it cannot be written to.
    """
    new_folder(folder)
    write_text(folder / "config.toml", dump(config))
    if not (folder / "versions.json").exists():
        write_json(folder / "versions.json", versions())


@contextlib.contextmanager
def clock(path: Path) -> Iterator[Callable[[], float]]:
    """Adds the minutes spent inside to those that earlier sessions of the run left in `path` (a killed one
    leaves none).

    **Yields:** a function that returns the minutes so far.
    """
    begin = time.perf_counter()
    try:
        before = float(parse_json(path.read_text()))
    except (OSError, ValueError, TypeError, OverflowError):
        before = 0.0
    if not 0 <= before < math.inf:
        before = 0.0

    def minutes() -> float:
        return before + (time.perf_counter() - begin) / 60

    try:
        yield minutes
    except BaseException:
        with contextlib.suppress(OSError):  # which would hide why
            write_text(path, json.dumps(minutes()))
        raise
    write_text(path, json.dumps(minutes()))


def check_same(config: Config, there: Config, folder: Path) -> None:
    """Raise `ConfigError`, naming the first key that differs, unless the configuration `there` in `folder` is
    `config`."""
    a, b = flat(config), flat(there)
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name):
            raise ConfigError(
                f"{folder} holds a run with {name} = {b.get(name)!r}, not {a.get(name)!r}: "
                "resume with the same configuration, or start anew with --out"
            )


def flat(config: Config) -> dict[str, Any]:
    """The values of a configuration by names such as ``network.layers.0.size``."""
    return dict(_flat(config.model_dump(mode="json")))


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, list):
        yield f"{prefix} (number)", len(tree)
    if isinstance(tree, dict | list):
        for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _flat(value, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, tree


def changed(folder: Path, overrides: Sequence[tuple[str, str]]) -> Config:
    """The configuration of a finished run with changes, which may not touch its network and its training.

    **Raises:** `ConfigError` for keys that are not in `FREE`, and for those that the last stage of a
    curriculum sets and so hides.
    """
    check_run(folder)
    for name, _ in overrides:
        table, _, key = name.partition(".")
        if table not in FREE:
            raise ConfigError(
                f"--{name}: the network and training of a run are fixed; change keys of {', '.join(FREE)}"
            )
        stages = load(folder).stages
        if stages and key.split(".")[0] in stages[-1].get(table, {}):
            raise ConfigError(f"--{name}: the last stage of the run sets it, and would hide this")
    return load(folder, overrides)


def trained(folder: Path, config: Config | None = None) -> tuple[Run, Network, Config]:
    """The objects of a run folder, its trained network (best checkpoint), and its configuration, here with
    changes if given.

    A best checkpoint that was lost or damaged is written again from the last one, which holds it too.

    **Raises:** `ConfigError` if the folder holds no run; `CheckpointError` if its checkpoint does not fit the
    configuration, or is damaged beyond that.
    """
    folder = Path(folder)
    check_run(folder)
    config = load(folder) if config is None else config
    run = build(config)
    try:
        network, _ = checkpoint.load(folder / "best.ckpt", run.network)
        _check_finite(folder / "best.ckpt", network, run.network)
    except checkpoint.DamagedCheckpoint as error:
        try:
            network = lost_best(folder, run.state, run.fixed)
            _check_finite(folder / "last.ckpt", network, run.network)
        except checkpoint.CheckpointError:
            train = "train with --resume writes it again, if last.ckpt is there; else train anew with --out"
            raise checkpoint.CheckpointError(f"{error}: {train}") from None
        warnings.warn(f"{error}: written again from {folder / 'last.ckpt'}", stacklevel=2)
    return run, network, config


def _check_finite(path: Path, network: Network, untrained: Network) -> None:
    """Raise `DamagedCheckpoint` if a number of a trained network is not finite, where that of the untrained
    one is."""
    for (where, there), here in zip(
        jax.tree_util.tree_flatten_with_path(network)[0], jax.tree.leaves(untrained), strict=True
    ):
        if eqx.is_inexact_array(there) and bool(jnp.any(~jnp.isfinite(there) & jnp.isfinite(here))):
            raise checkpoint.DamagedCheckpoint(f"{path}: {leaf_name(where)} is not finite")


def check_run(folder: Path) -> None:
    """Raise `ConfigError` unless `folder` is that of a run, and holds nothing that leads out of it."""
    folder = Path(folder)
    if folder.is_file():
        kinds = {".toml": "a configuration file", ".ckpt": "a checkpoint"}
        what = kinds.get(folder.suffix, "a file")
        raise ConfigError(f"{folder} is {what}, not the folder of a run: spikejax train makes one")
    if not folder.exists():
        raise ConfigError(f"there is no folder {folder}: name that of a run")
    check_inside(folder)


def check_inside(folder: Path) -> None:
    """Raise `ConfigError` if something in `folder` leads out of it: a folder may be a stranger's, and what is
    read and written through it is not."""
    inside = folder.resolve()
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            try:
                kind = path.lstat().st_mode
            except FileNotFoundError:  # another process has just removed it
                continue
            if stat.S_ISLNK(kind) and not path.resolve().is_relative_to(inside):
                raise ConfigError(f"{path} is a link out of {folder}: put what it leads to in its place")
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind)):
                raise ConfigError(f"{path} is neither a file nor a folder: remove it")


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The ``summary.json`` of a run's folder, None if it has none.

    **Raises:** `ConfigError` if it is damaged.
    """
    path = folder / "summary.json"
    if not path.exists():
        return None
    try:
        summary = parse_json(path.read_bytes())
        if not isinstance(summary, dict) or not all(
            isinstance(summary.get(gate), dict) for gate in ("smooth", "hard")
        ):
            raise ValueError("it holds no results")
    except ValueError as error:
        raise ConfigError(
            f"{path} is damaged ({error}): delete it, and the same command makes it again"
        ) from None
    return summary


def last_stage(config: Config) -> Config:
    """The configuration as the last stage of training sees it."""
    return config.stage(len(config.stages) - 1) if config.stages else config


__all__ = [
    "FolderInUse",
    "changed",
    "check_inside",
    "check_run",
    "check_same",
    "claim_folder",
    "claimed",
    "clock",
    "flat",
    "last_stage",
    "locked",
    "name_of",
    "newest_folder",
    "prepare",
    "read_summary",
    "tidy",
    "trained",
    "versions",
]
