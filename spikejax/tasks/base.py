"""What a task is: trials to train on, and fixed trials to be judged by."""

import abc
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, UInt8

from ..component import Component, option
from ..reading import class_numbers
from ..registry import Registry

if TYPE_CHECKING:  # no field of the constructor: a class may have a property in its place
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar

TASKS: Registry["AbstractTask"] = Registry("task")
"""The tasks that a configuration can name."""


class Trial(NamedTuple):
    """One trial, or a batch of them with a leading axis on everything."""

    stimulus: Float[Array, "*batch time channels"]
    target: PyTree[Array]
    """What the loss compares the readout with: a class, or a signal ``(time, out)``, or what else that loss
    expects."""
    mask: Bool[Array, "*batch time"] | None = None
    """False after the end of a shorter trial; None if all are equally long."""
    label: Int[Array, "*batch"] | None = None
    """Class of the trial, if it has one."""
    key: PRNGKeyArray | None = None
    """The trial's own randomness, such as noise in the state it starts from; None: it has none."""


class Probe(NamedTuple):
    """Trials to look into a trained network with, and what to ask of them."""

    trials: Trial
    groups: dict[str, Int[np.ndarray, " trials"]]
    """Named discrete properties of the trials, such as the remembered input."""
    names: dict[str, tuple[str, ...]]
    """Names of the values of each property."""
    moments: dict[str, float]
    """When what happens in every trial, ms."""
    windows: dict[str, tuple[float, float, str]]
    """Named stretches of time in which spike patterns are compared: begin and end, ms, and the property
    expected to group them."""


class AbstractTask(Component):
    """A source of trials.

    A registered task is made with the keyword `dt` (the time step, ms), with `seed` if it declares one, and
    with the keys of its table in a configuration. Whatever is slow to make, such as recordings that are read
    from a file, it makes when it is asked for trials.
    """

    target: eqx.AbstractClassVar[str]
    """What a trial's target is, which the loss must be made for: ``"class"``, ``"signal"``,
    ``"response"``."""
    channels: AbstractVar[int]
    """Of the stimulus."""
    outputs: AbstractVar[int]
    """Width of the target: classes, or signals."""
    labels: AbstractVar[tuple[str, ...]]
    """Names of the classes; empty if the trials have none."""

    @property
    def draws_length(self) -> bool:
        """Whether the trials of one batch may be longer than those of the next."""
        return False

    @property
    def channel_label(self) -> str:
        """What the channels of the stimulus are, for an axis of a figure."""
        return "channel"

    @property
    def trials(self) -> int | None:
        """Number of training trials; None if they are generated."""
        return None

    @abc.abstractmethod
    def batch(self, key: PRNGKeyArray, step: Int[Array, ""] | int, size: int) -> Trial:
        """Training trials of one step: a pure function of the key and the step, so that a resumed run sees
        the same ones."""

    @abc.abstractmethod
    def split(self, name: str) -> Trial:
        """All trials of the ``"validation"`` or the ``"test"`` split."""

    def parts(self, name: str) -> Iterable[Trial]:
        """The trials of a split in order, a part at a time; can be iterated over again. By default one part:
        all of them.

        Evaluation, figures and analysis read a split this way, so that a task whose splits are too large to
        hold makes each part when it is asked for.
        """
        return [self.split(name)]

    def probe(self, dt: float, size: int) -> Probe:
        """Trials for the analysis of a trained network; by default the first of the test split, grouped by
        class."""
        trials = first_trials(self.parts("test"), size)
        groups = {} if trials.label is None else {"class": np.asarray(trials.label)}
        end = trials.stimulus.shape[1] * dt
        windows = {"trial": (0.0, end, "class")} if groups else {}
        return Probe(trials, groups, {"class": self.labels} if groups else {}, {}, windows)


def first_trials(parts: Iterable[Trial], size: int) -> Trial:
    """The first `size` trials of a split that comes in parts, or all if there are fewer; no part after those
    is made."""
    found, count = [], 0
    for part in parts:
        found.append(jax.tree.map(lambda x: x[: size - count], part))
        count += len(found[-1].stimulus)
        if count >= size:
            break
    return found[0] if len(found) == 1 else jax.tree.map(lambda *x: jnp.concatenate(x), *found)


