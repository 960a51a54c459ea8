"""Tasks on numbers that fit in memory, each trial's encoded as spike times when it is drawn."""

import abc
import math
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from ..encoders import spike_list, step_of
from ..spike_times import SpikeTimes
from ..stimulus import steps_in
from .base import AbstractTask, Parts, Trial
from .draws import Changes, draw, trials_of
from .image_changes import ImageChanges

if TYPE_CHECKING:  # no field of the constructor: a class may have a property in its place
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar

MOST = 1 << 26
"""Numbers in a part of a split, at most: 256 MB in single precision."""


class Encodable(NamedTuple):
    """Numbers and the class of every trial, by split."""

    numbers: dict[str, Num[Array, "trials ..."]]
    targets: dict[str, Int[Array, " trials"]]
    most: int
    """Most spikes of a trial."""


class AbstractEncoded(AbstractTask):
    """Classes of numbers, such as points or images, encoded as one spike a channel, in each epoch in a new
    order."""

    target: ClassVar[str] = "class"

    dt: AbstractVar[float]
    """Time step, ms, of a stimulus in steps."""
    duration: AbstractVar[float]
    """Length of a trial, ms."""
    drop: AbstractVar[float]
    """Probability that a number is 0 in training."""
    form: AbstractVar[str]
    """What is handed on: ``"times"``, or ``"steps"``: an array with a row for every step."""

    @property
    @abc.abstractmethod
    def last(self) -> float:
        """The latest time of a spike, ms."""

    @property
    @abc.abstractmethod
    def _data(self) -> Encodable:
        """What there is, the same as long as no file changes."""

    @abc.abstractmethod
    def times(self, numbers: Float[Array, "trials ..."]) -> Float[Array, "trials n"]:
        """The spike of every channel in some trials, ms; inf if it has none."""

    def encode(self, numbers: Any) -> SpikeTimes | Float[Array, "trials time ..."]:
        """The stimuli of some trials, whose numbers are ``(trials, ...)``, by the `form`."""
        return _encoded(self, numbers, self._data.most)

    def __check_init__(self):
        super().__check_init__()
        if self.last >= self.duration:
            raise ValueError(
                f"a spike may come at {self.last:g} ms, after the trial: its `duration` is "
                f"{self.duration:g} ms"
            )
        if self.form == "steps":
            steps_in(self.duration, self.dt, "`duration`")

    @property
    def outputs(self) -> int:
        return len(self.labels)

    @property
    def trials(self) -> int:
        return len(self._data.targets["train"])

    def batch(self, key, step, size):
        changes = Changes(self.drop, 0, ImageChanges())
        drawn = draw(self._of("train"), key, jnp.asarray(step), size, changes, None)
        return drawn._replace(stimulus=self.encode(drawn.stimulus))

    def split(self, name):
        return self._take(name, np.arange(len(self._data.targets[name])))

    def parts(self, name):
        channels = (self.channels,) if isinstance(self.channels, int) else self.channels
        size = (self._steps if self.form == "steps" else 1) * math.prod(channels)
        return Parts(
            lambda index: self._take(name, index), len(self._data.targets[name]), max(MOST // size, 1)
        )

    @property
    def _steps(self) -> int:
        return math.ceil(steps_in(self.duration, self.dt, "`duration`") * (1 - 1e-9))

    def _of(self, name: str):
        return self._data.numbers[name], self._data.targets[name], None

    def _take(self, name: str, index: Int[np.ndarray, " part"]) -> Trial:
        keys = jax.random.split(jax.random.key(len(name)), len(self._data.targets[name]))
        trials = trials_of(self._of(name), jnp.asarray(index), keys[index], None)
        return trials._replace(stimulus=self.encode(trials.stimulus))


@eqx.filter_jit
def _encoded(task: AbstractEncoded, numbers: Array, most: int) -> SpikeTimes | Array:
    times = task.times(numbers)
    channels = (task.channels,) if isinstance(task.channels, int) else task.channels
    if task.form == "times":
        return spike_list(times, duration=task.duration, channels=channels, most=most)
    at = jnp.arange(task._steps, dtype=times.dtype)[:, None]
    steps = (step_of(times, task.dt)[:, None] == at).astype(times.dtype)
    return steps.reshape(*steps.shape[:2], *channels)


__all__ = ["AbstractEncoded", "Encodable"]
