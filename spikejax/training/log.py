"""`metrics.jsonl`: one line of JSON a step."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from .checkpoint import write_atomically


class MetricsLog:
    """Appends one line per step to a file; every line is complete when `write` returns.

    On resuming at step n the lines after n, which the resumed run will write again, are removed.
    """

    def __init__(self, path: Path, resume_at: int | None = None):
        if resume_at is not None and path.exists():
            kept = [line for line in _complete(path) if json.loads(line)["step"] <= resume_at]
            write_atomically(path, lambda file: file.writelines(f"{line}\n".encode() for line in kept))
        self._file = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 (closed by close)

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """Append the metrics of a step. Values that are not finite become null."""
        values = {name: _plain(x) for name, x in metrics.items()}
        self._file.write(json.dumps({"step": step, **values}) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _plain(x):
    x = np.asarray(x).item()
    return x if not isinstance(x, float) or np.isfinite(x) else None


def _complete(path: Path) -> list[str]:
    """Lines of the file; a last one cut off by a kill is left out."""
    lines = path.read_text(encoding="utf-8").split("\n")
    return [line for line in lines[:-1] if line]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a `metrics.jsonl`."""
    return [json.loads(line) for line in _complete(path)]
