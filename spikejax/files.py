"""Files that are written whole or not at all."""

import contextlib
import csv
import io
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import jax

TEMPORARY = ".{name}.{process}.{number}.tmp"
"""Name of the file that is written beside the one that it becomes."""


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write(file)`` on a temporary file beside `path`, flush it to disk and put it in the place of
    `path`.

    Of several processes the first does this, the others nothing.

    **Raises:** `OSError` with the name of `path`, where it cannot be written; the file that was there stays.
    """
    if jax.process_index() != 0:
        return
    name = TEMPORARY.format(name=path.name, process=os.getpid(), number=secrets.token_hex(4))
    temporary = path.with_name(name)
    with named(path):
        try:
            # "x": a link of that name is not followed.
            with open(temporary, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """A context in which an `OSError` leaves with the name of `path`: that of a full disk names no file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes left in `folder`, into which nobody else may be
    writing (`spikejax.locks`)."""
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, tree: Any) -> None:
    """Write `tree` as JSON."""
    write_text(path, json.dumps(tree, indent=2) + "\n")


def parse_json(text: str | bytes) -> Any:
    """What JSON says.

    **Raises:** `ValueError` in one line, also for what nests too deeply and for numbers that are too long.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], columns: Iterable[str] | None = None) -> None:
    """Write `rows` as CSV, a line for each.

    **Arguments:** `columns`: names of the columns in order; default: every key of the rows, as they come.
    """
    rows = list(rows)
    if columns is None:
        columns = dict.fromkeys(key for row in rows for key in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns))
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


__all__ = [
    "named",
    "parse_json",
    "remove_leftovers",
    "write_atomically",
    "write_json",
    "write_table",
    "write_text",
]
