"""Reading spike recordings in the layout of the Spiking Heidelberg Digits: HDF5, plain or compressed as a
whole by gzip."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt

from ..reading import FileError, allowance, class_numbers, one_line
from .hdf5 import HDF5File, opened

CHUNK = 256
"""Recordings read at a time."""
LAYOUT = "expected the layout of the Spiking Heidelberg Digits"
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
    with one_line(what), opened(path, allowance(size)) as (file, raw):
        events = _read(HDF5File(path, file, raw, allowance(size), LAYOUT), units)
    for array in events:
        if isinstance(array, np.ndarray):
            array.setflags(write=False)  # shared by all who load the file
    return events


def _read(file: HDF5File, units: int) -> Events:
    path = file.path
    lists = {
        "spikes/times": file.lists("spikes/times", "f", "seconds as floats"),
        "spikes/units": file.lists("spikes/units", "iu", "integers"),
    }
    labels = file.get("labels", 1)
    speakers = file.get(SPEAKER, 1) if SPEAKER in file else None
    names = file.text("extra/keys")
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
