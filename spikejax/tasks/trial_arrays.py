"""From what a user has (lists of events, arrays, lists of arrays) to arrays of trials, checked."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Num, Shaped, UInt8

from ..encoders import hold, step_of
from ..reading import class_numbers, real_numbers, whole_numbers
from ..stimulus import Events, steps_in

LARGEST_TRIAL = 1 << 26
"""Numbers that the array of one trial may have: 256 MB in single precision, and many times that in training.
A wrong time or unit among the events would otherwise take all memory."""


class EventTrials(eqx.Module):
    """Stimuli of many trials as lists of events, one after the other: ``x[index]`` is the array of those
    trials. Takes the memory of the events, however many steps and channels there are."""

    step: Integer[Array, " events"]
    channel: Integer[Array, " events"]
    value: Num[Array, " events"]
    offsets: Int[Array, " ends"]
    """Trial i has the events ``offsets[i]`` to ``offsets[i + 1]``."""
    steps: int = eqx.field(static=True)
    channels: int | tuple[int, ...] = eqx.field(static=True)
    """Their number, or the shape in which they lie; an event counts them through all axes."""
    most: int = eqx.field(static=True)
    """Events of the trial that has most."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array that they stand for: ``(trials, time, *channels)``."""
        own = (self.channels,) if isinstance(self.channels, int) else self.channels
        return len(self), self.steps, *own

    @property
    def density(self) -> float:
        """Events of the trial that has most, by the numbers of its array."""
        return self.most / math.prod(self.shape[1:])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: Int[Array, " chosen"]) -> Float[Array, "chosen time *channels"]:
        return jax.vmap(Events.dense)(self.events(index))

    def events(self, index: Int[Array, " chosen"], path: str = "auto") -> Events:
        """Some trials as a batch of lists, in the order of steps, filled up to the longest there is."""
        begin, end = self.offsets[index][:, None], self.offsets[index + 1][:, None]
        at = begin + jnp.arange(self.most, dtype=self.offsets.dtype)[None]
        there = at < end
        at = jnp.where(there, at, 0)
        # What is not of the trial is an event of value 0, after all others.
        value = jnp.where(there, self.value[at].astype(jnp.result_type(float)), 0.0)
        step = jnp.where(there, self.step[at].astype(jnp.int32), self.steps - 1)
        return Events(
            step, self.channel[at], value, steps=self.steps, channels=self.channels, ordered=True, path=path
        )

    def lasting(self, steps: int) -> "EventTrials":
        """The same events, of trials of so many steps, at least their own."""
        return EventTrials(self.step, self.channel, self.value, self.offsets, steps, self.channels, self.most)

    def of(self, index: Int[np.ndarray, " chosen"]) -> "EventTrials":
        """Those of some trials."""
        offsets = np.asarray(self.offsets)
        count = np.diff(offsets)[index]
        at = np.arange(count.sum()) + np.repeat(offsets[index] - np.cumsum(count) + count, count)
        step, channel, value = (np.asarray(x)[at] for x in (self.step, self.channel, self.value))
        return sorted_trials(step, channel, value, count, (self.steps, self.channels))


def sorted_trials(step, channel, value, count, shape: tuple[int, int | tuple[int, ...]]) -> EventTrials:
    """Trials of events that are sorted by trial and step; `count`: of every trial; `shape`: steps and
    channels."""
    if not len(step):  # an array without entries cannot be indexed
        step, channel, value = (np.zeros(1, x.dtype) for x in (step, channel, value))
    most = max(shape[0], math.prod(shape[1]) if isinstance(shape[1], tuple) else shape[1])
    narrow = np.uint16 if most <= 1 << 16 else np.int32
    return EventTrials(
        jnp.asarray(step, narrow),
        jnp.asarray(channel, narrow),
        jnp.asarray(_narrow(value)),
        jnp.asarray(np.concatenate([[0], np.cumsum(count)]), jnp.int32),
        *shape,
        int(count.max(initial=0)),
    )


class Flat(NamedTuple):
    """Events of all trials, side by side."""

    times: Num[np.ndarray, " events"]
    units: Int[np.ndarray, " events"]
    trial: Int[np.ndarray, " events"]


