"""The journal of a search: Optuna's file, to which a worker that is killed while it writes does no harm."""

import contextlib
import json
import os
from pathlib import Path
from typing import IO, Any

from optuna.storages.journal import JournalFileBackend

from ...errors import ConfigError
from ...files import named, parse_json
from ...locks import Lock

BEGINNING = b'{"op_code":'
"""Of every line."""


class Journal(JournalFileBackend):
    """A journal file whose last line may have been cut off: that line, which no worker has read, is removed
    before the next one is written. Its lock ends with the process that holds it.

    **Raises:** `ConfigError` for a file that is no journal, naming the first line that is none.
    """

    def __init__(self, path: Path):
        self._path = path
        self._own_lock = Lock(path.with_name(f".{path.name}.lock"))
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _check(path)
        super().__init__(str(path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = lines_of(logs)
        with self._own_lock, named(self._path), open(self._path, "r+b") as file:
            end = _whole(file)
            file.truncate(end)
            file.seek(end)
            try:
                append_lines(file, lines)
                file.flush()
                os.fsync(file.fileno())
            except OSError:  # a full disk
                with contextlib.suppress(OSError):
                    os.truncate(self._path, end)
                raise


def lines_of(logs: list[dict[str, Any]]) -> bytes:
    """What stands in the file for these."""
    return "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()


def append_lines(file: IO[bytes], lines: bytes) -> None:
    """Write the lines at the end of an open file."""
    file.write(lines)


def _whole(file: IO[bytes]) -> int:
    """The length of an open file without what follows its last line break."""
    end = position = file.seek(0, os.SEEK_END)
    while position:
        begin = max(0, position - 4096)
        file.seek(begin)
        found = file.read(position - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        position = begin
    return 0 if end else end


def _check(path: Path) -> None:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                problem = _problem(line)
            else:
                # Cut off by a kill, or zeros after a power failure.
                cut = line[: len(BEGINNING)] == BEGINNING[: len(line)] or not line.strip(b"\0")
                problem = None if cut else "it does not end"
            if problem is not None:
                raise ConfigError(
                    f"{path}, line {number}, is none of a search's journal ({problem}): restore the file, "
                    "or choose another folder with --out"
                )


def _problem(line: bytes) -> str | None:
    try:
        entry = parse_json(line)
    except ValueError as error:
        return str(error)
    if not isinstance(entry, dict) or type(entry.get("op_code")) is not int:
        return "it has no op_code"
    return None


__all__ = ["Journal"]
