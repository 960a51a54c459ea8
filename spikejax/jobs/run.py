"""The folder of a run: made, found again, and read back.

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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from ..configuration import Config, Run, build, dump, load
from ..configuration.load import new_folder
from ..errors import ConfigError
from ..files import write_json, write_text
from ..network import Network
from ..training import checkpoint

FREE = ("dt", "task", "gate", "loss", "penalties", "noise")
"""Parts of the configuration that a finished run can be looked at with changes in."""


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
        before = float(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        before = 0.0

    def minutes() -> float:
        return before + (time.perf_counter() - begin) / 60

    try:
        yield minutes
    finally:
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

    **Raises:** `ConfigError` if the folder holds no run; `CheckpointError` if its checkpoint does not fit the
    configuration.
    """
    folder = Path(folder)
    config = load(folder) if config is None else config
    run = build(config)
    network, _ = checkpoint.load(folder / "best.ckpt", run.network)
    return run, network, config


def last_stage(config: Config) -> Config:
    """The configuration as the last stage of training sees it."""
    return config.stage(len(config.stages) - 1) if config.stages else config


__all__ = [
    "changed",
    "check_same",
    "clock",
    "flat",
    "free_folder",
    "last_stage",
    "name_of",
    "newest_folder",
    "prepare",
    "trained",
    "versions",
]
