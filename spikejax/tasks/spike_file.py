"""Reading spike recordings in the layout of the Spiking Heidelberg Digits: HDF5, plain or compressed as a
whole by gzip."""

import functools
import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt

CHUNK = 256
"""Recordings read at a time."""
DATASETS = ("spikes/times", "spikes/units", "labels", "extra/speaker", "extra/keys")


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
    speakers: Int[np.ndarray, " recordings"]
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

    **Raises:** `ValueError` naming the file, and the first recording that is wrong, for a file that is
    absent, truncated or not HDF5, that lacks a dataset, or holds labels without a name, units past `units`,
    or times that are negative or not finite.
    """
    return _load(*found(path), units)


@functools.lru_cache(maxsize=4)
def _load(path: Path, changed: int, size: int, units: int) -> Events:
    del changed, size  # part of what is remembered
    try:
        with _opened(path) as file:
            events = _read(file, path, units)
    except (
        OSError,
        EOFError,
        zlib.error,
        KeyError,
        RuntimeError,
    ) as error:  # h5py, gzip and zlib each raise their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} is not a complete HDF5 file of spikes (truncated, or of another kind?): {reason}"
        ) from error
    for array in events:
        if isinstance(array, np.ndarray):
            array.setflags(write=False)  # shared by all who load the file
    return events


@contextmanager
def _opened(path: Path):
    import h5py  # slow to import, and only needed here

    with open(path, "rb") as raw:
        if raw.read(2) != b"\x1f\x8b":
            with h5py.File(path, "r") as file:
                yield file
            return
        raw.seek(0)
        # On disk: HDF5 jumps to and fro, which a compressed stream does not.
        with tempfile.TemporaryFile() as plain:
            with gzip.open(raw) as stream:
                shutil.copyfileobj(stream, plain, 1 << 20)
            with h5py.File(plain, "r") as file:
                yield file


def _read(file, path: Path, units: int) -> Events:
    for name in DATASETS:
        if name not in file:
            raise ValueError(
                f"{path} has no dataset {name}: expected the layout of the Spiking Heidelberg Digits"
            )
    labels, speakers = (np.asarray(file[name][:]).astype(np.int64) for name in ("labels", "extra/speaker"))
    names = tuple(
        name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
        for name in file["extra/keys"][:]
    )
    sizes = {name: file[name].shape for name in DATASETS[:4]}
    if len(set(sizes.values())) > 1 or len(labels) == 0:
        given = ", ".join(f"{name} {shape}" for name, shape in sizes.items())
        raise ValueError(
            f"{path}: expected one entry for every recording, and at least one, but the shapes are {given}"
        )
    if labels.min() < 0 or labels.max() >= len(names):
        raise ValueError(
            f"{path}: there are labels from {labels.min()} to {labels.max()}, but extra/keys names "
            f"{len(names)} classes"
        )
    parts = list(_chunks(file, path, units))
    times, numbers = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    counts, latest = (np.concatenate([part[k] for part in parts]) for k in (2, 3))
    last = times.max() if len(times) else times.dtype.type(0)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return Events(
        times,
        numbers,
        offsets,
        labels.astype(np.int32),
        speakers.astype(np.int32),
        names,
        1e3 * float(np.spacing(last)),
        latest,
    )


def _chunks(file, path: Path, units: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Times, units, number of spikes and time of the last one (ms) of some recordings at a time."""
    narrow = np.uint16 if units <= 1 << 16 else np.uint32
    for begin in range(0, len(file["labels"]), CHUNK):
        times, numbers = (list(file[name][begin : begin + CHUNK]) for name in DATASETS[:2])
        for i, (t, u) in enumerate(zip(times, numbers, strict=True)):
            if np.shape(t) != np.shape(u) or np.ndim(t) != 1:
                raise ValueError(
                    f"{path}: recording {begin + i} has spikes/times of shape {np.shape(t)} and units of "
                    f"{np.shape(u)}"
                )
        t, u = np.concatenate(times), np.concatenate(numbers)
        counts = np.array([len(x) for x in times])
        if t.dtype.kind != "f" or u.dtype.kind not in "iu":
            raise ValueError(
                f"{path}: spikes/times are {t.dtype} and units {u.dtype}; expected seconds as floats, and "
                "integers"
            )

        def check(wrong, what, counts=counts, begin=begin):
            if wrong.any():
                first = int(np.argmax(wrong))
                at = begin + int(np.searchsorted(np.cumsum(counts), first, side="right"))
                raise ValueError(f"{path}: recording {at} has {what(first)}")

        check(~np.isfinite(t), lambda i: f"a spike at {t[i]} s: times must be finite")
        check(t < 0, lambda i: f"a spike at {t[i]} s: times start at 0")
        check(
            (u < 0) | (u >= units),
            lambda i: f"a spike of unit {u[i]}, but task.units is {units} (0 to {units - 1})",
        )
        latest = np.array([1e3 * float(x.max()) if len(x) else 0.0 for x in times])
        yield t, u.astype(narrow), counts, latest


__all__ = ["Events", "Found", "Spikes", "found", "load"]
