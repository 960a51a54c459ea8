"""A user's own recordings from a file, for a configuration."""

import contextlib
import difflib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..component import option
from ..encoders import steps_held
from ..reading import AbstractArrays, FileError, allowance, arrays_of, one_line, shown, whole_numbers
from .base import TASKS
from .hdf5 import HDF5File, opened
from .options import (
    drop_option,
    form_option,
    fraction_option,
    overflow_option,
    seed_option,
    shift_option,
    value_option,
)
from .read_recordings import AbstractReadRecordings
from .recordings import Recordings

ADVICE = "set task.file to your recordings, .npz or HDF5"
UNITS = {"s": 1e3, "ms": 1.0, "us": 1e-3}
"""Units of time in a file, in ms."""
KNOWN = (
    "times", "units", "trial", "offsets", "duration", "stimuli", "lengths", "targets", "labels", "groups",
    "split",
)  # fmt: skip
"""The arrays that a file may have."""


@TASKS.register("recordings")
class RecordingsFile(AbstractReadRecordings):
    """Your own recordings, lists of events or arrays, with classes or signals to learn: an .npz or HDF5 file.

    The file holds events or samples, one or the other, the targets, and what else there is:

    ```
    times, units   time and unit of every event (events,); and
    trial          the trial that each is in, from 0 (events,), or
    offsets        trial i has the events offsets[i] to offsets[i+1] (trials+1,)
    duration       of each trial, in the unit of the times (trials,); optional

    stimuli        samples (trials, time, channels)
    lengths        samples of each trial, without what fills it up (trials,); optional

    targets        class of each trial, whole numbers or words (trials,);
                   or signals (trials, time, outputs)
    labels         names of the classes 0, 1, ...; optional
    groups         subject or session of each trial: none is in two splits (trials,); optional
    split          where each trial belongs: train, validation, test (trials,); optional
    ```

    **Arguments:** `dt` (ms); `file`; `test_file`: another one, all of whose trials are the test split;
    `target`: whether a class or a signal is learnt; `time_unit` of `times` and `duration` in the file;
    `duration` of all trials, ms; `overflow`, `value`, `units`: of events, see `Recordings.from_events`;
    `period` of a sample, ms, a multiple of `dt`; `standardise`: every channel of samples; `validation`,
    `test`: fractions held out, where `split` or `test_file` do not say it; `drop`, `shift`: changes in
    training, the shift in ms; `form`: what events are handed on as; `seed`: of the validation split.

    **Raises:** `ValueError` when trials are first asked for, in one line that names the file and the array,
    for what `Recordings` refuses, and for a file that cannot be read, is damaged, or lacks an array.
    """

    dt: float = option(unit="ms", doc="time step", above=0.0, in_table=False, kw_only=False)
    file: Path = option(doc="file with the recordings, .npz or HDF5", staged=False)
    test_file: Path | None = option(
        None, doc="another file, whose trials are the test split; default: part of the first is", staged=False
    )
    target: str = option(
        "class", doc="what is learnt: a class, or a signal", choices=("class", "signal"), staged=False
    )
    time_unit: str = option(
        "ms", doc="unit of times and duration in the file", choices=tuple(UNITS), staged=False
    )
    duration: float | None = option(
        None,
        unit="ms",
        doc="length of all trials of events; default: what the file says, or up to the last event",
        above=0.0,
    )
    overflow: str = overflow_option()
    value: str = value_option("a step holds of a unit")
    units: int | None = option(
        None, doc="input units of events; default: up to the highest that has one", at_least=1, staged=False
    )
    period: float | None = option(
        None,
        unit="ms",
        doc="duration of a sample (of stimuli or signals), a multiple of dt; needed for them",
        above=0.0,
        staged=False,
    )
    standardise: bool = option(
        False,
        doc="bring every channel of samples to mean 0 and standard deviation 1 over the training trials",
        staged=False,
    )
    validation: float = fraction_option(0.1, "fraction of the trials that are no test trials, held out")
    test: float = fraction_option(
        0.2, "fraction of the trials that is the test split, where the file does not say"
    )
    drop: float = drop_option("the input of a channel in a step")
    shift: float = shift_option()
    form: str = form_option()
    seed: int = seed_option()

    def __check_init__(self):
        super().__check_init__()
        if self.period is not None:
            steps_held(self.period, self.dt)  # whether dt divides it

    @property
    def _data(self) -> Recordings:
        paths = [self.file, *([] if self.test_file is None else [self.test_file])]
        files = tuple((path, path.stat().st_mtime_ns if path.exists() else 0) for path in paths)
        settings = {
            "dt": self.dt, "target": self.target, "factor": UNITS[self.time_unit], "duration": self.duration,
            "overflow": self.overflow, "value": self.value, "units": self.units, "period": self.period,
            "standardise": self.standardise, "validation": self.validation, "test": self.test,
            "seed": self.seed,
        }  # fmt: skip
        return _read(files, tuple(settings.items()))


