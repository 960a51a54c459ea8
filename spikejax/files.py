"""Files that are written whole or not at all."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import jax


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write(file)`` on a temporary file beside `path`, flush it to disk and put it in the place of
    `path`.

    Of several processes the first does this, the others nothing.
    """
    if jax.process_index() != 0:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, tree: Any) -> None:
    """Write `tree` as JSON."""
    write_text(path, json.dumps(tree, indent=2) + "\n")


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


__all__ = ["write_atomically", "write_json", "write_table", "write_text"]
