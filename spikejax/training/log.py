"""Where the metrics of training go: `metrics.jsonl`, one line of JSON a step, and loggers of one's own."""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np

from ..files import named, parse_json, write_text
from ..registry import Registry
from .distributed import leads

MAX_STEP = 1 << 53
"""Steps from which on a number is none that training wrote."""


@runtime_checkable
class Logger(Protocol):
    """What is told of the metrics of every step. With several processes only the first has loggers."""

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Take note of an update.

        **Arguments:** `step`: updates made so far, from 1; `metrics`: numbers, or arrays of them (the
        sharpness of each layer), by name, such as ``loss``, ``gradient`` and, after an evaluation,
        ``held_out/accuracy``. They may be arrays of JAX, and need not be finite.
        """
        ...

    def close(self) -> None:
        """Nothing more will come; of a run that was interrupted too."""
        ...


MakeLogger: TypeAlias = Callable[[Path, int | None], Logger]
"""Makes the logger of a run from the run's folder and, of one that is resumed, the step that it goes on from:
what was written of later steps will come again."""
LOGGERS: Registry[Logger] = Registry("logger")
"""The loggers that ``--log`` can name, beside `MetricsLog`, which every run has: classes that are made with
the arguments of `MakeLogger`."""


class MetricsLog:
    """Appends one line per step to a file; every line is complete when `write` returns. Of several processes
    the first writes.

    On resuming at step n the lines after n, which the resumed run will write again, are removed.
    """

    def __init__(self, path: Path, resume_at: int | None = None):
        if resume_at is not None and path.exists():
            kept = [line for entry, line in _lines(path) if entry["step"] <= resume_at]
            write_text(path, "".join(f"{line}\n" for line in kept))
        self._path = path
        with named(path):
            self._file = open(path if leads() else os.devnull, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 (closed by close)

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Append the metrics of a step. Values that are not finite become null.

        **Raises:** `OSError` with the name of the file, if it cannot be written.
        """
        values = {name: _plain(x) for name, x in metrics.items()}
        with named(self._path):
            self._file.write(json.dumps({"step": step, **values}) + "\n")

    def close(self) -> None:
        """Close the file."""
        with named(self._path):
            self._file.close()


@LOGGERS.register("tensorboard")
class TensorBoardLog:
    """Writes the metrics as scalars for TensorBoard into the folder ``tensorboard`` of the run (the extra
    ``tensorboard``); arrays as one scalar for each entry, ``sharpness/0``."""

    needs: ClassVar[tuple[str, str]] = "tensorboardX", "tensorboard"
    """The package, and the extra that has it."""

    def __init__(self, folder: Path, resume_at: int | None = None):
        from tensorboardX import SummaryWriter  # type: ignore[import-not-found] (an extra)

        # The viewer then forgets what was written of later steps.
        purge = None if resume_at is None else resume_at + 1
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Write the scalars of a step; what is no finite number is left out."""
        for name, x in metrics.items():
            values = np.asarray(x, float)
            names = [name] if not values.ndim else [f"{name}/{i}" for i in range(values.size)]
            for one, value in zip(names, values.reshape(-1).tolist(), strict=True):
                if math.isfinite(value):
                    self._writer.add_scalar(one, value, step)

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._writer.close()


def _plain(x):
    x = np.asarray(x)
    if x.ndim:
        return [_plain(one) for one in x]
    x = x.item()
    return x if not isinstance(x, float) or np.isfinite(x) else None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a `metrics.jsonl`; one that a kill cut off, or that was damaged, is left out, and so
    is a value that is neither a number nor a list of numbers. Numbers that are not finite become None."""
    if not path.exists():
        return []
    found = []
    for entry, _ in _lines(path):
        values = {name: _number(x) for name, x in entry.items()}
        lists = {name: [_number(y) for y in x] for name, x in entry.items() if isinstance(x, list)}
        known = {name for name, x in entry.items() if x is None or values[name] is not None}
        known |= {name for name, x in entry.items() if isinstance(x, float)}
        found.append({name: x for name, x in values.items() if name in known} | lists)
    return found


def _number(x: Any) -> bool | int | float | None:
    """A finite number as it is, else None."""
    try:
        return x if isinstance(x, bool | int | float) and math.isfinite(x) else None
    except OverflowError:
        return None


def _lines(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """The whole lines of a file, parsed and as they stand there."""
    # Not `splitlines`: it also cuts at characters that JSON may hold.
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            entry = parse_json(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and type(entry.get("step")) is int and 0 <= entry["step"] < MAX_STEP:
            yield entry, line


__all__ = ["LOGGERS", "Logger", "MakeLogger", "MetricsLog", "TensorBoardLog", "read_metrics"]