@functools.lru_cache(maxsize=4)
def _read(files: tuple[tuple[Path, int], ...], settings: tuple[tuple[str, Any], ...]) -> Recordings:
    """The recordings of one or two files: read once, and again when a file has changed."""
    paths, own = [path for path, _ in files], dict(settings)
    arrays = [_arrays(path, own["target"]) for path in paths]
    where = " and ".join(map(str, paths))
    if len(arrays) == 2:
        arrays = [_joined(where, *arrays)]
    with _named(where):
        return _made(arrays[0], own)


def _made(arrays: dict[str, Any], own: dict[str, Any]) -> Recordings:
    common: dict[str, Any] = {name: arrays.get(name) for name in ("groups", "split")}
    common |= {name: own[name] for name in ("validation", "test", "seed", "period", "dt")}
    common["labels"] = arrays.get("labels", ())
    sampled = "stimuli" if "stimuli" in arrays else "targets"
    if own["period"] is None and arrays[sampled].ndim == 3:
        raise ValueError(f"{sampled} are samples: say in task.period how long one lasts, ms")
    if "stimuli" in arrays:
        for name in ("duration", "units"):
            if own[name] is not None:
                raise ValueError(
                    f"task.{name} is of events, but the file has samples (`stimuli`): leave it out"
                )
        return Recordings.from_arrays(
            arrays["stimuli"], arrays["targets"], lengths=arrays.get("lengths"),
            standardise=own["standardise"], **common
        )  # fmt: skip
    if own["standardise"]:
        raise ValueError("task.standardise is of samples, but the file has events: leave it out")
    if own["target"] == "class" and own["period"] is not None:
        raise ValueError("task.period is of samples, but the file has events and classes: leave it out")
    duration = own["duration"]
    if duration is None and "duration" in arrays:
        duration = _in_ms(arrays["duration"], own["factor"])
    return Recordings.from_events(
        _in_ms(arrays["times"], own["factor"]), arrays["units"], arrays["trial"], arrays["targets"],
        channels=own["units"], duration=duration, overflow=own["overflow"], value=own["value"], **common,
    )  # fmt: skip


def _in_ms(times: np.ndarray, factor: float) -> np.ndarray:
    """In the file's own precision, so that a round number stays one."""
    if times.dtype == np.float16 or times.dtype.kind != "f":
        times = times.astype(np.float32 if times.dtype == np.float16 else np.float64)
    return times * times.dtype.type(factor) if factor >= 1 else times / times.dtype.type(round(1 / factor))


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """A context whose `ValueError` is about a file, and says so."""
    try:
        yield
    except ValueError as error:
        raise FileError(f"{where}: {error}") from error


@contextlib.contextmanager
def _file(path: Path) -> Iterator[AbstractArrays]:
    """The arrays of a file of either kind."""
    try:
        with open(path, "rb") as raw:
            start = raw.read(8)
            size = raw.seek(0, 2)
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror}): {ADVICE}") from None
    if start.startswith((b"PK", np.lib.format.MAGIC_PREFIX)):
        with arrays_of(path, ADVICE) as arrays:
            yield arrays
        return
    what = f"{path} is neither a complete .npz nor a complete HDF5 file"
    with one_line(what), opened(path, allowance(size)) as (file, plain):
        yield HDF5File(path, file, plain, allowance(size))


def _arrays(path: Path, target: str) -> dict[str, Any]:
    """What a file holds, by name, read and checked as far as names and shapes go; times of every event with
    its trial."""
    with _file(path) as file:
        _check_names(file)
        events, samples = ("times" in file or "units" in file), "stimuli" in file
        if events == samples:
            both = "has events (times, units) and samples (stimuli): put them into two files"
            none = f"has no events (times, units, trial) and no samples (stimuli): {file.inventory()}"
            raise FileError(f"{path} {both if events else none}")
        found: dict[str, Any] = {"targets": _targets(file, target)}
        if samples:
            found["stimuli"] = file.numbers("stimuli", 3)
        else:
            found |= {"times": file.numbers("times", 1), "units": file.numbers("units", 1)}
            found["trial"] = _trial(file, len(found["times"]), len(found["targets"]))
        for name in {True: ("lengths",), False: ("duration",)}[samples]:
            if name in file:
                found[name] = file.numbers(name, 1)
        if "labels" in file:
            found["labels"] = file.text("labels")
        for name in ("groups", "split"):
            if name in file:
                found[name] = _column(file, name)
    count = len(found["targets"])
    for name in ("stimuli", "lengths", "duration", "groups", "split"):
        if name in found and len(found[name]) != count:
            raise FileError(f"{path}: {name} has {len(found[name])} entries for {count} trials (targets)")
    return found


