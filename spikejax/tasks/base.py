"""What a task is: trials to train on, and fixed trials to be judged by."""

import abc
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..component import Component
from ..registry import Registry
from ..spike_times import SpikeTimes
from ..stimulus import Events

if TYPE_CHECKING:  # no field of the constructor: a class may have a property in its place
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar

TASKS: Registry["AbstractTask"] = Registry("task")
"""The tasks that a configuration can name."""


class Trial(NamedTuple):
    """One trial, or a batch of them with a leading axis on everything."""

    stimulus: Float[Array, "..."] | Events | SpikeTimes
    """An array ``(*batch, time, *channels)``, with a row for every step, lists of events, or exact spike
    times."""
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

    target: AbstractVar[str]
    """What a trial's target is, which the loss must be made for: ``"class"``, ``"signal"``,
    ``"response"``, ``"spikes"``, a raster ``(time, out)`` of the last layer, or ``"times"``, those of its
    spikes, ms, ``(spikes, out)``, inf where none is wanted."""
    channels: AbstractVar[int | tuple[int, ...]]
    """Of the stimulus: their number, or the shape in which they lie, as that of an image."""
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
        if isinstance(trials.stimulus, SpikeTimes):
            end = trials.stimulus.duration
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


class Parts:
    """Trials of a split that are made a part at a time, each when its turn comes; can be iterated over again.

    **Arguments:** `take`: makes the trials of some indices; `size`: how many there are; `part`: how many in a
    part.
    """

    def __init__(self, take: Callable[[Int[np.ndarray, " part"]], Trial], size: int, part: int):
        self._take, self._size, self._part = take, size, part

    def __iter__(self) -> Iterator[Trial]:
        for begin in range(0, self._size, self._part):
            yield self._take(np.arange(begin, min(begin + self._part, self._size)))


__all__ = ["TASKS", "AbstractTask", "Parts", "Probe", "Trial", "first_trials"]
