"""Recordings of event cameras as a task."""

import functools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..component import option
from ..encoders import step_of
from ..reading import FileError
from ..stimulus import steps_in
from .base import TASKS
from .event_collections import Recording, dataset_recordings, folder_recordings, read_collection
from .event_files import check_places, in_order
from .image_changes import ImageChanges
from .options import (
    drop_option,
    form_option,
    fraction_option,
    overflow_option,
    rotate_option,
    seed_option,
    shear_option,
    shift_option,
    value_option,
    zoom_option,
)
from .read_recordings import AbstractReadRecordings
from .recordings import Recordings
from .splits import split_trials
from .trial_arrays import EventTrials, class_targets, sorted_trials

POLARITIES = ("both", "merged", "on", "off")


class _Lens(NamedTuple):
    """How the events of a recording become those of a trial."""

    dt: float
    sensor: tuple[int, int]
    duration: float | None
    overflow: str
    crop: tuple[int, ...]
    downsample: int
    polarity: str
    value: str
    order: str

    @property
    def window(self) -> tuple[int, int, int, int]:
        """Top, left, height and width of what is seen of the sensor."""
        top, left, height, width = self.crop or (0, 0, *self.sensor)
        return top, left, height, width

    @property
    def channels(self) -> tuple[int, int, int]:
        """(polarity, height, width), as convolutions and images have it: kinds first, then rows and
        columns."""
        _, _, height, width = self.window
        return 2 if self.polarity == "both" else 1, height // self.downsample, width // self.downsample

    def check(self) -> None:
        """Raise `ValueError` for what does not fit together."""
        top, left, height, width = self.window
        if top + height > self.sensor[0] or left + width > self.sensor[1] or min(height, width) < 1:
            raise ValueError(
                f"`crop` of top {top}, left {left}, height {height} and width {width} reaches outside the "
                f"`sensor` of {self.sensor[0]} x {self.sensor[1]} pixels"
            )
        if height % self.downsample or width % self.downsample:
            raise ValueError(
                f"`downsample` ({self.downsample}) must divide height and width, {height} x {width}: crop to "
                "a multiple"
            )
        if self.duration is not None:
            steps_in(self.duration, self.dt, "`duration`")

    def __call__(self, one: Recording) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Step, channel and value of the events of a trial, in the order of steps, and the time of the last
        one in the recording, ms."""
        check_places(one.where, one.events, self.sensor)
        x, y, p, t = (a.astype(np.int64) for a in in_order(one.where, one.events, self.order))
        last = 1e-3 * float(t[-1]) if len(t) else 0.0
        step = step_of(1e-3 * t, self.dt).astype(np.int64)
        kept = np.ones(len(t), bool)
        if self.duration is not None:
            kept = step < math.ceil(steps_in(self.duration, self.dt, "`duration`") * (1 - 1e-9))
            if self.overflow == "refuse" and not kept.all():
                raise FileError(
                    f"{one.where} has events at or past the end of {self.duration:g} ms, "
                    f"{int((~kept).sum())} of {len(t)}, the last at {last:.4g} ms: use a longer duration, or "
                    "overflow = cut to leave them out"
                )
        top, left, height, width = self.window
        kept &= (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
        if self.polarity in ("on", "off"):
            kept &= p == (self.polarity == "on")
        row, column = (y - top) // self.downsample, (x - left) // self.downsample
        kinds, rows, columns = self.channels
        channel = ((p if kinds == 2 else 0 * p) * rows + row) * columns + column
        # Several events of a pixel in a step are one of a higher value.
        place, count = np.unique((step * (kinds * rows * columns) + channel)[kept], return_counts=True)
        value = {"count": count, "root": np.sqrt(count), "binary": np.ones_like(count)}[self.value]
        step, channel = np.divmod(place, kinds * rows * columns)
        return step.astype(np.int32), channel.astype(np.int32), value, last


class _Seen(NamedTuple):
    """All recordings as events of trials."""

    trials: EventTrials
    labels: list[Any]
    groups: np.ndarray | None = None
    split: np.ndarray | None = None


def _seen(recordings: Iterable[Recording], lens: _Lens) -> _Seen:
    """What is seen of all recordings; of each only that is kept."""
    steps, channels, values, counts, labels, last = [], [], [], [], [], 0.0
    for one in recordings:
        step, channel, value, end = lens(one)
        steps.append(step)
        channels.append(channel)
        values.append(value)
        counts.append(len(step))
        labels.append(one.label)
        last = max(last, end)
    if not labels:
        raise ValueError("there are no recordings")
    if lens.duration is None:
        length = int(step_of(np.array([last]), lens.dt)[0]) + 1
        steps_in(last, lens.dt, "the time up to the last event")
    else:
        length = math.ceil(lens.duration / lens.dt * (1 - 1e-9))
    step, channel, value = (np.concatenate(x) for x in (steps, channels, values))
    return _Seen(sorted_trials(step, channel, value, np.array(counts), (length, lens.channels)), labels)


def _task(parts: list[_Seen], held: dict[str, Any], **more: Any) -> Recordings:
    """The task of what is seen: of all recordings, or of those to train on and those to test with.

    **Arguments:** `held`: fractions held out, and the seed; `more`: changes in training, and the form.
    """
    labels = np.array([label for part in parts for label in part.labels])
    classes, names = class_targets(labels, ())
    split, count = parts[0].split, len(parts[0].labels)
    if len(parts) > 1:
        if any(part.split is not None for part in parts):
            raise ValueError("there is an array split, but test says what is tested: leave one of them out")
        split = np.repeat(["train", "test"], [count, len(labels) - count])
    known = [part.groups for part in parts if part.groups is not None]
    if len(known) not in (0, len(parts)):
        raise ValueError("only one of the two has groups: give both, or none")
    groups = np.concatenate(known) if known else None
    index = split_trials(len(labels), classes=classes, names=names, groups=groups, split=split, **held)
    longest = max(part.trials.steps for part in parts)
    stimuli = {}
    for name, chosen in index.items():
        of_test = len(parts) > 1 and name == "test"
        part, own = (parts[1], chosen - count) if of_test else (parts[0], chosen)
        stimuli[name] = part.trials.of(own).lasting(longest)
    targets = {name: jnp.asarray(classes[chosen]) for name, chosen in index.items()}
    return Recordings(stimuli, targets, labels=names, **more)


def from_tonic(
    dataset: Iterable[tuple[Any, Any]],
    *,
    sensor: tuple[int, int],
    dt: float,
    test: Iterable[tuple[Any, Any]] | None = None,
    duration: float | None = None,
    overflow: str = "refuse",
    crop: tuple[int, ...] = (),
    downsample: int = 1,
    polarity: str = "both",
    value: str = "count",
    groups: Any = None,
    validation: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    **changes: Any,
) -> Recordings:
    """A data set of tonic's, or any other sequence of pairs (events, class), as a task.

    Events are a structured array with the fields ``t`` (us), ``x``, ``p`` and, if the sensor has more rows
    than one, ``y``, in any order. They are read once, and kept as lists of a few bytes an event. This package
    does not need tonic: ``pip install tonic`` where it is wanted.

    **Arguments:** `dataset`: what is trained on and chosen by; `test`: what is tested on, default: a part of
    `dataset`; `sensor`: height and width, such as ``dataset.sensor_size[1::-1]``; `dt`, `duration` in ms;
    `groups`: subject of each; `test_fraction`, `validation`: parts held out; `changes`: `drop`,
    `shift_steps`, `shift_places`, `rotate`, `zoom`, `shear`, `form`, see `Recordings`; the others as in
    `EventCamera`.

    **Raises:** `ValueError` in one line, which names the recording.
    """
    height, width = (int(n) for n in sensor)
    lens = _Lens(
        dt, (height, width), duration, overflow, tuple(crop), downsample, polarity, value, order="sort"
    )
    lens.check()
    named = {"dataset": dataset} | ({} if test is None else {"test": test})
    seen = [_seen(dataset_recordings(name, one), lens) for name, one in named.items()]
    if groups is not None:
        seen[0] = seen[0]._replace(groups=np.asarray(groups).reshape(-1))
    held = {"validation": validation, "test": test_fraction, "seed": seed}
    return _task(seen, held, **{"form": "auto"} | changes)


@TASKS.register("event_camera")
class EventCamera(AbstractReadRecordings):
    """Recordings of an event camera with a class each, such as N-MNIST.

    The stimulus has the shape (polarity, height, width), so that a convolution finds kinds, rows and columns
    where it expects them; the polarity darker comes first. An event at t is in step ``floor(t/dt)``.
    Recordings are read once, and kept as lists of a few bytes an event.

    **Arguments:** `dt` (ms); `train`: a folder with a sub-folder of recordings for every class, of the kinds
    in `spikejax.tasks.event_files`, or an ``.npz`` file of many (`read_collection`); `test`: the same, of
    what is tested (default: a part of `train`); `sensor`: height and width in pixels; `duration` of all
    trials, ms; `overflow`: events past it; `order`: events that are earlier than the one before; `crop`: top,
    left, height and width of what is seen; `downsample`: so many rows and columns of pixels are summed;
    `polarity`: both, merged into one, or one of them; `value`: what a step holds of a pixel; `validation`,
    `test_fraction`: held out; `drop`, `shift` (ms), `shift_pixels`, `rotate` (degrees), `zoom`, `shear`:
    changes in training (`ImageChanges`); `form`: what trials are handed on as; `seed`: of the validation
    split.

    **Raises:** `ValueError` for a crop outside the sensor, and a downsampling that does not divide it; when
    trials are first asked for, in one line that names file and record, for what cannot be read.

    **Reference:** Orchard et al. 2015, doi:10.3389/fnins.2015.00437 (N-MNIST).
    """

    target: ClassVar[str] = "class"

    dt: float = option(unit="ms", doc="time step", above=0.0, in_table=False, kw_only=False)
    train: Path = option(
        doc="folder with a sub-folder of recordings for every class, or an .npz file of many", staged=False
    )
    test: Path | None = option(
        None, doc="the same, of the test recordings; default: part of train is", staged=False
    )
    sensor: tuple[int, ...] = option(
        (34, 34), doc="height and width of the sensor, pixels", at_least=1, length=(2, 2), staged=False
    )
    duration: float | None = option(
        None, unit="ms", doc="length of all trials; default: up to the last event", above=0.0
    )
    overflow: str = overflow_option()
    order: str = option(
        "refuse",
        doc="events that are earlier than the one before: an error, or sorted",
        choices=("refuse", "sort"),
        staged=False,
    )
    crop: tuple[int, ...] = option(
        (),
        doc="top, left, height and width of what is seen of the sensor; default: all",
        at_least=0,
        length=(0, 4),
        staged=False,
    )
    downsample: int = option(
        1, doc="so many rows, and columns, of pixels are summed to one", at_least=1, staged=False
    )
    polarity: str = option(
        "both",
        doc="channels: brighter and darker apart, merged, or one of them",
        choices=POLARITIES,
        staged=False,
    )
    value: str = value_option("a step holds of a pixel")
    validation: float = fraction_option(
        0.1, "fraction of the recordings that are no test recordings, held out"
    )
    test_fraction: float = fraction_option(
        0.2, "fraction of the recordings that is the test split, without test"
    )
    drop: float = drop_option("the input of a pixel in a step")
    shift: float = shift_option()
    shift_pixels: int = option(
        0, doc="largest shift of a training trial in height and in width, pixels", at_least=0
    )
    rotate: float = rotate_option()
    zoom: float = zoom_option()
    shear: float = shear_option()
    form: str = form_option("auto")
    seed: int = seed_option()

    def __check_init__(self):
        super().__check_init__()
        if len(self.crop) not in (0, 4):
            raise ValueError(f"`crop` has {len(self.crop)} numbers: give top, left, height and width")
        self._lens.check()

    @property
    def _lens(self) -> _Lens:
        height, width = self.sensor
        return _Lens(
            self.dt, (height, width), self.duration, self.overflow, self.crop, self.downsample, self.polarity,
            self.value, self.order,
        )  # fmt: skip

    @property
    def channels(self):
        return self._lens.channels

    @property
    def channel_label(self):
        return "pixel, row by row" + (", darker first" if self.polarity == "both" else "")

    @property
    def image_changes(self):
        return ImageChanges(self.shift_pixels, self.rotate, self.zoom, self.shear)

    @property
    def _data(self) -> Recordings:
        places = tuple((path, _changed(path)) for path in (self.train, self.test) if path is not None)
        return _read(places, self._lens, self.validation, self.test_fraction, self.seed)


def _changed(path: Path) -> tuple[int, ...]:
    """When a file, or a folder of folders, was changed: a file that comes or goes changes its folder."""
    try:
        every = [path, *(p for p in path.iterdir() if p.is_dir())] if path.is_dir() else [path]
        return tuple(sorted(p.stat().st_mtime_ns for p in every))
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror}): set task.train and task.test") from None


@functools.lru_cache(maxsize=4)
def _read(
    places: tuple[tuple[Path, tuple[int, ...]], ...],
    lens: _Lens,
    validation: float,
    test_fraction: float,
    seed: int,
) -> Recordings:
    """The recordings of one or two places: read once, and again when one has changed."""
    seen = []
    for path, _ in places:
        if path.is_dir():
            seen.append(_seen(folder_recordings(path, lens.sensor, lens.order), lens))
            continue
        many = read_collection(path)
        if many.labels is None:
            raise FileError(f"{path} has no array label: the class of every recording is not known")
        pairs = zip(many.recordings, many.labels, strict=True)
        found = _seen((Recording(f"{path}: recording {i}", e, k) for i, (e, k) in enumerate(pairs)), lens)
        seen.append(found._replace(groups=many.groups, split=many.split))
    held = {"validation": validation, "test": test_fraction, "seed": seed}
    try:
        return _task(seen, held)
    except ValueError as error:
        raise FileError(f"{' and '.join(str(path) for path, _ in places)}: {error}") from error


__all__ = ["EventCamera", "from_tonic"]
