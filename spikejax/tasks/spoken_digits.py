"""Spoken digits as the spikes of a cochlea, from files in the layout of the Spiking Heidelberg Digits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from ..encoders import hold
from .base import AbstractTask, Trial, stratified
from .spike_file import Events, Spikes, load

Value = Literal["count", "root", "binary"]
PART = 90
"""Trials in a part of a split."""


class Augmentation(eqx.Module):
    """Changes of a training recording, drawn anew each time it is seen.

    In this order: with probability `blend` a recording is mixed with another one of its class, whose spikes
    are moved by the difference of the two mean times and the two mean units, and half of the spikes of each
    are kept at random; time is stretched about 0 by a factor of ``1 +- stretch``; the recording moves by up
    to `shift` ms and by up to `channel_shift` units; every spike moves by normal noise of `jitter` ms; every
    spike is deleted with probability `drop`, and all of them in a band of up to `mask_units` units and in a
    stretch of up to `mask_time` ms. Spikes that leave the window or the range of units are lost.

    **Reference:** Cramer et al. 2020, doi:10.1109/TNNLS.2020.3044364 (jitter, channel noise); Nowotny et al.
    2022, arXiv:2212.01232 (channel shifts, blending); Park et al. 2019, arXiv:1904.08779 (masks).
    """

    blend: float = eqx.field(static=True, default=0.0)
    stretch: float = eqx.field(static=True, default=0.0)
    shift: float = eqx.field(static=True, default=0.0)
    channel_shift: int = eqx.field(static=True, default=0)
    jitter: float = eqx.field(static=True, default=0.0)
    drop: float = eqx.field(static=True, default=0.0)
    mask_units: int = eqx.field(static=True, default=0)
    mask_time: float = eqx.field(static=True, default=0.0)

    def __call__(self, spikes: Spikes, shape: tuple[int, int, float], rng: np.random.Generator) -> Spikes:
        """The spikes, changed (blending apart); `shape`: number of recordings, units and the window, ms."""
        size, limit, window = shape
        times, units, row = spikes
        if self.stretch:
            times = times * rng.uniform(1 - self.stretch, 1 + self.stretch, size).astype(np.float32)[row]
        if self.shift:
            times = times + rng.uniform(-self.shift, self.shift, size).astype(np.float32)[row]
        if self.channel_shift:
            units = units + rng.integers(-self.channel_shift, self.channel_shift + 1, size, np.int32)[row]
        if self.jitter:
            times = times + np.float32(self.jitter) * rng.standard_normal(len(times), np.float32)
        kept = rng.random(len(times), np.float32) >= self.drop if self.drop else np.ones(len(times), bool)
        for values, largest, end in ((units, self.mask_units, limit), (times, self.mask_time, window)):
            if largest:
                width = rng.uniform(0, largest, size).astype(np.float32)
                begin = (rng.uniform(0, 1, size) * (end - width)).astype(np.float32)
                kept &= (values < begin[row]) | (values >= (begin + width)[row])
        return Spikes(*(x if kept.all() else x[kept] for x in (times, units, row)))


def blended(
    one: Spikes, other: Spikes, rows: Int[np.ndarray, " mixed"], size: int, rng: np.random.Generator
) -> Spikes:
    """`one`, of `size` rows, with half of the spikes of each of `rows` exchanged for half of those of a row
    of `other`, aligned with it."""
    mixed = np.isin(np.arange(size), rows)
    kept = ~mixed[one.row] | _half(len(one.row), rng)
    new = Spikes(other.times, other.units, rows.astype(np.int32)[other.row])

    def means(spikes, values):
        return np.bincount(spikes.row, values, size) / np.maximum(np.bincount(spikes.row, minlength=size), 1)

    half = _half(len(new.row), rng)
    later, higher = (means(one, a) - means(new, b) for a, b in zip(one[:2], new[:2], strict=True))
    times, units, row = (x[half] for x in new)
    moved = times + later.astype(np.float32)[row], units + np.rint(higher).astype(np.int32)[row], row
    return Spikes(*(np.concatenate([a[kept], b]) for a, b in zip(one, moved, strict=True)))


def _half(count: int, rng: np.random.Generator) -> Bool[np.ndarray, " n"]:
    """True with probability 1/2."""
    return np.unpackbits(np.frombuffer(rng.bytes(count // 8 + 1), np.uint8), count=count).astype(bool)


def binned(
    spikes: Spikes, shape: tuple[int, int, int], width: float, units: int
) -> Float[np.ndarray, "trials bins bands"]:
    """Spike counts: a spike at t is in bin ``floor(t/width)`` of `width` ms, unit u in band ``u //
    (units/bands)``; others are left out."""
    (times, number, row), (_, bins, bands) = spikes, shape
    at = np.floor(times / np.float32(width)).astype(np.int32)
    inside = (at >= 0) & (at < bins) & (number >= 0) & (number < units)
    place = (row[inside].astype(np.int64) * bins + at[inside]) * bands + number[inside] // (units // bands)
    return np.bincount(place, minlength=int(np.prod(shape))).reshape(shape).astype(np.float32)


def _later(x: np.ndarray, bins: int) -> np.ndarray:
    """`x` so many bins later, silence moving in."""
    return np.concatenate([np.zeros_like(x[:, :bins]), x[:, : x.shape[1] - bins]], axis=1) if bins else x


class SpokenDigits(AbstractTask):
    """Labelled recordings that are kept as lists of spikes and binned when they are asked for, on the host:
    no array is ever larger than a batch, or a part of `PART` trials of a split. `split` alone, which nothing
    here calls, makes a whole one.

    **Arguments:** `events`: of the training and the test file; `numbers`: which recordings, by split, as
    pairs (file, recording); the others as in `spoken_digits`.
    """

    events: tuple[Events, Events]
    numbers: dict[str, Int[np.ndarray, "recordings 2"]]
    dt: float = eqx.field(static=True)
    window: float = eqx.field(static=True)
    bin: float = eqx.field(static=True)
    units: int = eqx.field(static=True)
    bands: int = eqx.field(static=True)
    delays: tuple[float, ...] = eqx.field(static=True)
    value: Value = eqx.field(static=True)
    augmentation: Augmentation

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
        if self.augmentation.blend:
            rows = np.flatnonzero(rng.random(size) < self.augmentation.blend)
            spikes = blended(spikes, self._spikes(self._partners(which[rows], rng)), rows, size, rng)
        spikes = self.augmentation(spikes, (size, self.units, self.window), rng)
        return self._trial(spikes, which, jax.random.split(jax.random.fold_in(key, step), size))

    def split(self, name):
        return self.take(name, np.arange(len(self.numbers[name])))

    def parts(self, name):
        return _Parts(self, name)

    def take(self, name: str, index: Int[np.ndarray, " trials"]) -> Trial:
        """Some trials of a split (``"train"`` too), unchanged by augmentation."""
        which = self.numbers[name][index]
        keys = jax.random.split(jax.random.key(len(name)), len(self.numbers[name]))
        return self._trial(self._spikes(which), which, keys[index])

    def speakers(self, name: str) -> Int[np.ndarray, " trials"]:
        """Speaker of every trial of a split."""
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
        return Trial(
            jnp.asarray(hold(x, self.bin, self.dt), jnp.result_type(float)), label, label=label, key=keys
        )


class _Parts:
    """A split in parts of nearly equal size, each made when its turn comes."""

    def __init__(self, task: SpokenDigits, name: str):
        self._task, self._name = task, name

    def __iter__(self) -> Iterator[Trial]:
        size = len(self._task.numbers[self._name])
        for begin in range(0, size, PART):
            yield self._task.take(self._name, np.arange(begin, min(begin + PART, size)))


def _each(events: tuple[Events, Events], which: Int[np.ndarray, "n 2"], field: str) -> Int[np.ndarray, " n"]:
    """A property of recordings, from whichever file each is in."""
    return np.where(
        which[:, 0] == 0,
        *(getattr(e, field)[np.where(which[:, 0] == k, which[:, 1], 0)] for k, e in enumerate(events)),
    )


def spoken_digits(
    dt: float,
    *,
    folder: Path,
    train: str = "shd_train.h5",
    test: str = "shd_test.h5",
    units: int = 700,
    channels: int = 140,
    window: float = 1400.0,
    bin: float = 10.0,
    delays: tuple[float, ...] = (0.0,),
    overflow: Literal["refuse", "cut"] = "refuse",
    value: Value = "count",
    validation: float = 0.1,
    held_out_speakers: tuple[int, ...] = (),
    blend: float = 0.0,
    stretch: float = 0.0,
    shift: float = 0.0,
    channel_shift: int = 0,
    jitter: float = 0.0,
    drop: float = 0.0,
    mask_units: int = 0,
    mask_time: float = 0.0,
    seed: int = 0,
) -> SpokenDigits:
    """Spoken digits, or any recordings in the layout of the Spiking Heidelberg Digits: `channels` bands of
    spike counts.

    Times are counted in bins of `bin` ms (a spike at t is in bin ``floor(t/bin)``), and each bin is held for
    ``bin/dt`` steps, so that a trial is the same at every `dt`. Neighbouring units are summed in bands. With
    `delays` the network also gets earlier bins, as further channels: a delay line, which spares it
    remembering the last moments.

    **Arguments:** `dt` (ms), a divisor of `bin`; `folder`, `train`, `test`: where the files are (a file may
    also end in ``.gz``); `units` of the recordings and `channels`, the number of bands, a divisor of them;
    `delays`: of each copy of the bands, ms, multiples of `bin` below the `window`; `window`: length of a
    trial, a multiple of `bin`, ms; `overflow`: whether recordings with spikes past it are refused or cut
    there; `value`: what a bin holds, its count, the square root of it (loud bands then vary about as much as
    faint ones), or 0 or 1; `validation`: fraction of every class taken out of the training recordings;
    `held_out_speakers`: their recordings, of both files, are the test split (by default the test file is),
    and nothing else sees them; the rest: see `Augmentation`; `seed`: of the validation split.

    **Raises:** `ValueError` for files that cannot be used (`spikejax.tasks.spike_file.load`) or do not belong
    together, speakers that do not exist, recordings past the window, and bins finer than the times in the
    file are known.

    **Reference:** Cramer, Stradmann, Schemmel & Zenke 2020, doi:10.1109/TNNLS.2020.3044364; delay lines:
    Nowotny et al. 2025, doi:10.1088/2634-4386/ada852.
    """
    if units % channels:
        raise ValueError(f"`channels` of {channels} does not divide the {units} units: use a divisor")
    if abs(window / bin - round(window / bin)) > 1e-6 or window < bin:
        raise ValueError(f"`bin` of {bin:g} ms does not divide the `window` of {window:g} ms")
    for delay in delays:
        if not 0 <= delay < window or abs(delay / bin - round(delay / bin)) > 1e-6:
            raise ValueError(
                f"a delay of {delay:g} ms is not a multiple of the `bin` of {bin:g} ms below the window of {window:g} ms"
            )
    hold(np.zeros((1, 1)), bin, dt)  # whether dt divides the bin
    paths = Path(folder) / train, Path(folder) / test
    events = tuple(load(path, units) for path in paths)
    if events[0].names != events[1].names:
        raise ValueError(f"{paths[0]} and {paths[1]} name different classes")
    for path, part in zip(paths, events, strict=True):
        _check_times(path, part, window, bin, overflow)
    numbers = _splits(events, validation, tuple(held_out_speakers), seed)
    augmentation = Augmentation(blend, stretch, shift, channel_shift, jitter, drop, mask_units, mask_time)
    return SpokenDigits(events, numbers, dt, window, bin, units, channels, tuple(delays), value, augmentation)


def _check_times(path: Path, events: Events, window: float, bin: float, overflow: str) -> None:
    if bin < events.resolution:
        raise ValueError(
            f"`bin` of {bin:g} ms is finer than the times in {path}, which are {events.times.dtype} in seconds and "
            f"{events.resolution:.2g} ms apart near {events.latest.max():.0f} ms: use a bin of at least that"
        )
    beyond = int(np.sum(events.latest >= window))
    if beyond and overflow == "refuse":
        raise ValueError(
            f"{path}: {beyond} of {len(events)} recordings have spikes at or past the end of the window of {window:g} ms, the last at "
            f"{events.latest.max():.0f} ms: use a longer task.window, or task.overflow = cut to leave those spikes out"
        )


def _splits(
    events: tuple[Events, Events], validation: float, held_out: tuple[int, ...], seed: int
) -> dict[str, np.ndarray]:
    numbers = [np.stack([np.full(len(e), k), np.arange(len(e))], axis=1) for k, e in enumerate(events)]
    known = np.unique(np.concatenate([e.speakers for e in events]))
    for speaker in held_out:
        if speaker not in known:
            raise ValueError(
                f"held_out_speakers names speaker {speaker}, but the recordings are by {', '.join(map(str, known))}"
            )
    own = [np.isin(e.speakers, held_out) for e in events]
    train = numbers[0][~own[0]]
    if len(train) == 0:
        raise ValueError("held_out_speakers leaves no speaker to train on")
    kept, held = stratified(_each(events, train, "labels"), validation, seed)
    test = np.concatenate([n[o] for n, o in zip(numbers, own, strict=True)]) if held_out else numbers[1]
    return {"train": train[kept], "validation": train[held], "test": test}


__all__ = ["Augmentation", "SpokenDigits", "binned", "blended", "spoken_digits"]
