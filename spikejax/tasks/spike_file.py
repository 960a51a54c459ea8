"""Reading spike recordings in the layout of the Spiking Heidelberg Digits: HDF5, plain or compressed as a
whole by gzip."""

import functools
import gzip
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt

from ..reading import FileError, allowance, class_numbers, one_line, words

CHUNK = 256
"""Recordings read at a time."""
SPEAKER = "extra/speaker"
"""The one dataset that may be missing."""


class Spikes(NamedTuple):
    """Spikes of a batch of recordings."""

    times: Float[np.ndarray, " spikes"]
    """In ms."""
    units: Int[np.ndarray, " spikes"]
    row: Int[np.ndarray, " spikes"]
    """Which recording of the batch each is in."""


class Events(NamedTuple):
    """Spikes of many recordings one after the other, as flat arrays: recording i has the spikes
    ``offsets[i]`` to ``offsets[i + 1]``."""

    times: Float[np.ndarray, " spikes"]
    """In seconds, in the file's own precision."""
    units: UInt[np.ndarray, " spikes"]
    offsets: Int[np.ndarray, " recordings+1"]
    labels: Int[np.ndarray, " recordings"]
    speakers: Int[np.ndarray, " recordings"] | None
    """None if the file does not say."""
    names: tuple[str, ...]
    """Of the classes."""
    resolution: float
    """Distance of the latest spike's time to the next number that the file's type has, ms."""
    latest: Float[np.ndarray, " recordings"]
    """Time of the last spike of every recording, ms; 0 if it has none."""

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, which: Int[np.ndarray, " chosen"]) -> Spikes:
        """The spikes of some recordings."""
        begin, end = self.offsets[which], self.offsets[which + 1]
        row = np.repeat(np.arange(len(which), dtype=np.int32), end - begin)
        places = [slice(a, b) for a, b in zip(begin, end, strict=True)]
        times, units = (
            np.concatenate([x[:0], *(x[place] for place in places)]) for x in (self.times, self.units)
        )
        return Spikes(np.float32(1e3) * times.astype(np.float32), units.astype(np.int32), row)


class Found(NamedTuple):
    """A file as it is at this moment."""

    path: Path
    changed: int
    """When, ns."""
    size: int


def found(path: Path) -> Found:
    """The file at `path`, or at `path` with ``.gz`` added.

    **Raises:** `ValueError` if there is none.
    """
    path = Path(path)
    packed = path.with_name(path.name + ".gz")
    path = packed if packed.exists() and not path.exists() else path
    try:
        about = path.stat()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}): set task.folder, task.train and task.test to your "
            "recordings"
        ) from None
    return Found(path, about.st_mtime_ns, about.st_size)


def load(path: Path, units: int) -> Events:
    """The recordings of one file, read once: a second call returns the same arrays, unless the file was
    changed in between.

    **Arguments:** `path`: as given, or with ``.gz`` added; `units`: number of input units.

    **Raises:** `ValueError` naming the file, and the dataset or the first recording that is wrong, for a file
    that is absent, truncated or not HDF5, that lacks a dataset (but for the speakers) or would take far more
    memory than its size, or that holds labels that are no whole numbers or have no name, speakers that are no
    numbers, units past `units`, or times that are negative or not finite.
    """
    return _load(*found(path), units)


@functools.lru_cache(maxsize=4)
def _load(path: Path, changed: int, size: int, units: int) -> Events:
    del changed  # part of what is remembered
    what = f"{path} is not a complete HDF5 file of spikes (truncated, or of another kind?)"
    with one_line(what), _opened(path, allowance(size)) as (file, raw):
        events = _read(_File(path, file, raw, allowance(size)), units)
    for array in events:
        if isinstance(array, np.ndarray):
            array.setflags(write=False)  # shared by all who load the file
    return events