def _check_names(file: AbstractArrays) -> None:
    """Raise `FileError` for an array of another name: groups that are called subjects would be missed by
    nobody."""
    for name in file.names:
        if name not in KNOWN:
            near = difflib.get_close_matches(name, KNOWN, n=1)
            hint = f"did you mean {near[0]}?" if near else f"leave it out; known are {', '.join(KNOWN)}"
            raise FileError(f"{file.path} has an array {shown(name)}: {hint}")


def _targets(file: AbstractArrays, target: str) -> np.ndarray:
    found = file.get("targets")
    if target == "signal":
        if found.ndim != 3:
            raise FileError(
                f"{file.path}: targets has shape {found.shape}, but task.target is signal: expected (trials, "
                "time, outputs)"
            )
        return file.numbers("targets", 3)
    if found.ndim != 1:
        raise FileError(
            f"{file.path}: targets has shape {found.shape}, but task.target is class: expected (trials,)"
            + ("; for signals set task.target = signal" if found.ndim == 3 else "")
        )
    return _column(file, "targets")


def _column(file: AbstractArrays, name: str) -> np.ndarray:
    """Whole numbers or words."""
    found = file.get(name, 1)
    if found.dtype.kind in "USO":
        return np.array(file.text(name), dtype=str)
    return whole_numbers(f"{file.path}: {name}", found.astype(np.uint8) if found.dtype == bool else found)


def _trial(file: AbstractArrays, events: int, trials: int) -> np.ndarray:
    """The trial of every event."""
    if "trial" in file or "offsets" not in file:
        if "trial" not in file:
            raise FileError(
                f"{file.path} has neither trial nor offsets, which say the trial of each event: "
                f"{file.inventory()}"
            )
        return file.numbers("trial", 1)
    offsets = whole_numbers(f"{file.path}: offsets", file.get("offsets", 1))
    if len(offsets) != trials + 1 or offsets[0] != 0 or offsets[-1] != events or (np.diff(offsets) < 0).any():
        raise FileError(
            f"{file.path}: offsets must be {trials + 1} numbers that rise from 0 to the number of events, "
            f"{events}"
        )
    return np.repeat(np.arange(trials), np.diff(offsets))


def _joined(where: str, train: dict[str, Any], test: dict[str, Any]) -> dict[str, Any]:
    """The recordings of two files, with the split that says which are for testing."""
    for one in (train, test):
        if "split" in one:
            raise FileError(
                f"{where}: there is an array split, but task.test_file says what is tested: leave one out"
            )
    if train.keys() != test.keys():
        differing = ", ".join(sorted(train.keys() ^ test.keys()))
        raise FileError(f"{where}: only one of the two files has {differing}")
    if train.get("labels") != test.get("labels"):
        raise FileError(f"{where} name different classes (labels)")
    counts = [len(one["targets"]) for one in (train, test)]
    found: dict[str, Any] = {"split": np.repeat(["train", "test"], counts)}
    for name in train:
        one, other = train[name], test[name]
        if name == "labels":
            found[name] = one
        elif name == "trial":
            found[name] = np.concatenate([one, other + counts[0]])
        elif one.ndim == 3:
            if one.shape[2] != other.shape[2]:
                raise FileError(f"{where}: {name} has {one.shape[2]} and {other.shape[2]} channels")
            steps = max(one.shape[1], other.shape[1])
            if one.shape[1] != other.shape[1] and name == "stimuli" and "lengths" not in train:
                raise FileError(
                    f"{where}: stimuli has {one.shape[1]} and {other.shape[1]} samples: say in lengths how "
                    "long trials are"
                )
            found[name] = np.concatenate(
                [np.pad(x, ((0, 0), (0, steps - x.shape[1]), (0, 0))) for x in (one, other)]
            )
        else:
            if (one.dtype.kind == "U") != (other.dtype.kind == "U"):
                raise FileError(f"{where}: {name} holds words in one file and numbers in the other")
            found[name] = np.concatenate([one, other])
    return found


__all__ = ["RecordingsFile"]