def flat_events(times: Any, units: Any, trial: Any, trials: int) -> Flat:
    """Events as a user gives them, checked: flat lists with the trial of each, or, without `trial`, a list of
    times and of units for every trial.

    **Raises:** `ValueError` naming the argument, and the first event or trial that is wrong.
    """
    if trial is None:
        for name, lists in (("times", times), ("units", units)):
            if len(lists) != trials:
                raise ValueError(
                    f"`{name}` has {len(lists)} entries for {trials} trials: give a list for each trial, or "
                    "flat lists and the `trial` of every event"
                )
        pairs = [(_vector(f"`times` of trial {i}", t), _vector(f"`units` of trial {i}", u))
                 for i, (t, u) in enumerate(zip(times, units, strict=True))]  # fmt: skip
        for i, (t, u) in enumerate(pairs):
            if len(t) != len(u):
                raise ValueError(f"trial {i} has {len(t)} `times` and {len(u)} `units`: give one for each")
        trial = np.repeat(np.arange(trials), [len(t) for t, _ in pairs])
        # Without the empty ones, whose type says nothing.
        times, units = (
            np.concatenate([x for x in lists if len(x)] or [np.zeros(0)])
            for lists in zip(*pairs, strict=True)
        )
    times, units, trial = (
        _vector(f"`{name}`", x) for name, x in (("times", times), ("units", units), ("trial", trial))
    )
    if len({len(times), len(units), len(trial)}) > 1:
        raise ValueError(
            f"`times` has {len(times)} entries, `units` {len(units)} and `trial` {len(trial)}: give one each "
            "for every event"
        )
    # Half precision is coarser than most steps and overflows in ms.
    times = times.astype(np.float32) if times.dtype == np.float16 else times
    real_numbers("`times`", times)
    if (times < 0).any():
        first = int(np.argmax(times < 0))
        raise ValueError(f"`times` holds {times[first]:g} (event {first}): times start at 0")
    units, trial = whole_numbers("`units`", units), whole_numbers("`trial`", trial)
    if len(trial) and not 0 <= trial.min() <= trial.max() < trials:
        raise ValueError(
            f"`trial` goes from {trial.min()} to {trial.max()}, but there are {trials} trials: number them 0 "
            f"to {trials - 1}"
        )
    return Flat(times, units, trial)


def _vector(name: str, x: Any) -> np.ndarray:
    """As an array with one axis."""
    try:
        found = np.asarray(x)
    except ValueError:
        found = np.empty((), object)
    if found.ndim != 1 or found.dtype.kind not in "biuf":
        if found.dtype.kind == "O":
            raise ValueError(f"{name} is a ragged list: give one number for every event, in one list")
        raise ValueError(f"{name} is of shape {found.shape} and type {found.dtype}: give a list of numbers")
    return found.astype(int) if found.dtype.kind == "b" else found


