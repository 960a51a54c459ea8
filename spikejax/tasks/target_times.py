"""Target times: answer one stimulus with spikes at given times."""

import functools
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..component import option
from ..spike_times import SpikeTimes
from .base import TASKS, AbstractTask, Trial


@TASKS.register("target_times")
class TargetTimes(AbstractTask):
    """Answer one stimulus with spikes at given times: one trial, for training and to be judged by; generated.

    Every channel is a Poisson process, always the same one. What is learned is one answer: there is nothing
    to generalise to.

    **Arguments:** `duration` of the trial, ms; `channels`, and their `rate` (Hz); `times`: of all wanted
    spikes, ms, neuron after neuron; `counts`: how many of them are of each neuron (default: all are of one);
    `pattern`: seed of the stimulus.

    **Raises:** `ValueError` for times that are not in order or not within the trial, for counts that do not
    add up to them, and for a stimulus without a spike.
    """

    target: ClassVar[str] = "times"

    duration: float = option(100.0, unit="ms", doc="length of the trial", above=0.0)
    channels: int = option(20, doc="input channels", at_least=1.0, staged=False)
    rate: float = option(10.0, unit="Hz", doc="of each of them", above=0.0)
    times: tuple[float, ...] = option(
        (25.0, 75.0), unit="ms", doc="of wanted spikes, neuron after neuron", at_least=0.0, length=(1, None)
    )
    counts: tuple[int, ...] = option(
        (), doc="how many of the times are of each neuron; default: all are of one", at_least=0, staged=False
    )
    pattern: int = option(0, doc="seed of the stimulus", at_least=0.0, staged=False)
    labels: tuple[str, ...] = eqx.field(static=True, default=(), init=False)

    def __check_init__(self):
        super().__check_init__()
        if sum(self._counts) != len(self.times):
            raise ValueError(
                f"`counts` add up to {sum(self._counts)} spikes, but there are {len(self.times)} `times`: "
                "say for every neuron how many are its own"
            )
        for own in self._trains:
            if list(own) != sorted(own) or max(own, default=0.0) > self.duration:
                raise ValueError(
                    f"`times` of a neuron are {list(own)} ms, but must be in order and within the trial of "
                    f"{self.duration:g} ms"
                )
        if not len(self._spikes[0]):
            raise ValueError("no channel has a spike: give a higher `rate` or another `pattern`")

    @property
    def _counts(self) -> tuple[int, ...]:
        return self.counts or (len(self.times),)

    @property
    def _trains(self) -> list[tuple[float, ...]]:
        """The wanted times of every neuron."""
        ends = np.cumsum(self._counts)
        return [self.times[end - n : end] for n, end in zip(self._counts, ends, strict=True)]

    @property
    def _spikes(self) -> tuple[np.ndarray, np.ndarray]:
        return _poisson(self.channels, self.rate, self.duration, self.pattern)

    @property
    def outputs(self) -> int:
        return len(self._counts)

    @property
    def trials(self) -> int:
        return 1

    def batch(self, key, step, size):
        del key, step
        return self._trials(size)

    def split(self, name):
        del name
        return self._trials(1)

    def _trials(self, size: int) -> Trial:
        most = max(map(len, self._trains))
        wanted = np.array([[*own, *[np.inf] * (most - len(own))] for own in self._trains]).T
        times, channel = self._spikes
        dtype, several = jnp.result_type(float), lambda x: jnp.broadcast_to(x, (size, *x.shape))
        given = SpikeTimes(
            several(jnp.asarray(times, dtype)),
            several(jnp.asarray(channel, jnp.int32)),
            duration=self.duration,
            channels=self.channels,
        )
        return Trial(given, several(jnp.asarray(wanted, dtype)))


@functools.lru_cache(maxsize=8)
def _poisson(channels: int, rate: float, duration: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Times and channels of Poisson processes, in order."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(1e-3 * rate * duration, channels)
    times, channel = rng.uniform(0, duration, counts.sum()), np.repeat(np.arange(channels), counts)
    order = np.argsort(times)
    return times[order], channel[order]


__all__ = ["TargetTimes"]