@contextmanager
def _opened(path: Path, limit: int):
    """The file as h5py reads it, and its bytes; unpacked it has at most `limit` of them."""
    import h5py  # slow to import, and only needed here

    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not packed:
            with h5py.File(path, "r") as file:
                yield file, raw
            return
        # On disk: HDF5 jumps to and fro, which a compressed stream does not.
        with tempfile.TemporaryFile() as plain:
            with gzip.open(raw) as stream:
                while part := stream.read(1 << 20):
                    plain.write(part)
                    if plain.tell() > limit:
                        raise FileError(
                            f"{path} unpacks to more than {limit} bytes, which a file of its size is not "
                            "trusted with"
                        )
            with h5py.File(plain, "r") as file:
                yield file, plain


class _File:
    """An opened file, whose datasets are looked at before they are read."""

    def __init__(self, path: Path, file: Any, raw: IO[bytes], limit: int):
        self.path, self._file, self._raw, self._left = path, file, raw, limit

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def dataset(self, name: str) -> Any:
        """A dataset with one axis, small enough to be held."""
        import h5py

        if name not in self._file:
            raise FileError(
                f"{self.path} has no dataset {name}: expected the layout of the Spiking Heidelberg Digits"
            )
        found = self._file[name]
        if not isinstance(found, h5py.Dataset):
            raise FileError(f"{self.path}: {name} is a {type(found).__name__.lower()}, not a dataset")
        with one_line(f"{self.path}: {name} cannot be read"):
            shape, kind = found.shape, found.dtype
        if shape is None or len(shape) != 1:
            raise FileError(
                f"{self.path}: {name} has shape {shape}; expected one entry for every recording, or class"
            )
        if found.is_virtual or found.external:
            raise FileError(f"{self.path}: {name} is kept in other files: put everything into one")
        if shape[0] and not found.id.get_storage_size():
            raise FileError(f"{self.path}: {name} says {shape[0]} entries, but there is nothing in it")
        self._take(name, shape[0] * kind.itemsize)
        return found

    def array(self, name: str) -> np.ndarray:
        """A dataset of numbers or text."""
        found = self.dataset(name)
        with one_line(f"{self.path}: {name} cannot be read"):
            return np.asarray(found[:])

    def lists(self, name: str, kinds: str, what: str) -> Any:
        """A dataset of a list for every recording, of numbers of these kinds."""
        import h5py

        found = self.dataset(name)
        inner = h5py.check_vlen_dtype(found.dtype)
        if not isinstance(inner, np.dtype) or inner.kind not in kinds:
            raise FileError(
                f"{self.path}: {name} holds {inner or found.dtype}; expected {what}, one list for "
                "each recording"
            )
        with one_line(f"{self.path}: {name} cannot be read"):
            # The lowest bits of what follows the class say whether it is a list or a text. At anything else
            # the HDF5 library ends the process.
            if found.id.get_type().encode()[3] & 0x0F:
                raise FileError(f"{self.path}: {name} is damaged: its entries are no lists")
            lengths = self._lengths(found)
        if lengths is not None:
            self._take(name, int(lengths.sum()) * inner.itemsize)
        return found

    def _take(self, name: str, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise FileError(
                f"{self.path}: {name} is said to be {size} bytes large, which a file of this size is not "
                "trusted with"
            )

    def _lengths(self, found: Any) -> Int[np.ndarray, " entries"] | None:
        """Length of every list of a dataset, which stands beside the list's address; None if it is stored in
        a way that hides them.

        HDF5 itself takes the memory for a list of the length that is written there before it looks whether
        there is such a list.
        """
        if found.file.id.get_create_plist().get_sizes() != (8, 8):  # bytes of an address, and of a size
            return None
        entry = np.dtype([("length", "<u4"), ("address", "<u8"), ("number", "<u4")])
        pieces = [(found.id.get_offset(), found.id.get_storage_size())]
        if found.chunks is not None:
            if found.compression is not None or found.shuffle or found.fletcher32:
                return None
            infos = (found.id.get_chunk_info(i) for i in range(found.id.get_num_chunks()))
            pieces = [(info.byte_offset, info.size) for info in infos]
        if any(offset is None for offset, _ in pieces):
            return None
        parts = []
        for offset, size in pieces:
            self._raw.seek(offset)
            piece = self._raw.read(size)
            parts.append(np.frombuffer(piece, entry, len(piece) // entry.itemsize))
        entries = np.concatenate(parts)
        for address in np.unique(entries["address"][entries["length"] > 0]).tolist():
            self._check_heap(found.file.userblock_size + address)
        return entries["length"].astype(np.int64)

    def _check_heap(self, address: int) -> None:
        """Raise an error unless the objects of a piece of the file's heap, where lists stand, fill it up: the
        HDF5 library looks for the next object without end in one that is damaged."""
        self._raw.seek(0, 2)
        left = self._raw.tell() - address
        self._raw.seek(max(address, 0) if left > 0 else 0)
        head = self._raw.read(16)
        size = int.from_bytes(head[8:], "little")
        if head[:5] != b"GCOL\x01" or not 16 <= size <= left:
            raise ValueError("there is no list where one should be")
        heap, at = head + self._raw.read(size - 16), 16
        while at + 16 <= size:
            number, length = (int.from_bytes(heap[at + a : at + b], "little") for a, b in ((0, 2), (8, 16)))
            # The free space at the end counts its own head.
            step = 16 + (length + 7) // 8 * 8 if number else length
            if not 16 <= step <= size - at or (not number and at + step != size):
                raise ValueError("the lists run into each other")
            at += step


def _read(file: _File, units: int) -> Events:
    path = file.path
    lists = {
        "spikes/times": file.lists("spikes/times", "f", "seconds as floats"),
        "spikes/units": file.lists("spikes/units", "iu", "integers"),
    }
    labels = file.array("labels")
    speakers = file.array(SPEAKER) if SPEAKER in file else None
    names = words(f"{path}: extra/keys", file.array("extra/keys"))
    sizes = {name: one.shape for name, one in lists.items()} | {"labels": labels.shape}
    sizes |= {} if speakers is None else {SPEAKER: speakers.shape}
    if len(set(sizes.values())) > 1 or len(labels) == 0:
        given = ", ".join(f"{name} {shape}" for name, shape in sizes.items())
        raise FileError(
            f"{path}: expected one entry for every recording, and at least one, but the shapes are {given}"
        )
    labels = class_numbers(f"{path}: labels", labels, len(names))
    if speakers is not None:
        speakers = class_numbers(f"{path}: {SPEAKER}", speakers, 2**31 - 1)
    parts = list(_chunks(lists, path, units))
    times, numbers = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    counts, latest = (np.concatenate([part[k] for part in parts]) for k in (2, 3))
    last = times.max() if len(times) else times.dtype.type(0)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    resolution = 1e3 * float(np.spacing(last))
    return Events(times, numbers, offsets, labels, speakers, names, resolution, latest)


def _chunks(lists: Mapping[str, Any], path: Path, units: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Times, units, number of spikes and time of the last one (ms) of some recordings at a time."""
    narrow = np.uint16 if units <= 1 << 16 else np.uint32
    for begin in range(0, len(lists["spikes/times"]), CHUNK):
        times, numbers = (list(one[begin : begin + CHUNK]) for one in lists.values())
        for i, (t, u) in enumerate(zip(times, numbers, strict=True)):
            if np.shape(t) != np.shape(u) or np.ndim(t) != 1:
                raise FileError(
                    f"{path}: recording {begin + i} has spikes/times of shape {np.shape(t)} and units of "
                    f"{np.shape(u)}"
                )
        t, u = np.concatenate(times), np.concatenate(numbers)
        counts = np.array([len(x) for x in times])

        def check(wrong, what, counts=counts, begin=begin):
            if wrong.any():
                first = int(np.argmax(wrong))
                at = begin + int(np.searchsorted(np.cumsum(counts), first, side="right"))
                raise FileError(f"{path}: recording {at} has {what(first)}")

        check(~np.isfinite(t), lambda i: f"a spike at {t[i]} s: times must be finite")
        check(t < 0, lambda i: f"a spike at {t[i]} s: times start at 0")
        check(
            (u < 0) | (u >= units),
            lambda i: f"a spike of unit {u[i]}, but task.units is {units} (0 to {units - 1})",
        )
        latest = np.array([1e3 * float(x.max()) if len(x) else 0.0 for x in times])
        yield t, u.astype(narrow), counts, latest


__all__ = ["Events", "Found", "Spikes", "found", "load"]