def event_trials(
    events: Flat,
    trials: int,
    *,
    dt: float,
    channels: int | None = None,
    duration: float | Sequence[float] | np.ndarray | None = None,
    overflow: str = "refuse",
    value: str = "count",
) -> tuple[EventTrials, Int[np.ndarray, " trials"] | None]:
    """Events in steps of `dt` ms, and the length of every trial in steps; None if all are equally long.

    **Arguments:** see `Recordings.from_events`.

    **Raises:** `ValueError` for units past `channels`, durations out of range, and events past the end of
    their trial, if these are refused.
    """
    for name, word, known in (
        ("overflow", overflow, ("refuse", "cut")), ("value", value, ("count", "root", "binary")),
    ):  # fmt: skip
        if word not in known:
            raise ValueError(f"`{name}` is {word!r}, but must be one of {', '.join(known)}")
    times, units, trial = events
    most = units.max(initial=-1) + 1
    channels = max(int(most), 1) if channels is None else channels
    if len(units) and not 0 <= units.min() <= units.max() < channels:
        wrong = units.min() if units.min() < 0 else units.max()
        raise ValueError(f"`units` holds unit {wrong}, but there are {channels}: 0 to {channels - 1}")
    steps_in(float(times.max(initial=0)), dt, "`times`: the time up to the last event")
    step = step_of(times, dt).astype(np.int64)
    if duration is None:
        steps, lengths = int(step.max(initial=0)) + 1, None
    else:
        length = _lengths_in_steps(duration, trials, dt)
        steps, beyond = int(length.max()), step >= length[trial]
        if beyond.any() and overflow == "refuse":
            first = int(np.argmax(np.where(beyond, times, -1)))
            raise ValueError(
                f"`times` holds {times[first]:g} ms in trial {trial[first]}, at or past its end of "
                f"{length[trial[first]] * dt:g} ms, and {int(beyond.sum())} events like it: use a longer "
                "`duration`, or overflow = cut to leave them out"
            )
        step, units, trial = (x[~beyond] for x in (step, units, trial))
        lengths = None if (length == steps).all() else length
    if steps * channels > LARGEST_TRIAL:
        raise ValueError(
            f"a trial of {steps} steps ({steps * dt:g} ms) of {channels} units is more than {LARGEST_TRIAL} "
            "numbers: is each time in ms, and each unit one that there is? If so, use longer steps"
        )
    # Several events of a unit in a step are one of a higher value.
    place, count = np.unique((trial * steps + step) * channels + units, return_counts=True)
    values = {"count": count, "root": np.sqrt(count), "binary": np.ones_like(count)}[value]
    number = np.bincount(place // (steps * channels), minlength=trials)
    step, channel = place // channels % steps, place % channels
    return sorted_trials(step, channel, values, number, (steps, channels)), lengths


def _lengths_in_steps(duration: Any, trials: int, dt: float) -> Int[np.ndarray, " trials"]:
    found = real_numbers("`duration`", np.asarray(duration))
    if found.ndim and found.shape != (trials,):
        raise ValueError(f"`duration` has shape {found.shape} for {trials} trials: give one, or one for each")
    if not (found > 0).all():
        raise ValueError(f"`duration` holds {found.min():g} ms: a trial is longer than 0")
    steps_in(float(found.max()), dt, "`duration`")
    # A duration that no step divides ends with the step that it ends in.
    return np.broadcast_to(np.ceil(found / dt * (1 - 1e-9)).astype(np.int64), (trials,))


def dense_trials(
    name: str, arrays: Any, lengths: Any = None
) -> tuple[Num[np.ndarray, "trials time channels"], Int[np.ndarray, " trials"] | None]:
    """Arrays of trials as one, shorter trials filled up with zeros, and the length of each; None if all are
    equally long.

    **Arguments:** `name` of the argument; `arrays`: one array ``(trials, time, channels)``, or a list of
    arrays ``(time, channels)``; `lengths`: of trials that are filled up already.

    **Raises:** `ValueError` naming the argument, and the first trial that is wrong.
    """
    if not hasattr(arrays, "ndim"):
        arrays, own = _padded(name, list(arrays))
        if own is not None and lengths is not None:
            raise ValueError(f"`lengths` is given, but those of `{name}` are known: leave it out")
        lengths = own
    x = np.asarray(arrays)
    if x.dtype == object:
        return dense_trials(name, list(x), lengths)
    if x.ndim != 3 or 0 in x.shape:
        raise ValueError(
            f"`{name}` has shape {x.shape}: expected (trials, time, channels), not empty, or a list of "
            "arrays (time, channels)"
        )
    x = real_numbers(f"`{name}`", x.astype(np.uint8) if x.dtype == bool else x)
    if lengths is None:
        return x, None
    lengths = whole_numbers("`lengths`", np.asarray(lengths))
    if lengths.shape != (len(x),) or not 1 <= lengths.min() <= lengths.max() <= x.shape[1]:
        raise ValueError(
            f"`lengths` has shape {lengths.shape} and goes from {lengths.min(initial=0)} to "
            f"{lengths.max(initial=0)}: give each of the {len(x)} trials its number of samples, 1 to "
            f"{x.shape[1]}"
        )
    return x, None if (lengths == x.shape[1]).all() else lengths


def _padded(name: str, trials: list[Any]) -> tuple[np.ndarray, np.ndarray | None]:
    found = []
    for i, one in enumerate(trials):
        try:
            x = np.asarray(one)
        except ValueError:
            x = np.empty((), object)
        if x.ndim != 2 or x.dtype.kind not in "biuf" or 0 in x.shape:
            what = "is a ragged list" if x.dtype.kind == "O" else f"has shape {x.shape} and type {x.dtype}"
            raise ValueError(f"`{name}`: trial {i} {what}; expected numbers (time, channels), not empty")
        found.append(x)
    if not found:
        raise ValueError(f"`{name}` is empty: give at least one trial")
    for i, x in enumerate(found):
        if x.shape[1] != found[0].shape[1]:
            raise ValueError(
                f"`{name}`: trial {i} has {x.shape[1]} channels, and trial 0 {found[0].shape[1]}: give all "
                "the same"
            )
    lengths = np.array([len(x) for x in found])
    padded = np.zeros((len(found), lengths.max(), found[0].shape[1]), np.result_type(*found))
    for x, one in zip(padded, found, strict=True):
        x[: len(one)] = one
    return padded, None if (lengths == lengths.max()).all() else lengths


def held(
    x: np.ndarray, lengths: np.ndarray | None, period: float | None, dt: float | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Samples of `period` ms, each held for ``period/dt`` steps; one step without a period."""
    if period is None:
        return x, lengths
    if dt is None:
        raise ValueError(f"`period` is {period:g} ms: give `dt` too, the time step")
    longer = hold(x, period, dt)
    return longer, None if lengths is None else lengths * (longer.shape[1] // x.shape[1])


def standardised(
    x: np.ndarray, lengths: np.ndarray | None, train: np.ndarray
) -> Float[np.ndarray, "trials time channels"]:
    """Every channel with mean 0 and standard deviation 1 over the training trials, and 0 after a trial's end;
    a channel that is constant there stays at 0."""
    there = np.ones(x.shape[:2], bool)
    if lengths is not None:
        there = np.arange(x.shape[1]) < lengths[:, None]
    seen = x[train][there[train]].astype(float)
    spread = seen.std(axis=0)
    # In proportion to the numbers: rounding of the mean is no spread.
    flat = spread <= 1e-9 * np.abs(seen).max(axis=0)
    y = np.where(flat, 0.0, (x - seen.mean(axis=0)) / np.where(flat, 1.0, spread))
    return np.where(there[..., None], y, 0.0)


def class_targets(targets: Any, labels: Sequence[str]) -> tuple[Int[np.ndarray, " trials"], tuple[str, ...]]:
    """Classes of the trials from 0, and their names: numbers of the names that are given, or without names
    the values that there are (whole numbers or words), in order.

    **Raises:** `ValueError` for what is neither.
    """
    found = np.asarray(targets)
    if found.dtype.kind in "US":
        names = tuple(np.unique(found).tolist()) if not len(labels) else tuple(labels)
        names = tuple(x.decode("utf-8", "replace") if isinstance(x, bytes) else x for x in names)
        number = {name: i for i, name in enumerate(names)}
        words = [x.decode("utf-8", "replace") if isinstance(x, bytes) else x for x in found.tolist()]
        unknown = [x for x in words if x not in number]
        if unknown:
            raise ValueError(f"`targets` has the class {unknown[0]!r}, which `labels` does not name")
        return np.array([number[x] for x in words], np.int32), names
    whole = whole_numbers("`targets`", found.astype(np.uint8) if found.dtype == bool else found)
    if not len(labels):
        known, number = np.unique(whole, return_inverse=True)
        return number.astype(np.int32), tuple(map(str, known.tolist()))
    return class_numbers("`targets`", whole, len(labels)), tuple(labels)


def kind_of(targets: Any) -> str:
    """Whether targets are classes (one axis) or signals (three, or a list of arrays with two): ``"class"`` or
    ``"signal"``.

    **Raises:** `ValueError` for what is neither.
    """
    if hasattr(targets, "ndim") and targets.dtype != object:
        ndim, shape = targets.ndim, targets.shape
    else:
        targets = list(targets)
        try:
            ndim = 1 + (np.ndim(targets[0]) if targets else 0)
        except ValueError:
            ndim = 0
        shape = f"(a list of {len(targets)})"
    kind = {1: "class", 3: "signal"}.get(ndim)
    if kind is None:
        raise ValueError(
            f"`targets` has shape {shape}: give classes (trials,) or signals (trials, time, outputs); a "
            "value of a whole trial is a signal that is constant"
        )
    return kind


def _narrow(x: np.ndarray) -> np.ndarray:
    """In as few bytes as it needs."""
    if x.dtype.kind in "iu" and x.size and x.min() >= 0 and x.max() < 256:
        return x.astype(np.uint8)
    return x.astype(jnp.result_type(float))


def stored(x: np.ndarray) -> UInt8[Array, "..."] | Float[Array, "..."]:
    """As an array of JAX's: bytes for small counts, else floats."""
    return jnp.asarray(_narrow(x))


def chosen(x: Shaped[np.ndarray, "trials ..."], parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is of every trial, by split."""
    return {name: x[index] for name, index in parts.items()}
