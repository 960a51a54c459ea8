"""Tasks on numbers that fit in memory, each trial's encoded as exact spike times when it is drawn."""

import abc
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Num

from ..event_driven import SpikeTimes
from .base import AbstractTask, Trial
from .draws import Changes, draw, trials_of
from .image_changes import ImageChanges


class Encodable(NamedTuple):
    """Numbers and the class of every trial, by split."""

    numbers: dict[str, Num[Array, "trials ..."]]
    targets: dict[str, Int[Array, " trials"]]
    most: int
    """Most spikes of a trial."""


class AbstractEncoded(AbstractTask):
    """Classes of numbers, such as points or images, that are encoded as spike times; each epoch in a new
    order."""

    target: ClassVar[str] = "class"

    @property
    @abc.abstractmethod
    def _data(self) -> Encodable:
        """What there is, the same as long as no file changes."""

    @abc.abstractmethod
    def encode(self, numbers: Num[Array, "trials ..."], most: int) -> SpikeTimes:
        """The stimuli of some trials, in lists of `most` spikes."""

    @property
    def outputs(self) -> int:
        return len(self.labels)

    @property
    def trials(self) -> int:
        return len(self._data.targets["train"])

    def batch(self, key, step, size):
        drawn = draw(self._of("train"), key, jnp.asarray(step), size, Changes(0.0, 0, ImageChanges()), None)
        return _encoded(self, drawn, self._data.most)

    def split(self, name):
        size = len(self._data.targets[name])
        keys = jax.random.split(jax.random.key(len(name)), size)
        return _encoded(self, trials_of(self._of(name), np.arange(size), keys, None), self._data.most)

    def _of(self, name: str):
        return self._data.numbers[name], self._data.targets[name], None


@eqx.filter_jit
def _encoded(task: AbstractEncoded, trials: Trial, most: int) -> Trial:
    return trials._replace(stimulus=task.encode(trials.stimulus, most))


__all__ = ["AbstractEncoded", "Encodable"]
