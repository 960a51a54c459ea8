"""Predictive coding: reproduce a signal, now or a while later, by the spikes of a few neurons."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..component import option
from ..stimulus import steps_in
from .base import TASKS, AbstractTask, Trial


@TASKS.register("predictive_coding")
class PredictiveCoding(AbstractTask):
    """Reproduce random sums of sinusoids, now or a while later, by the spikes of a few neurons; generated.

    An autoencoder in time: the readout reproduces the stimulus, ``y(t) = x(t - lag)``.

    ```
    x_c(t) = sum_k a_ck sin(2 pi f_ck t + p_ck),   sum_k a_ck^2 = 2   (mean square 1 in every channel)
    ```
    with frequencies and phases uniform and relative amplitudes ``U(0.2, 1)``, drawn anew for every trial.
    Over the first `onset` ms the signal rises from 0 as ``(1 - cos(pi t/onset))/2``, so that a network at
    rest can follow it from the beginning.

    **Arguments:** `dt` (ms); `duration` of a training trial and `test_duration` of a held-out one, ms;
    `channels`; `components`: sinusoids a channel; `frequencies`: lowest and highest, Hz; `lag` of the target,
    ms, 0 before the signal begins; `onset`, ms; `held_out`: trials of the validation and of the test split.

    **Reference:** Huh & Sejnowski 2018, section 3.1 (the network; the paper does not state the signal's
    spectrum).
    """

    target: ClassVar[str] = "signal"

    dt: float = option(unit="ms", doc="time step", above=0.0, in_table=False, kw_only=False)
    duration: float = option(100.0, unit="ms", doc="length of a training trial", above=0.0)
    test_duration: float = option(
        1200.0, unit="ms", doc="length of a held-out trial", above=0.0, staged=False
    )
    channels: int = option(2, doc="number of signals", at_least=1.0, staged=False)
    components: int = option(6, doc="sinusoids in a signal", at_least=1.0)
    frequencies: tuple[float, float] = option(
        (0.5, 4.0), unit="Hz", doc="lowest and highest frequency", above=0.0, length=(2, 2)
    )
    lag: float = option(0.0, unit="ms", doc="of the target behind the signal", at_least=0.0)
    onset: float = option(
        0.0, unit="ms", doc="time over which the signal rises from 0 at the begin of a trial", at_least=0.0
    )
    held_out: tuple[int, int] = option(
        (8, 24),
        doc="trials of the validation and of the test split",
        at_least=1.0,
        length=(2, 2),
        staged=False,
    )
    labels: tuple[str, ...] = eqx.field(static=True, default=(), init=False)

    def __check_init__(self):
        super().__check_init__()
        low, high = self.frequencies
        for name in ("duration", "test_duration"):
            steps_in(getattr(self, name), self.dt, f"`{name}`")
            if getattr(self, name) < self.dt:
                raise ValueError(
                    f"`{name}` of {getattr(self, name):g} ms is shorter than a step of `dt` = {self.dt:g} ms"
                )
        if self.lag >= min(self.duration, self.test_duration):
            raise ValueError(f"the `lag` of {self.lag:g} ms is as long as a trial: use a shorter one")
        if low > high:
            raise ValueError(
                f"`frequencies` are {low:g} to {high:g} Hz: the highest must not be below the lowest"
            )
        if 1e3 / high < 4 * self.dt:
            raise ValueError(
                f"`frequencies` reach {high:g} Hz, whose period a `dt` of {self.dt:g} ms does not resolve"
            )

    @property
    def outputs(self) -> int:
        return self.channels

    def signal(self, key: PRNGKeyArray, duration: float) -> Float[Array, "time channels"]:
        """One random signal of `duration` ms, in the middle of every step."""
        key_f, key_p, key_a = jax.random.split(key, 3)
        shape, (low, high) = (self.channels, self.components), self.frequencies
        frequency = jax.random.uniform(key_f, shape, minval=low, maxval=high)
        phase = jax.random.uniform(key_p, shape, maxval=2 * jnp.pi)
        amplitude = jax.random.uniform(key_a, shape, minval=0.2, maxval=1.0)
        amplitude = amplitude / jnp.sqrt(jnp.sum(amplitude**2, axis=1, keepdims=True) / 2)
        steps = jnp.arange(round(duration / self.dt), dtype=jnp.result_type(float))
        t = (steps + 0.5) * self.dt * 1e-3
        x = jnp.sum(amplitude * jnp.sin(2 * jnp.pi * frequency * t[:, None, None] + phase), axis=-1)
        if self.onset:
            x = x * (0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(t / (self.onset * 1e-3), 1.0)))[:, None]
        return x

    def batch(self, key, step, size):
        return _trials(self, jax.random.fold_in(key, step), size, self.duration)

    def split(self, name):
        seed, size = {"validation": (1, self.held_out[0]), "test": (2, self.held_out[1])}[name]
        return _trials(self, jax.random.key(seed), size, self.test_duration)


@eqx.filter_jit
def _trials(task: PredictiveCoding, key: PRNGKeyArray, size: int, duration: float) -> Trial:
    keys = jax.random.split(key, size)
    x = jax.vmap(lambda k: task.signal(k, duration))(keys)
    late = round(task.lag / task.dt)
    y = jnp.pad(x, ((0, 0), (late, 0), (0, 0)))[:, : x.shape[1]]
    return Trial(x, y, key=jax.vmap(lambda k: jax.random.fold_in(k, 3))(keys))


__all__ = ["PredictiveCoding"]
