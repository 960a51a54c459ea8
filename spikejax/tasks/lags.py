"""Lags: tell apart patterns that differ only in when, or in which order, their channels spike."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..component import option
from ..stimulus import steps_in
from .base import TASKS, AbstractTask, Trial

CUT = 3.0
"""Jitter is cut off at so many of its standard deviations."""


@TASKS.register("lags")
class Lags(AbstractTask):
    """Tell apart patterns of lags between channels that each spike equally often; generated.

    A class is a lag for every channel. In a trial of class k channel c spikes at
    ```
    t = onset + lags[k, c] + n interval + jitter,   n = 0 ... spikes - 1
    ```
    with one random onset for all channels. So counts, and rates of single channels, tell nothing. With
    `permuted` all classes have the same lags, 0 to `longest` evenly, in another order: what all channels do
    together tells nothing either. Else the lags of a class are random.

    A spike is a pulse of area 1 ms, one step long. Between two steps it is shared by them, linearly, so that
    its mean time is its own: a spike at ``(k + f) dt`` is ``(1 - f)/dt`` in step k and ``f/dt`` in the next.

    **Arguments:** `dt` (ms); `duration` of a trial, ms; `channels`; `classes`; `longest` lag, ms; `onset`:
    earliest and latest, ms; `jitter`: standard deviation of the time of a single spike, ms (normal, cut at
    three of it); `spikes` of a channel, and `interval` between them, ms; `permuted`; `pattern`: seed of the
    lags; `held_out`: trials of the validation and of the test split.

    **Raises:** `ValueError` for spikes before the begin or after the end of a trial, and for more classes
    than there are orders of the channels.
    """

    target: ClassVar[str] = "class"

    dt: float = option(unit="ms", doc="time step", above=0.0, in_table=False, kw_only=False)
    duration: float = option(80.0, unit="ms", doc="length of a trial", above=0.0)
    channels: int = option(10, doc="channels", at_least=2.0, staged=False)
    classes: int = option(4, doc="classes", at_least=2.0, staged=False)
    longest: float = option(30.0, unit="ms", doc="the longest lag", above=0.0, staged=False)
    onset: tuple[float, float] = option(
        (5.0, 15.0), unit="ms", doc="earliest and latest begin of a pattern", at_least=0.0, length=(2, 2)
    )
    jitter: float = option(
        0.5, unit="ms", doc="standard deviation of the time of a spike, cut at three of it", at_least=0.0
    )
    spikes: int = option(1, doc="of every channel in a trial", at_least=1.0)
    interval: float = option(20.0, unit="ms", doc="between the spikes of a channel", above=0.0)
    permuted: bool = option(
        True, doc="all classes have the same lags in another order; else lags are random", staged=False
    )
    pattern: int = option(0, doc="seed of the lags", at_least=0.0, staged=False)
    held_out: tuple[int, int] = option(
        (200, 400),
        doc="trials of the validation and of the test split",
        at_least=1.0,
        length=(2, 2),
        staged=False,
    )

    def __check_init__(self):
        super().__check_init__()
        steps = steps_in(self.duration, self.dt, "`duration`")
        if abs(steps - round(steps)) > 1e-6:
            raise ValueError(
                f"`duration` of {self.duration:g} ms is not a whole number of steps of `dt` = {self.dt:g} ms"
            )
        earliest, latest = self.onset
        if earliest > latest:
            raise ValueError(
                f"`onset` is {earliest:g} to {latest:g} ms: the latest must not be below the earliest"
            )
        if earliest < CUT * self.jitter:
            raise ValueError(
                f"`onset` begins at {earliest:g} ms, and `jitter` can take a spike {CUT * self.jitter:g} ms "
                "back, before the trial: begin later"
            )
        # Half a spike may be in the step after its own.
        end = latest + self.longest + (self.spikes - 1) * self.interval + CUT * self.jitter + 2 * self.dt
        if end > self.duration:
            raise ValueError(
                f"a spike may come at {end:g} ms, after the end of the trial: `duration` is "
                f"{self.duration:g} ms"
            )
        if self.permuted and self.classes > math.factorial(min(self.channels, 20)):
            raise ValueError(
                f"{self.channels} channels have {math.factorial(self.channels)} orders, fewer than the "
                f"{self.classes} `classes`"
            )

    @property
    def outputs(self) -> int:
        return self.classes

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(str(k) for k in range(self.classes))

    @property
    def lags(self) -> Float[np.ndarray, "classes channels"]:
        """The lag of every channel in every class, ms: what there is to be found."""
        rng = np.random.default_rng(self.pattern)
        if not self.permuted:
            return rng.uniform(0.0, self.longest, (self.classes, self.channels))
        orders: list[tuple[int, ...]] = []
        while len(orders) < self.classes:
            order = tuple(rng.permutation(self.channels).tolist())
            if order not in orders:
                orders.append(order)
        return np.linspace(0.0, self.longest, self.channels)[np.array(orders)]

    def batch(self, key, step, size):
        return _trials(self, jax.random.fold_in(key, step), size)

    def split(self, name):
        seed, size = {"validation": (1, self.held_out[0]), "test": (2, self.held_out[1])}[name]
        return _trials(self, jax.random.key(seed), size)

    def pulses(self, times: Float[Array, " channels"]) -> Float[Array, "time channels"]:
        """The pulse of one spike of every channel, at `times` (ms)."""
        at = times / self.dt
        step = jnp.arange(round(self.duration / self.dt), dtype=at.dtype)[:, None]
        return jnp.maximum(1 - jnp.abs(step - at), 0.0) / self.dt

    def _trial(self, key: PRNGKeyArray, kind: Int[Array, ""]) -> Float[Array, "time channels"]:
        key_onset, key_jitter = jax.random.split(key)
        lags = jnp.asarray(self.lags, jnp.result_type(float))[kind]
        onset = jax.random.uniform(key_onset, minval=self.onset[0], maxval=self.onset[1])
        shape = (self.spikes, self.channels)
        jitter = self.jitter * jax.random.truncated_normal(key_jitter, -CUT, CUT, shape)
        later = self.interval * jnp.arange(self.spikes, dtype=lags.dtype)
        return jax.vmap(self.pulses)(onset + lags + later[:, None] + jitter).sum(0)


@eqx.filter_jit
def _trials(task: Lags, key: PRNGKeyArray, size: int) -> Trial:
    kinds = jnp.arange(size) % task.classes
    x = jax.vmap(task._trial)(jax.random.split(key, size), kinds)
    return Trial(x, kinds, label=kinds)


__all__ = ["CUT", "Lags"]
