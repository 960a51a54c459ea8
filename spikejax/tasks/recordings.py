"""Tasks on recordings that fit in memory: a user's own arrays, and what tasks that read files have in
common."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Num

from ..component import option
from ..event_path import list_path
from ..reading import class_numbers
from .base import AbstractTask, Parts, Trial
from .draws import Changes, draw, trials_of
from .image_changes import ImageChanges
from .options import drop_option, form_option, rotate_option, shear_option, zoom_option
from .splits import SPLITS, split_trials
from .trial_arrays import (
    EventTrials,
    chosen,
    class_targets,
    dense_trials,
    event_trials,
    flat_events,
    held,
    kind_of,
    standardised,
    stored,
)

if TYPE_CHECKING:  # no field of the constructor: a class may have a property in its place
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar

MOST = 1 << 26
"""Numbers in a part of a split, at most: 256 MB in single precision."""


class AbstractRecordings(AbstractTask):
    """A task on recordings that fit in memory, each epoch in a new order."""

    stimuli: AbstractVar[dict[str, Num[Array, "trials time *channels"] | EventTrials]]
    """By split (``train``, ``validation``, ``test``)."""
    targets: AbstractVar[dict[str, Int[Array, " trials"] | Float[Array, "trials time outputs"]]]
    """The class, or the signal, of each of them."""
    drop: AbstractVar[float]
    """Probability that the input of a channel in a step is deleted in training."""
    shift_steps: AbstractVar[int]
    """Largest shift of a whole training trial in time, in steps."""
    form: AbstractVar[str]
    """What events are handed on as, one of `spikejax.event_path.FORMS`."""
    lengths: AbstractVar[dict[str, Int[Array, " trials"]] | None]
    """The number of steps of each of them; None if all are as long as their arrays."""

    @property
    def image_changes(self) -> ImageChanges:
        """Of training trials whose channels lie in an image; by default none."""
        return ImageChanges()

    @property
    def channels(self) -> int | tuple[int, ...]:
        own = self.stimuli["train"].shape[2:]
        return own[0] if len(own) == 1 else own

    @property
    def outputs(self) -> int:
        return len(self.labels) if self.target == "class" else self.targets["train"].shape[-1]

    @property
    def trials(self) -> int:
        return len(self.targets["train"])

    def batch(self, key, step, size):
        changes = Changes(self.drop, self.shift_steps, self.image_changes)
        return draw(self._of("train"), key, jnp.asarray(step), size, changes, self._path)

    def split(self, name):
        return self._take(name, np.arange(len(self.targets[name])))

    def parts(self, name):
        stimuli = self.stimuli[name]
        numbers = 3 * stimuli.most if self._path and isinstance(stimuli, EventTrials) else None
        part = max(MOST // max(numbers or math.prod(stimuli.shape[1:]), 1), 1)
        return Parts(lambda index: self._take(name, index), len(self.targets[name]), part)

    def _of(self, name: str):
        return self.stimuli[name], self.targets[name], None if self.lengths is None else self.lengths[name]

    def _take(self, name: str, index: Int[np.ndarray, " part"]) -> Trial:
        keys = jax.random.split(jax.random.key(len(name)), len(self.targets[name]))
        return trials_of(self._of(name), jnp.asarray(index), keys[index], self._path)

    @property
    def _path(self) -> str | None:
        """How the products of lists of events are computed; None if they become arrays.

        **Raises:** `ValueError` for samples, which are no events.
        """
        stimuli = self.stimuli["train"]
        if not isinstance(stimuli, EventTrials):
            if self.form in ("dense", "auto"):
                return None
            raise ValueError(f"`form` is {self.form}, but the stimuli are samples: set it to dense or auto")
        return list_path(self.form, stimuli.density)


class Recordings(AbstractRecordings):
    """Your own recordings as a task, with classes or signals as targets.

    Made by `Recordings.from_events` or `Recordings.from_arrays`, which check, fill up and split what they are
    given; or from arrays by split that are as they should be.

    **Arguments:** `stimuli` and `targets` by split (``train``, ``validation``, ``test``); targets are classes
    ``(trials,)`` from 0, or signals ``(trials, time, outputs)`` for ``target="signal"``; `labels`: names of
    the classes; `lengths`: of trials that end before their arrays do, in steps, by split; `drop`: probability
    that the input of a channel in a step is deleted in training; `shift_steps`: largest shift of a whole
    training trial in time (with its signal), in steps; `shift_places` (pixels), `rotate` (degrees), `zoom`,
    `shear` (fractions): the same along the last two axes of channels that lie in an image, see
    `ImageChanges`; `form`: what events are handed on as, see `spikejax.tasks.options.form_option`.

    **Raises:** `ValueError` for splits that are missing or do not fit, for classes that are not the number of
    a label, and for signals that are not as long as the stimuli.
    """

    stimuli: dict[str, Num[Array, "trials time *channels"] | EventTrials]
    targets: dict[str, Int[Array, " trials"] | Float[Array, "trials time outputs"]]
    labels: tuple[str, ...] = option((), doc="names of the classes")
    lengths: dict[str, Int[Array, " trials"]] | None = eqx.field(default=None, kw_only=True)
    target: str = option("class", doc="what is learnt: a class, or a signal", choices=("class", "signal"))
    drop: float = drop_option("the input of a channel in a step")
    shift_steps: int = option(0, doc="largest shift of a whole training trial, in steps", at_least=0.0)
    shift_places: int = option(
        0, doc="largest shift of a training trial along the last two axes of the channels", at_least=0.0
    )
    rotate: float = rotate_option()
    zoom: float = zoom_option()
    shear: float = shear_option()
    form: str = form_option()

    def __check_init__(self):
        for name in ("stimuli", "targets", "lengths"):
            given = getattr(self, name)
            if given is not None and set(given) != set(SPLITS):
                shown = ", ".join(sorted(given))
                raise ValueError(f"Recordings: `{name}` is of {shown}: give train, validation and test")
        if bool(self.labels) != (self.target == "class"):
            word = "has no names of the classes" if self.target == "class" else "names classes"
            raise ValueError(f"Recordings: `labels` {word}, but the target is a {self.target}")
        channels = self.stimuli["train"].shape[2:]
        lists = isinstance(self.stimuli["train"], EventTrials)
        if self.image_changes and not (lists and len(channels) > 1):
            raise ValueError(
                "Recordings: `shift_places`, `rotate`, `zoom` and `shear` are of events of an image: leave "
                "them out"
            )
        for split, x in self.stimuli.items():
            if len(x) != len(self.targets[split]):
                raise ValueError(
                    f"Recordings: {split} has {len(x)} `stimuli` and {len(self.targets[split])} `targets`: "
                    "give one target for each"
                )
            if x.shape[2:] != channels:
                raise ValueError(
                    f"Recordings: {split} has {_number(x.shape[2:])} channels in `stimuli`, and train "
                    f"{_number(channels)}"
                )
            self._check_targets(split, x.shape[1])
            if self.lengths is not None:
                self._check_lengths(split, self.lengths[split], x.shape)

    def _check_targets(self, split: str, steps: int) -> None:
        known = self.targets[split]
        if self.target == "class":
            if not isinstance(known, Tracer):
                class_numbers(f"Recordings: `targets` of {split}", np.asarray(known), len(self.labels))
        elif known.ndim != 3 or known.shape[1:] != (steps, self.outputs):
            raise ValueError(
                f"Recordings: `targets` of {split} has shape {known.shape}: give signals (trials, time, "
                f"outputs) of {steps} steps, as the stimuli, with {self.outputs} outputs in every split"
            )

    def _check_lengths(self, split: str, lengths: Array, shape: tuple[int, ...]) -> None:
        if isinstance(lengths, Tracer):
            return
        if lengths.shape != shape[:1] or (
            len(lengths) and not 1 <= lengths.min() <= lengths.max() <= shape[1]
        ):
            raise ValueError(
                f"Recordings: `lengths` of {split} must be {shape[0]} numbers of steps, 1 to {shape[1]}"
            )

    @property
    def image_changes(self):
        return ImageChanges(self.shift_places, self.rotate, self.zoom, self.shear)

    @classmethod
    def from_events(
        cls,
        times: Any,
        units: Any,
        trial: Any,
        targets: Any,
        *,
        dt: float,
        channels: int | None = None,
        duration: float | Sequence[float] | np.ndarray | None = None,
        overflow: str = "refuse",
        value: str = "count",
        period: float | None = None,
        labels: Sequence[str] = (),
        groups: Any = None,
        split: Sequence[str] | Mapping[str, Sequence[int]] | np.ndarray | None = None,
        validation: float = 0.1,
        test: float = 0.2,
        seed: int = 0,
        drop: float = 0.0,
        shift_steps: int = 0,
        form: str = "dense",
    ) -> "Recordings":
        """Recordings from lists of events, such as spikes: each is counted in the step ``floor(t/dt)``.

        They stay lists in memory, of a few bytes an event, and become arrays a batch at a time, or, with
        another `form`, stay lists (`spikejax.Events`).

        **Arguments:**

        - `times` (ms), `units` (0 to ``channels - 1``) and `trial` (0 to ``trials - 1``) of the events, flat
          lists in any order. Or with ``trial=None`` a list of times and one of units for every trial.
        - `targets`: of the trials: classes, ``(trials,)``, as whole numbers or words; or signals, ``(trials,
          time, outputs)`` or a list of arrays ``(time, outputs)``, with a row every `period` ms (by default
          `dt`).
        - `dt`: time step, ms. `channels`: number of units; default: up to the highest that has an event.
        - `duration`: of the trials, ms, one number or one for each; a trial ends with the step that this is
          in. Default: that of the signals, or for classes the step of the very last event, for all trials.
        - `overflow`: events at or past the end of their trial: ``"refuse"`` (an error) or ``"cut"``.
        - `value`: what a step holds of a unit: the ``"count"`` of its events, its ``"root"``, or
          ``"binary"``, 0 or 1.
        - `labels`: names of the classes, if `targets` are numbers of these; default: the values that occur.
        - `groups` (words or numbers, one a trial), `split`, `validation`, `test`, `seed`: see
          `spikejax.tasks.splits.split_trials`.
        - `drop`, `shift_steps`, `form`: see `Recordings`.

        **Raises:** `ValueError` in one line naming the argument, and the first event or trial that is wrong.
        """
        kind = kind_of(targets)
        known, own = _targets(kind, targets, labels, period, dt)
        found = flat_events(times, units, trial, len(known.values))
        if kind == "signal" and duration is None:
            steps = known.values.shape[1] if own is None else own
            duration = np.asarray(steps) * dt
        x, lengths = event_trials(
            found, len(known.values), dt=dt, channels=channels, duration=duration, overflow=overflow,
            value=value
        )  # fmt: skip
        parts = split_trials(
            len(known.values), classes=known.classes, names=known.labels, groups=_groups(groups), split=split,
            validation=validation, test=test, seed=seed,
        )  # fmt: skip
        stimuli = {name: x.of(index) for name, index in parts.items()}
        _check_as_long(kind, x.shape[1], lengths, known.values, own)
        more = {"drop": drop, "shift_steps": shift_steps, "form": form}
        return cls._made(kind, stimuli, known, lengths, parts, **more)

    @classmethod
    def from_arrays(
        cls,
        stimuli: Any,
        targets: Any,
        *,
        lengths: Any = None,
        period: float | None = None,
        dt: float | None = None,
        standardise: bool = False,
        labels: Sequence[str] = (),
        groups: Any = None,
        split: Sequence[str] | Mapping[str, Sequence[int]] | np.ndarray | None = None,
        validation: float = 0.1,
        test: float = 0.2,
        seed: int = 0,
        drop: float = 0.0,
        shift_steps: int = 0,
    ) -> "Recordings":
        """Recordings from arrays of samples, such as sensors, or spikes that are binned or encoded already
        (see `spikejax.encoders`).

        **Arguments:**

        - `stimuli`: one array ``(trials, time, channels)``, or a list of arrays ``(time, channels)``, whose
          lengths may differ.
        - `targets`: of the trials: classes, ``(trials,)``, as whole numbers or words; or signals, ``(trials,
          time, outputs)`` or a list of arrays ``(time, outputs)``, with a row for every sample.
        - `lengths`: samples of trials that are filled up to one array already, ``(trials,)``.
        - `period`, `dt`: duration of a sample and of a time step, ms: every sample is held for ``period/dt``
          steps. Default: a sample is a step.
        - `standardise`: bring every channel to mean 0 and standard deviation 1 over the training trials.
        - the others as in `Recordings.from_events`.

        **Raises:** `ValueError` in one line naming the argument, and the first trial that is wrong.
        """
        kind = kind_of(targets)
        known, own = _targets(kind, targets, labels, period, dt)
        samples, lengths = dense_trials("stimuli", stimuli, lengths)
        x, lengths = held(samples, lengths, period, dt)
        if len(x) != len(known.values):
            raise ValueError(
                f"there are {len(x)} `stimuli` and {len(known.values)} `targets`: give one target for each"
            )
        parts = split_trials(
            len(x), classes=known.classes, names=known.labels, groups=_groups(groups), split=split,
            validation=validation, test=test, seed=seed,
        )  # fmt: skip
        _check_as_long(kind, x.shape[1], lengths, known.values, own)
        x = standardised(x, lengths, parts["train"]) if standardise else x
        own_stimuli = {name: stored(part) for name, part in chosen(x, parts).items()}
        return cls._made(kind, own_stimuli, known, lengths, parts, drop=drop, shift_steps=shift_steps)

    @classmethod
    def _made(cls, kind, stimuli, known, lengths, parts, **more) -> "Recordings":
        targets = {name: jnp.asarray(part) for name, part in chosen(known.values, parts).items()}
        own = None if lengths is None else {
            name: jnp.asarray(part, jnp.int32) for name, part in chosen(lengths, parts).items()
        }  # fmt: skip
        return cls(stimuli, targets, labels=known.labels, lengths=own, target=kind, **more)


class _Targets(eqx.Module):
    values: Any
    classes: Any
    labels: tuple[str, ...]


def _targets(kind, targets, labels, period, dt):
    """The targets as arrays, and the length of every trial by its signal, in steps."""
    if kind == "class":
        classes, names = class_targets(targets, labels)
        return _Targets(classes, classes, names), None
    if len(labels):
        raise ValueError("`labels` names classes, but `targets` are signals: leave one of them out")
    signals, lengths = dense_trials("targets", targets)
    if lengths is None and isinstance(targets, list | tuple):
        lengths = np.full(len(signals), signals.shape[1])
    signals, lengths = held(signals, lengths, period, dt)
    return _Targets(signals.astype(jnp.result_type(float)), None, ()), lengths


def _groups(groups: Any) -> np.ndarray | None:
    return None if groups is None else np.asarray(groups).reshape(-1)


def _check_as_long(kind, steps, lengths, signals, own) -> None:
    """Raise `ValueError` unless every signal is as long as the stimulus of its trial: `steps`, or its
    `lengths`.

    **Arguments:** `own`: lengths of the signals; None if they are filled up to one array, to the same number
    of steps as the stimuli.
    """
    if kind == "class":
        return
    filled = signals.shape[1]
    every = np.full(len(signals), steps) if lengths is None else lengths
    theirs = own if own is not None else every if filled == steps else np.full(len(signals), filled)
    if (every != theirs).any():
        first = int(np.argmax(every != theirs))
        raise ValueError(
            f"`targets`: the signal of trial {first} has {theirs[first]} steps, and its stimulus "
            f"{every[first]}: give signals that are as long as their trials"
        )


def _number(channels: tuple[int, ...]) -> str:
    """A number of channels, or the shape that they lie in, in words."""
    return " x ".join(map(str, channels))


__all__ = ["AbstractRecordings", "Recordings"]