class AbstractRecordings(AbstractTask):
    """A task on labelled recordings that fit in memory, each epoch in a new order."""

    target: ClassVar[str] = "class"
    stimuli: AbstractVar[dict[str, UInt8[Array, "trials time channels"]]]
    """By split (``train``, ``validation``, ``test``), as 0/1."""
    targets: AbstractVar[dict[str, Int[Array, " trials"]]]
    """The class of each of them."""
    drop: AbstractVar[float]
    """Probability that a spike is deleted in training."""
    shift_steps: AbstractVar[int]
    """Largest shift of a whole training trial in time, in steps."""

    @property
    def channels(self) -> int:
        return self.stimuli["train"].shape[-1]

    @property
    def outputs(self) -> int:
        return len(self.labels)

    @property
    def trials(self) -> int:
        return len(self.targets["train"])

    def batch(self, key, step, size):
        return _draw(
            self.stimuli["train"],
            self.targets["train"],
            key,
            jnp.asarray(step),
            size,
            self.drop,
            self.shift_steps,
        )

    def split(self, name):
        label = self.targets[name]
        keys = jax.random.split(jax.random.key(len(name)), len(label))
        return Trial(self.stimuli[name].astype(jnp.result_type(float)), label, label=label, key=keys)


class Recordings(AbstractRecordings):
    """Labelled recordings that are given as arrays.

    **Arguments:** `stimuli` and `targets` by split (``train``, ``validation``, ``test``), stimuli as 0/1;
    `labels`: names of the classes; `drop`: probability that a spike is deleted in training; `shift_steps`:
    largest shift of a whole training trial in time, in steps.

    **Raises:** `ValueError` for splits that are missing or do not fit, and for targets that are not the
    number of a class, from 0.
    """

    stimuli: dict[str, UInt8[Array, "trials time channels"]]
    targets: dict[str, Int[Array, " trials"]]
    labels: tuple[str, ...] = option(doc="names of the classes", length=(1, None))
    drop: float = option(0.0, doc="probability that a spike is deleted in training", at_least=0.0, below=1.0)
    shift_steps: int = option(0, doc="largest shift of a whole training trial, in steps", at_least=0.0)

    def __check_init__(self):
        wanted = {"train", "validation", "test"}
        for name in ("stimuli", "targets"):
            if set(getattr(self, name)) != wanted:
                given = ", ".join(sorted(getattr(self, name)))
                raise ValueError(f"Recordings: `{name}` is of {given}: give train, validation and test")
        channels = self.stimuli["train"].shape[-1]
        for split, x in self.stimuli.items():
            if len(x) != len(self.targets[split]):
                raise ValueError(
                    f"Recordings: {split} has {len(x)} `stimuli` and {len(self.targets[split])} `targets`: "
                    "give one target for each"
                )
            if x.shape[-1] != channels:
                raise ValueError(
                    f"Recordings: {split} has {x.shape[-1]} channels in `stimuli`, and train {channels}"
                )
            known = self.targets[split]
            if not isinstance(known, Tracer):
                class_numbers(f"Recordings: `targets` of {split}", np.asarray(known), len(self.labels))


@eqx.filter_jit
def _draw(stimuli, targets, key, step, size: int, drop: float, shift: int) -> Trial:
    """The trials of one step."""
    trials = len(targets)
    per_epoch = max(trials // size, 1)
    epoch, within = step // per_epoch, step % per_epoch
    key_order, key_drop, key_shift = jax.random.split(key, 3)
    key_start = jax.random.fold_in(key, 3)
    order = jax.random.permutation(jax.random.fold_in(key_order, epoch), trials)
    index = order[(within * size + jnp.arange(size)) % trials]
    x = stimuli[index].astype(jnp.result_type(float))
    if shift:
        by = jax.random.randint(jax.random.fold_in(key_shift, step), (size,), -shift, shift + 1)
        x = jax.vmap(_shifted)(x, by)
    if drop:
        x = x * jax.random.bernoulli(jax.random.fold_in(key_drop, step), 1 - drop, x.shape).astype(x.dtype)
    label = targets[index]
    return Trial(x, label, label=label, key=jax.random.split(jax.random.fold_in(key_start, step), size))


def _shifted(x: Float[Array, "time channels"], by: Int[Array, ""]) -> Float[Array, "time channels"]:
    """`x` moved `by` steps later, silence moving in."""
    t = jnp.arange(x.shape[0])
    return jnp.where(((t - by >= 0) & (t - by < x.shape[0]))[:, None], jnp.roll(x, by, axis=0), 0.0)


def stratified(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two parts of a labelled set, the second with `fraction` of every class."""
    rng = np.random.default_rng(seed)
    kept, held = [], []
    for label in np.unique(labels):
        index = rng.permutation(np.flatnonzero(labels == label))
        n = round(fraction * len(index))
        held.append(index[:n])
        kept.append(index[n:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held))


__all__ = [
    "TASKS",
    "AbstractRecordings",
    "AbstractTask",
    "Probe",
    "Recordings",
    "Trial",
    "first_trials",
    "stratified",
]
