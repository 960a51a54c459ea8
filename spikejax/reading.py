"""Files that others made, read strictly: whatever is wrong with one is a `FileError` in one line, and no file
takes more memory than it can justify."""

import abc
import contextlib
import io
import math
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

FREE = 64 << 20
"""Bytes that every file may take in memory."""
RATIO = 100
"""How many times its own size a file may take: more than recordings are ever compressed by."""
LARGEST = 1e15
"""Numbers that recordings stay below: products of larger ones overflow in single precision."""
SHOWN, LONGEST_NAME = 12, 40
"""Names that an error lists at most, and how much of each."""
END, MANY = struct.Struct("<10xH10x"), 0xFFFF
"""The last bytes of an archive, with the number of its members; this one stands for more."""
HEADER = 1 << 17
"""Bytes at the start of an array in which its header ends: numpy writes some hundred."""


class FileError(ValueError):
    """What is wrong with a file, in one line that names it."""


@contextlib.contextmanager
def one_line(where: str) -> Iterator[None]:
    """A context in which whatever is raised is about the file: it leaves as a `FileError` that begins with
    `where`.

    The libraries that read damaged files raise nearly everything there is, and warn on the way.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except FileError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FileError(f"{where}: {reason[:200]}") from error


def allowance(size: int) -> int:
    """Bytes that a file of `size` bytes may take in memory."""
    return max(FREE, RATIO * size)


def shown(name: str) -> str:
    """A name from a file as it can stand in a line of text."""
    return name if name.isprintable() and len(name) < LONGEST_NAME else ascii(name[:LONGEST_NAME])


class AbstractArrays(abc.ABC):
    """The arrays of an opened file, by name. Whatever is wrong with one is a `FileError` that names file and
    array."""

    path: Path

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """What there is."""

    @abc.abstractmethod
    def get(self, key: str, ndim: int | None = None) -> np.ndarray:
        """One array, of `ndim` axes if that is given. Objects are never read."""

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def numbers(self, key: str, ndim: int | None = None) -> np.ndarray:
        """One array of finite real numbers."""
        return real_numbers(f"{self.path}: {key}", self.get(key, ndim))

    def text(self, key: str) -> tuple[str, ...]:
        """One array of names with one axis, as text."""
        return words(f"{self.path}: {key}", self.get(key, 1))

    def inventory(self) -> str:
        """What there is, in words."""
        found = [shown(name) for name in sorted(self.names)]
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        return f"it has {', '.join(found[:SHOWN]) or 'nothing'}{more}"


class Arrays(AbstractArrays):
    """The arrays of an opened ``.npz`` file; see `arrays_of`."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, size: int):
        self.path, self._archive, self._left = path, archive, allowance(size)
        self._members = {name.removesuffix(".npy"): name for name in archive.namelist()}

    @property
    def names(self):
        return tuple(self._members)

    def get(self, key, ndim=None):
        where = f"{self.path}: {key}"
        if key not in self._members:
            raise FileError(f"{self.path} has no array {key!r}: {self.inventory()}")
        with one_line(f"{where} cannot be read"):
            array = self._read(where, self._archive.getinfo(self._members[key]))
        if ndim is not None and array.ndim != ndim:
            raise FileError(f"{where} has shape {array.shape}; expected {ndim} axes")
        return array

    def _read(self, where: str, member: zipfile.ZipInfo) -> np.ndarray:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FileError(
                f"{where} is compressed in a way that numpy does not write: save it with np.savez"
            )
        with self._archive.open(member) as file:
            shape, dtype, header = _header(file)
        if dtype.hasobject:
            raise FileError(f"{where} holds Python objects, which are never loaded: save numbers or text")
        size = math.prod(shape) * dtype.itemsize
        if header + size != member.file_size:
            raise FileError(
                f"{where} is damaged: its header says {dtype} of shape {shape}, which is {size} bytes, but "
                f"there are {member.file_size - header}"
            )
        self._left -= size
        if self._left < 0:
            raise FileError(
                f"{where} is {size} bytes large, more than a file of this size is trusted with: save it with "
                "less compression (np.savez)"
            )
        with self._archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape and type of an array in the ``.npy`` format, and the length of the header that says so."""
    head = io.BytesIO(file.read(HEADER))
    version = np.lib.format.read_magic(head)
    # Version 3 is for records with names that are no Latin.
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its format is version {version[0]}.{version[1]}, which holds no plain array")
    shape, _, dtype = readers[version](head)
    if any(n < 0 for n in shape):
        raise ValueError(f"its header says shape {shape}")
    return shape, dtype, head.tell()


@contextlib.contextmanager
def arrays_of(path: Path, advice: str = "") -> Iterator[Arrays]:
    """Open an ``.npz`` file.

    **Arguments:** `advice`: what to do if it cannot be opened.

    **Raises:** `FileError` naming the file, and so does whatever is read from it.
    """
    more = f": {advice}" if advice else ""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "rb"))
            start = file.read(6)
            size = file.seek(0, 2)
        except OSError as error:
            raise FileError(f"{path} cannot be read ({error.strerror}){more}") from None
        if start == np.lib.format.MAGIC_PREFIX:
            raise FileError(f"{path} is one array, not an .npz file of several{more}")
        try:
            with one_line(str(path)):
                archive = stack.enter_context(zipfile.ZipFile(file))
                _check_count(file, archive)
        except FileError:
            raise FileError(f"{path} cannot be read (not an .npz file, or a damaged one){more}") from None
        yield Arrays(path, archive, size)


def _check_count(file: Any, archive: zipfile.ZipFile) -> None:
    """Raise an error unless an archive lists as many members as its end says: zipfile does not look, and an
    array that may be absent would be missed by nobody."""
    at = file.tell()
    file.seek(max(file.seek(0, 2) - END.size, 0))
    end = file.read(END.size)
    file.seek(at)
    if len(end) == END.size and end.startswith(b"PK\x05\x06"):
        (count,) = END.unpack(end)
        if count not in (MANY, len(archive.namelist())):
            raise ValueError(f"it lists {len(archive.namelist())} arrays, but has {count}")


def real_numbers(where: str, array: np.ndarray) -> np.ndarray:
    """The array, which holds finite real numbers below `LARGEST` in size.

    **Raises:** `FileError` that begins with `where`.
    """
    if array.dtype.kind not in "iuf":
        raise FileError(f"{where} holds {array.dtype}, not numbers")
    if not np.isfinite(array).all():
        raise FileError(f"{where} holds values that are not finite")
    # As Python's numbers: half precision cannot even be compared with the limit.
    for extreme in (float(array.min()), float(array.max())) if array.size else ():
        if abs(extreme) > LARGEST:
            raise FileError(f"{where} holds {extreme:g}, which is out of any range")
    return array


def whole_numbers(where: str, array: np.ndarray) -> Int[np.ndarray, "..."]:
    """The numbers of an array as int64. They may stand there as floats, as an empty list does in numpy and
    everything in Matlab, but a fraction is never cut off.

    **Raises:** `FileError` that begins with `where`.
    """
    array = real_numbers(where, array)
    wrong = array != np.floor(array)
    if wrong.any():
        raise FileError(f"{where} holds {array[wrong].flat[0]}, but must hold whole numbers")
    return array.astype(np.int64)


def class_numbers(where: str, array: np.ndarray, classes: int) -> Int[np.ndarray, " trials"]:
    """Classes of trials as int32, each the number of one of `classes` names.

    **Raises:** `FileError` that begins with `where`.
    """
    numbers = whole_numbers(where, array)
    if numbers.size and (numbers.min() < 0 or numbers.max() >= classes):
        raise FileError(
            f"{where} has classes from {numbers.min()} to {numbers.max()}, but there are {classes}: number "
            f"them 0 to {classes - 1}"
        )
    return numbers.astype(np.int32)


def words(where: str, array: np.ndarray) -> tuple[str, ...]:
    """An array of text, or of text as bytes.

    **Raises:** `FileError` that begins with `where`.
    """
    found = array.tolist()
    if array.ndim != 1 or not all(isinstance(x, str | bytes) for x in found):
        raise FileError(f"{where} holds {array.dtype} of shape {array.shape}; expected a list of names")
    return tuple(x.decode("utf-8", "replace") if isinstance(x, bytes) else x for x in found)


__all__ = [
    "AbstractArrays",
    "Arrays",
    "FileError",
    "allowance",
    "arrays_of",
    "class_numbers",
    "one_line",
    "real_numbers",
    "shown",
    "whole_numbers",
    "words",
]
