"""Spoken digits as the spikes of a cochlea, from files in the layout of the Spiking Heidelberg Digits."""

import functools
from pathlib import Path
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from ..component import option
from ..encoders import hold, steps_held
from ..event_path import list_path
from ..stimulus import Events, steps_in
from .augmentation import Augmentation, binned, blended
from .base import TASKS, AbstractTask, Parts, Trial
from .options import form_option, seed_option
from .spike_file import SPEAKER, Found, Spikes, found, load
from .spike_file import Events as Recorded
from .splits import stratified

PART = 90
"""Trials in a part of a split."""


def _later(x: np.ndarray, bins: int) -> np.ndarray:
    """`x` so many bins later, silence moving in."""
    return np.concatenate([np.zeros_like(x[:, :bins]), x[:, : x.shape[1] - bins]], axis=1) if bins else x


class _Data(NamedTuple):
    events: tuple[Recorded, Recorded]
    numbers: dict[str, Int[np.ndarray, "recordings 2"]]


@TASKS.register("spoken_digits")
class SpokenDigits(AbstractTask, Augmentation):
    """Spoken digits as spikes of a cochlea: files in the layout of the Spiking Heidelberg Digits, which are
    not part of the package.

    The recordings are kept as lists of spikes and binned when they are asked for, on the host: no array is
    ever larger than a batch, or a part of `PART` trials of a split. `split` alone makes a whole one.

    Times are counted in bins of `bin` ms (a spike at t is in bin ``floor(t/bin)``), and each bin is held for
    ``bin/dt`` steps, so that a trial is the same at every `dt`. Neighbouring units are summed in bands. With
    `delays` the network also gets earlier bins, as further channels: a delay line, which spares it
    remembering the last moments.

    **Arguments:** `dt` (ms), a divisor of `bin`; `folder`, `train`, `test`: where the files are (a file may
    also end in ``.gz``); `units` of the recordings and `bands`, the number of bands, a divisor of them;
    `delays`: of each copy of the bands, ms, multiples of `bin` below the `window`; `window`: length of a
    trial, a multiple of `bin`, ms; `overflow`: whether recordings with spikes past it are refused or cut
    there; `value`: what a bin holds, its count, the square root of it (loud bands then vary about as much as
    faint ones), or 0 or 1; `validation`: fraction of every class taken out of the training recordings;
    `held_out_speakers`: their recordings, of both files, are the test split (by default the test file is),
    and nothing else sees them; `form`: whether trials are arrays or lists of events, which pay where a step
    is a bin; the rest: see `Augmentation`; `seed`: of the validation split.

    **Raises:** `ValueError` for what does not divide each other; when trials are first asked for, for files
    that cannot be used (`spikejax.tasks.spike_file.load`) or do not belong together, speakers that do not
    exist, recordings past the window, and bins finer than the times in the file are known.

    **Reference:** Cramer, Stradmann, Schemmel & Zenke 2020, doi:10.1109/TNNLS.2020.3044364; delay lines:
    Nowotny et al. 2025, doi:10.1088/2634-4386/ada852.
    """

    target: ClassVar[str] = "class"

    dt: float = option(unit="ms", doc="time step", above=0.0, in_table=False, kw_only=False)
    folder: Path = option(doc="folder with the recordings", staged=False)
    train: str = option(
        "shd_train.h5", doc="file of the training recordings; it may also end in .gz", staged=False
    )
    test: str = option("shd_test.h5", doc="file of the test recordings; it may also end in .gz", staged=False)
    units: int = option(700, doc="input units of the recordings", at_least=1.0, staged=False)
    bands: int = option(
        140, doc="bands that neighbouring units are summed in; a divisor of units", at_least=1.0, staged=False
    )
    window: float = option(1400.0, unit="ms", doc="length of a trial; a multiple of bin", above=0.0)
    bin: float = option(
        10.0,
        unit="ms",
        doc="spikes are counted in bins of this, held for bin/dt steps; dt divides it",
        above=0.0,
    )
    delays: tuple[float, ...] = option(
        (0.0,),
        unit="ms",
        doc="delays of copies of the bands, side by side; multiples of bin",
        at_least=0.0,
        length=(1, None),
        staged=False,
    )
    overflow: str = option(
        "refuse",
        doc="recordings with spikes past the window: an error, or cut there",
        choices=("refuse", "cut"),
    )
    value: str = option(
        "count",
        doc="what a bin holds: the count, its square root, or 0 or 1",
        choices=("count", "root", "binary"),
    )
    validation: float = option(
        0.1, doc="fraction of the training recordings held out", above=0.0, below=1.0, staged=False
    )
    held_out_speakers: tuple[int, ...] = option(
        (),
        doc="speakers whose recordings are the test split, and in no other; default: none, the test file is "
        "the test split",
        at_least=0.0,
        staged=False,
    )
    form: str = form_option()
    seed: int = seed_option()

    def __check_init__(self):
        super().__check_init__()
        if self.units % self.bands:
            raise ValueError(f"`bands` ({self.bands}) must be a divisor of `units` ({self.units})")
        steps_in(self.window, min(self.bin, self.dt), "`window`")
        if abs(self.window / self.bin - round(self.window / self.bin)) > 1e-6 or self.window < self.bin:
            raise ValueError(f"`window` ({self.window:g} ms) must be a multiple of `bin` ({self.bin:g} ms)")
        for delay in self.delays:
            if delay >= self.window or abs(delay / self.bin - round(delay / self.bin)) > 1e-6:
                raise ValueError(
                    f"`delays`: a delay of {delay:g} ms is not a multiple of the `bin` of {self.bin:g} ms "
                    f"below the window of {self.window:g} ms"
                )
        steps_held(self.bin, self.dt)  # whether dt divides the bin

    @property
    def events(self) -> tuple[Recorded, Recorded]:
        """Of the training and the test file."""
        return self._data.events

    @property
    def numbers(self) -> dict[str, Int[np.ndarray, "recordings 2"]]:
        """Which recordings, by split, as pairs (file, recording)."""
        return self._data.numbers

    @property
    def _data(self) -> _Data:
        train = found(self.folder / self.train)
        load(train.path, self.units)  # a file that is wrong comes before one that is absent
        files = train, found(self.folder / self.test)
        return _read(
            files,
            self.units,
            (self.window, self.bin, self.overflow),
            self.validation,
            self.held_out_speakers,
            self.seed,
        )

    @property
    def channel_label(self):
        if len(self.delays) == 1:
            return "band of frequencies"
        ms = ", ".join(f"{delay:g}" for delay in self.delays)
        return f"{self.bands} bands for each delay,\n{ms} ms"

    @property
    def channels(self) -> int:
        return self.bands * len(self.delays)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.events[0].names

    @property
    def outputs(self) -> int:
        return len(self.labels)

    @property
    def trials(self) -> int:
        return len(self.numbers["train"])

    def batch(self, key, step, size):
        step = int(step)
        entropy = np.asarray(jax.random.key_data(key)).tolist()
        per_epoch = max(self.trials // size, 1)
        order = np.random.default_rng([*entropy, 0, step // per_epoch]).permutation(self.trials)
        which = self.numbers["train"][order[(step % per_epoch * size + np.arange(size)) % self.trials]]
        rng = np.random.default_rng([*entropy, 1, step])
        spikes = self._spikes(which)
        if self.blend:
            rows = np.flatnonzero(rng.random(size) < self.blend)
            spikes = blended(spikes, self._spikes(self._partners(which[rows], rng)), rows, size, rng)
        spikes = self.augmented(spikes, (size, self.units, self.window), rng)
        return self._trial(spikes, which, jax.random.split(jax.random.fold_in(key, step), size))

    def split(self, name):
        return self.take(name, np.arange(len(self.numbers[name])))

    def parts(self, name):
        return Parts(lambda index: self.take(name, index), len(self.numbers[name]), PART)

    def take(self, name: str, index: Int[np.ndarray, " trials"]) -> Trial:
        """Some trials of a split (``"train"`` too), unchanged by augmentation."""
        which = self.numbers[name][index]
        keys = jax.random.split(jax.random.key(len(name)), len(self.numbers[name]))
        return self._trial(self._spikes(which), which, keys[index])

    def speakers(self, name: str) -> Int[np.ndarray, " trials"]:
        """Speaker of every trial of a split.

        **Raises:** `ValueError` for files that do not say.
        """
        _speakers(self.events, "`speakers`")
        return _each(self.events, self.numbers[name], "speakers")

    def classes(self, name: str) -> Int[np.ndarray, " trials"]:
        """Class of every trial of a split."""
        return _each(self.events, self.numbers[name], "labels")

    def _spikes(self, which) -> Spikes:
        found = []
        for k, events in enumerate(self.events):
            rows = np.flatnonzero(which[:, 0] == k)
            times, units, row = events.of(which[rows, 1])
            found.append((times, units, rows.astype(np.int32)[row]))
        return Spikes(*(np.concatenate(x) for x in zip(*found, strict=True)))

    def _partners(self, which, rng):
        """For every recording another one of its class, or itself if it is the only one."""
        train = self.numbers["train"]
        classes, own = self.classes("train"), _each(self.events, which, "labels")
        partners = which.copy()
        for i, label in enumerate(own):
            others = train[(classes == label) & (train != which[i]).any(axis=1)]
            if len(others):
                partners[i] = others[rng.integers(len(others))]
        return partners

    def _trial(self, spikes, which, keys) -> Trial:
        x = binned(spikes, (len(which), round(self.window / self.bin), self.bands), self.bin, self.units)
        x = {"count": lambda: x, "root": lambda: np.sqrt(x), "binary": lambda: np.minimum(x, 1)}[self.value]()
        x = np.concatenate([_later(x, round(delay / self.bin)) for delay in self.delays], axis=2)
        label = jnp.asarray(_each(self.events, which, "labels"))
        most = self._most
        path = list_path(self.form, most / x[0].size)
        if path is not None:
            stimulus = self._listed(x, most, path)
        else:
            stimulus = jnp.asarray(hold(x, self.bin, self.dt), jnp.result_type(float))
        return Trial(stimulus, label, label=label, key=keys)

    @property
    def _most(self) -> int:
        """Most bins of a trial that can hold something: no more than it has spikes, of which a mixture may
        have those of two."""
        spikes = max(int(np.diff(events.offsets).max(initial=1)) for events in self.events)
        spikes *= 2 if self.blend else 1
        return min(spikes * len(self.delays), round(self.window / self.bin) * self.channels)

    def _listed(self, x: np.ndarray, most: int, path: str) -> Events:
        """Bins as lists of events, filled up to `most` bins, each of which is held for ``bin/dt`` steps."""
        held, size = steps_held(self.bin, self.dt), x.shape[1] * x.shape[2]
        trial, place = np.nonzero(x.reshape(len(x), size))
        count = np.bincount(trial, minlength=len(x))
        at = trial, np.arange(len(trial)) - (np.cumsum(count) - count)[trial]
        step, channel = (np.full((len(x), most), fill, np.int32) for fill in (x.shape[1] - 1, 0))
        value = np.zeros((len(x), most), x.dtype)
        step[at], channel[at] = np.divmod(place, x.shape[2])
        value[at] = x.reshape(len(x), size)[trial, place]
        if held > 1:
            # Every step that a bin is held for, in the order of steps.
            step = (held * step[..., None] + np.arange(held, dtype=np.int32)).reshape(len(x), -1)
            order = np.argsort(step, axis=1, kind="stable")
            channel, value = (np.repeat(a, held, axis=1) for a in (channel, value))
            step, channel, value = (np.take_along_axis(a, order, axis=1) for a in (step, channel, value))
        return Events(
            step, channel, value, steps=held * x.shape[1], channels=x.shape[2], ordered=True, path=path
        )


def _each(
    events: tuple[Recorded, Recorded], which: Int[np.ndarray, "n 2"], field: str
) -> Int[np.ndarray, " n"]:
    """A property of recordings, from whichever file each is in."""
    return np.where(
        which[:, 0] == 0,
        *(getattr(e, field)[np.where(which[:, 0] == k, which[:, 1], 0)] for k, e in enumerate(events)),
    )


@functools.lru_cache(maxsize=4)
def _read(
    files: tuple[Found, Found],
    units: int,
    time: tuple[float, float, str],
    validation: float,
    held_out: tuple[int, ...],
    seed: int,
) -> _Data:
    """The recordings of two files and their splits: read once, and again when a file has changed.

    **Arguments:** `time`: window and bin (ms), and what to do with spikes past the window.
    """
    events = load(files[0].path, units), load(files[1].path, units)
    if events[0].names != events[1].names:
        raise ValueError(f"{files[0].path} and {files[1].path} name different classes")
    for file, part in zip(files, events, strict=True):
        _check_times(file.path, part, *time)
    return _Data(events, _splits(events, validation, held_out, seed))


def _check_times(path: Path, events: Recorded, window: float, bin: float, overflow: str) -> None:
    if bin < events.resolution:
        raise ValueError(
            f"`bin` of {bin:g} ms is finer than the times in {path}, which are {events.times.dtype} in "
            f"seconds and {events.resolution:.2g} ms apart near {events.latest.max():.0f} ms: use a bin of "
            "at least that"
        )
    beyond = int(np.sum(events.latest >= window))
    if beyond and overflow == "refuse":
        raise ValueError(
            f"{path}: {beyond} of {len(events)} recordings have spikes at or past the end of the window of "
            f"{window:g} ms, the last at {events.latest.max():.0f} ms: use a longer task.window, or "
            "task.overflow = cut to leave those spikes out"
        )


def _speakers(events: tuple[Recorded, Recorded], what: str) -> list[np.ndarray]:
    """The speakers of both files, which `what` asks for."""
    known = [e.speakers for e in events if e.speakers is not None]
    if len(known) < len(events):
        raise ValueError(f"{what} needs the dataset {SPEAKER} in both files of recordings: it is missing")
    return known


def _splits(
    events: tuple[Recorded, Recorded], validation: float, held_out: tuple[int, ...], seed: int
) -> dict[str, np.ndarray]:
    numbers = [np.stack([np.full(len(e), k), np.arange(len(e))], axis=1) for k, e in enumerate(events)]
    own = [np.zeros(len(e), bool) for e in events]
    if held_out:
        by = _speakers(events, "held_out_speakers")
        known = np.unique(np.concatenate(by))
        for speaker in held_out:
            if speaker not in known:
                raise ValueError(
                    f"held_out_speakers names speaker {speaker}, but the recordings are by "
                    f"{', '.join(map(str, known))}"
                )
        own = [np.isin(each, held_out) for each in by]
    train = numbers[0][~own[0]]
    if len(train) == 0:
        raise ValueError("held_out_speakers leaves no speaker to train on")
    kept, held = stratified(_each(events, train, "labels"), validation, seed)
    test = np.concatenate([n[o] for n, o in zip(numbers, own, strict=True)]) if held_out else numbers[1]
    return {"train": train[kept], "validation": train[held], "test": test}


__all__ = ["PART", "SpokenDigits"]
