"""Reading files of event cameras, strictly: whatever is wrong with one is a `FileError` in one line.

| ending | record, times in us, high bytes first | from |
|---|---|---|
| `.bin`, `.bs2` | 5 bytes: x, y, polarity (1 bit) and time (23) | N-MNIST, SLAYER |
| `.bs1` | 5 bytes: channel (16 bits), polarity and time as above | SLAYER, spikes of neurons |
| `.bs3` | 7 bytes: x (12 bits), y (12), polarity (8), time (24) | SLAYER |
| `.npz` | arrays `x`, `y`, `p`, `t_us` | |
| `.aedat4` | AEDAT 4, by the package `aedat` | DV, cameras of iniVation |

A time of 23 bits ends at 8.4 s. Where it goes on, a record with y = 240 is no event: every time after it is
2^13 us later than its bits say (N-MNIST).
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from ..reading import FileError, arrays_of, one_line, whole_numbers

OVERFLOW, OVERFLOW_US = 240, 1 << 13
"""The y of a record that stands for time that has passed, and how much, us."""
NAMES = ("x", "y", "p", "t_us")
"""Arrays of a recording in an .npz file."""
PACKED = {b"\x1f\x8b": "gzip", b"PK": "zip"}
"""How files begin that are compressed."""
AEDAT = b"#!AER-DAT4"
LONGEST_US = 1 << 53
"""Times stay below."""


class CameraEvents(NamedTuple):
    """Events of one recording, in the order of time."""

    x: Int[np.ndarray, " events"]
    """Column, from 0."""
    y: Int[np.ndarray, " events"]
    """Row, from 0."""
    p: Int[np.ndarray, " events"]
    """Polarity: 1 (brighter) or 0."""
    t: Int[np.ndarray, " events"]
    """us."""


def read_events(path: Path, sensor: tuple[int, int] | None = None, *, order: str = "refuse") -> CameraEvents:
    """The events of one recording, from a file of the kind that its name ends in.

    **Arguments:** `sensor`: height and width in pixels, outside which no event may be; `order`: what to do
    with events that are earlier than the one before, ``"refuse"`` or ``"sort"``. Files of neurons (`.bs1`),
    which need not be in the order of time, are sorted.

    **Raises:** `FileError` in one line that names the file and the record, for a file that is absent, empty,
    compressed, of another kind or cut off, and for events outside the sensor, or earlier than the one before.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in READERS:
        raise FileError(f"{path} is of no known kind: expected one of {', '.join(READERS)}")
    if kind == ".npz":
        with arrays_of(path) as file:
            found = checked(path, {name: file.numbers(name, 1) for name in NAMES})
    elif kind == ".aedat4":
        found = _aedat(path)
    else:
        found = _records(path, *READERS[kind])
    if not len(found.t):
        raise FileError(f"{path} is empty: it has no events; leave it out")
    check_places(path, found, sensor)
    return in_order(path, found, "sort" if kind == ".bs1" else order)


def check_places(where: Any, events: CameraEvents, sensor: tuple[int, int] | None) -> None:
    """Raise `FileError` for a polarity that is none, and events outside a sensor of some height and width."""
    limits = {"polarity": (events.p, 2, "which is neither 0 nor 1")}
    if sensor is not None:
        height, width = sensor
        limits |= {
            "x": (events.x, width, f"but the sensor is {width} pixels wide (0 to {width - 1})"),
            "y": (events.y, height, f"but the sensor is {height} pixels high (0 to {height - 1})"),
        }
    for name, (values, limit, why) in limits.items():
        wrong = (values < 0) | (values >= limit)
        if wrong.any():
            first = int(np.argmax(wrong))
            raise FileError(
                f"{where}: event {first} has {name} {values[first]}, {why}: is the file damaged, or the "
                "sensor another one?"
            )


def in_order(where: Any, events: CameraEvents, order: str) -> CameraEvents:
    """The events in the order of time.

    **Raises:** `FileError` for one that is earlier than the one before, unless `order` is ``"sort"``.
    """
    back = np.diff(events.t) < 0
    if not back.any():
        return events
    if order != "sort":
        first = int(np.argmax(back)) + 1
        raise FileError(
            f"{where}: event {first} is at {events.t[first]} us and the one before at {events.t[first - 1]} "
            f"us, and {int(back.sum())} like it run backwards: is the file damaged? If not, order = sort"
        )
    # Those of one time stay as they were.
    by_time = np.argsort(events.t, kind="stable")
    return CameraEvents(*(x[by_time] for x in events))


