"""`metrics.jsonl`: one line of JSON a step."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_atomically
from .distributed import leads


class MetricsLog:
    """Appends one line per step to a file; every line is complete when `write` returns. Of several processes
    the first writes.

    On resuming at step n the lines after n, which the resumed run will write again, are removed.
    """

    def __init__(self, path: Path, resume_at: int | None = None):
        if resume_at is not None and path.exists():
            kept = [m for m in read_metrics(path) if m["step"] <= resume_at]
            write_atomically(path, lambda file: file.writelines(f"{json.dumps(m)}\n".encode() for m in kept))
        self._file = open(path if leads() else os.devnull, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 (closed by close)

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """Append the metrics of a step. Values that are not finite become null."""
        values = {name: _plain(x) for name, x in metrics.items()}
        self._file.write(json.dumps({"step": step, **values}) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _plain(x):
    x = np.asarray(x)
    if x.ndim:
        return [_plain(one) for one in x]
    x = x.item()
    return x if not isinstance(x, float) or np.isfinite(x) else None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a `metrics.jsonl`; one that a kill cut off, or that was damaged, is left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            entry = json.loads(line)
            if isinstance(entry, dict) and isinstance(entry.get("step"), int):
                found.append(entry)
    return found


__all__ = ["MetricsLog", "read_metrics"]
