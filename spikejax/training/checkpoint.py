"""Checkpoints: written whole or not at all, and never read into the wrong network.

```
one line of JSON    format, layout (name, type and shape of every array), and what the caller adds
arrays              one after the other, in NumPy's format
one line            SHA-256 of everything before it, in hexadecimal
```
Format 1, of earlier versions, has no last line.
"""

import hashlib
import json
import os
import re
import warnings
from pathlib import Path
from typing import IO, Any

import equinox as eqx
import jax
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from ..files import parse_json, write_atomically
from ..metrics import leaf_name

FORMAT = 2
WITHOUT_CHECKSUM = 1
"""The format of earlier versions."""
MAX_HEADER = 1 << 26
"""Bytes of the longest header; a file without a line break is not read whole."""
RENAMED = {"log": "raw", "tau_accommodation": "tau"}
"""Parts of an array's name that an earlier version wrote otherwise; arrays and order are the same."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message is one line."""


class DamagedCheckpoint(CheckpointError):
    """A checkpoint that is not there, or not as it was written."""


def _layout(tree: PyTree) -> dict[str, str]:
    leaves, _ = jtu.tree_flatten_with_path(tree)
    return {leaf_name(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves if eqx.is_array(leaf)}


class _Summed:
    """A file to write to, with the checksum of what was written."""

    def __init__(self, file: IO[bytes]):
        self._file, self.sum = file, hashlib.sha256()

    def write(self, data) -> int:
        self.sum.update(data)
        return self._file.write(data)


def save(path: Path, tree: PyTree, **header: Any) -> None:
    """Write the arrays of `tree`, behind one line of JSON with the `header` and the name, type and shape of
    every array, and before a checksum."""
    line = json.dumps({"format": FORMAT, "layout": _layout(tree), **header}) + "\n"
    host = jax.device_get(tree)

    def write(file):
        summed: Any = _Summed(file)
        summed.write(line.encode())
        eqx.tree_serialise_leaves(summed, host)
        file.write(f"{summed.sum.hexdigest()}\n".encode())

    write_atomically(path, write)


def load(path: Path, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """Read a checkpoint into the structure of `like`: the tree and the header.

    **Raises:** `DamagedCheckpoint` in one line if the file is missing, cut or changed since it was written;
    `CheckpointError` if it is of another format, or of another network (naming the first array that differs).
    """
    try:
        with open(path, "rb") as file:
            header, end = _header(path, file)
            there = {_renamed(name): layout for name, layout in header["layout"].items()}
            _compare(path, there, _layout(like))
            _check_arrays(file, list(there.values()), end)
            return eqx.tree_deserialise_leaves(file, like), header
    except FileNotFoundError:
        raise DamagedCheckpoint(f"there is no checkpoint {path}") from None
    except CheckpointError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, EOFError, RuntimeError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DamagedCheckpoint(f"{path} is not a complete checkpoint: {reason}") from error


def _header(path: Path, file: IO[bytes]) -> tuple[dict[str, Any], int]:
    """The header of an open checkpoint, which is left at its first array, and where the arrays end.

    **Raises:** `ValueError`.
    """
    line = file.readline(MAX_HEADER)
    header = parse_json(line)
    if not isinstance(header, dict) or not isinstance(header.get("layout"), dict):
        raise ValueError("it begins with no header")
    size = os.fstat(file.fileno()).st_size
    if header["format"] == WITHOUT_CHECKSUM and type(header["format"]) is int:
        warnings.warn(
            f"{path} is of an earlier version, without a checksum: damage may go unnoticed", stacklevel=3
        )
        return header, size
    if header["format"] != FORMAT or type(header["format"]) is not int:
        raise CheckpointError(
            f"{path} has checkpoint format {header['format']!r}; this version reads {FORMAT} and "
            f"{WITHOUT_CHECKSUM}"
        )
    end = size - 2 * hashlib.sha256().digest_size - 1
    if end < len(line):
        raise ValueError("it is cut")
    if _sum(file, end) != file.read():
        raise ValueError("its checksum is that of another content")
    file.seek(len(line))
    return header, end


def _sum(file: IO[bytes], end: int) -> bytes:
    """The last line of a checkpoint whose arrays end at `end`, where the file is left."""
    found, left = hashlib.sha256(), end
    file.seek(0)
    while left:
        data = file.read(min(left, 1 << 20))
        if not data:
            raise ValueError("it is cut")
        found.update(data)
        left -= len(data)
    return f"{found.hexdigest()}\n".encode()


def _check_arrays(file: IO[bytes], layout: list[str], end: int) -> None:
    """Compare the arrays of an open checkpoint, which is left as it was, with what its header says, before
    memory is taken for them.

    **Raises:** `ValueError`.
    """
    begin = file.tell()
    for expected in layout:
        # Types that NumPy does not know, such as bfloat16, are plain bytes to it.
        shape, fortran, dtype = _array_header(file)
        written = re.fullmatch(r"(\w+)(\[.*\])", expected)
        if fortran or written is None or str(list(shape)) != written[2]:
            raise ValueError(f"an array has shape {list(shape)}, but its header says {expected}")
        known = dtype.kind == "V" or dtype.name == written[1]
        if not known or dtype.hasobject or dtype.itemsize != jax.numpy.dtype(written[1]).itemsize:
            raise ValueError(f"an array is {dtype.name}, but its header says {expected}")
        file.seek(int(np.prod(shape, dtype=object)) * dtype.itemsize, os.SEEK_CUR)
        if file.tell() > end:
            raise ValueError("it is cut")
    if file.tell() != end:
        raise ValueError("something follows its arrays")
    file.seek(begin)


def _array_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type of the array that begins here.

    **Raises:** `ValueError`.
    """
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"an array has version {version} of NumPy's format")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # it is read as Python, and fails as Python does
        raise ValueError("an array has no header") from error


def _renamed(name: str) -> str:
    return ".".join(RENAMED.get(part, part) for part in name.split("."))


def _compare(path: Path, there: dict[str, str], here: dict[str, str]) -> None:
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            raise CheckpointError(
                f"{path} is a checkpoint of another network: {name} is {there.get(name, 'absent')} "
                f"in the file and {here.get(name, 'absent')} in the configured network"
            )
    # Arrays are read in the order in which they were written.
    for one, other in zip(there, here, strict=True):
        if one != other:
            raise CheckpointError(
                f"{path} is of another version, with {one} in the place of {other}: it cannot be read"
            )


__all__ = ["FORMAT", "CheckpointError", "DamagedCheckpoint", "load", "save"]