def checked(where: Any, arrays: Mapping[str, Any]) -> CameraEvents:
    """Arrays of coordinates, polarity and time in us as events.

    **Raises:** `FileError` for arrays of different length, and for numbers that are not whole, not finite or
    out of range.
    """
    found = {}
    for name in NAMES:
        array = np.asarray(arrays[name])
        array = array.astype(np.uint8) if array.dtype == bool else array
        found[name] = whole_numbers(f"{where}: {name}", array)
    if len({x.shape for x in found.values()}) > 1 or found["x"].ndim != 1:
        shapes = ", ".join(f"{name} {x.shape}" for name, x in found.items())
        raise FileError(f"{where}: the arrays differ in shape, {shapes}: give one entry each for every event")
    polarity, time = found["p"], found["t_us"]
    if polarity.size and polarity.min() == -1:  # so do some write "darker"
        polarity = np.where(polarity == -1, 0, polarity)
    if time.size and not 0 <= time.min() <= time.max() < LONGEST_US:
        first = int(np.argmax((time < 0) | (time >= LONGEST_US)))
        raise FileError(f"{where}: event {first} is at {time[first]} us: times start at 0")
    return CameraEvents(found["x"], found["y"], polarity, time)


def _raw(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror}): set task.folder to recordings") from None
    if not raw:
        raise FileError(f"{path} is empty: it has no events; leave it out")
    for start, packer in PACKED.items():
        # Five bytes of a recording may begin so too: only a whole header is one.
        if raw.startswith(start) and raw[2:3] in (b"\x08", b"\x03"):
            raise FileError(f"{path} is compressed ({packer}): unpack it first")
    return raw


def _records(path: Path, size: int, decode) -> CameraEvents:
    """The events of a file of records of `size` bytes."""
    raw = _raw(path)
    whole = len(raw) // size
    if whole * size != len(raw):
        raise FileError(
            f"{path} has {len(raw)} bytes, which is {whole} records of {size} and {len(raw) - whole * size} "
            f"more (from byte {whole * size} on): it is cut off, or of another kind than {path.suffix}"
        )
    return decode(np.frombuffer(raw, np.uint8).reshape(-1, size).astype(np.int64))


def _short_time(b: np.ndarray) -> np.ndarray:
    return ((b[:, 2] & 127) << 16) | (b[:, 3] << 8) | b[:, 4]


def _two_dimensional(b: np.ndarray) -> CameraEvents:
    passed = b[:, 1] == OVERFLOW
    time = _short_time(b) + OVERFLOW_US * np.cumsum(passed)
    return CameraEvents(*(x[~passed] for x in (b[:, 0], b[:, 1], b[:, 2] >> 7, time)))


def _one_dimensional(b: np.ndarray) -> CameraEvents:
    return CameraEvents((b[:, 0] << 8) | b[:, 1], np.zeros(len(b), np.int64), b[:, 2] >> 7, _short_time(b))


def _large(b: np.ndarray) -> CameraEvents:
    x, y = (b[:, 0] << 4) | (b[:, 1] >> 4), ((b[:, 1] & 15) << 8) | b[:, 2]
    return CameraEvents(x, y, b[:, 3], (b[:, 4] << 16) | (b[:, 5] << 8) | b[:, 6])


def _aedat(path: Path) -> CameraEvents:
    """AEDAT 4; times count from the first event."""
    raw = _raw(path)[: len(AEDAT)]
    if raw != AEDAT:
        raise FileError(f"{path} does not begin as AEDAT 4 does ({AEDAT.decode()}): it is of another kind")
    try:
        # An extra: here and nowhere else.
        aedat: Any = importlib.import_module("aedat")
    except ImportError:
        raise FileError(f"{path}: AEDAT needs the package aedat: pip install 'spikejax[aedat]'") from None
    with one_line(f"{path} cannot be read as AEDAT 4"):
        packets = [packet["events"] for packet in aedat.Decoder(str(path)) if "events" in packet]
    if not packets:
        raise FileError(f"{path} has no stream of events")
    events = np.concatenate(packets)
    time = events["t"].astype(np.int64)
    polarity = events["on" if "on" in (events.dtype.fields or ()) else "p"]
    arrays = {"x": events["x"], "y": events["y"], "p": polarity, "t_us": time - time.min(initial=LONGEST_US)}
    return checked(path, arrays)


READERS: dict[str, tuple[Any, ...]] = {
    ".bin": (5, _two_dimensional),
    ".bs1": (5, _one_dimensional),
    ".bs2": (5, _two_dimensional),
    ".bs3": (7, _large),
    ".npz": (),
    ".aedat4": (),
}
"""Kinds of files by their ending; of records their bytes, and what makes events of them."""

__all__ = ["NAMES", "READERS", "CameraEvents", "check_places", "checked", "in_order", "read_events"]
