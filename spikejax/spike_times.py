"""Exact spike times: as a stimulus, and of what a simulation in steps released."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from .component import known_numbers
from .stimulus import Events, steps_in


class SpikeTimes(eqx.Module):
    """A stimulus as a list of spikes at real times, each of a `value` on a channel.

    Times and values may be trained. A spike of value 0 is none: lists of trials with fewer spikes are filled
    up with those, at the end of the trial. A batch of trials has one more axis in front of all three. Beside
    it, `spikejax.Events` are in steps of a clock.

    **Arguments:** `time`: ms, 0 to `duration`, in order; `channel`: number of the channel, counted through
    all axes of `channels`; `value`: by default 1; `duration`: length of the trial, of every one of a batch,
    ms; `channels`: shape of the stimulus at one moment.

    **Raises:** `ValueError` for times that are not in order, not finite or outside the trial, for channels
    that do not exist, for lists of different length. Times that are traced are not known: those that are not
    in order make the trial's results NaN (`at` puts trained times in order).

    !!! example
        >>> SpikeTimes([1.0, 2.5], [0, 2], duration=10.0, channels=3).shape
        (2, 3)
    """

    time: Float[Array, "*batch spikes"]
    channel: Int[Array, "*batch spikes"]
    value: Float[Array, "*batch spikes"]
    duration: float = eqx.field(static=True)
    channels: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, time, channel, value=None, *, duration, channels: int | tuple[int, ...]):
        self.time = _numbers("time", time, jnp.result_type(float))
        self.channel = _numbers("channel", channel, jnp.int32)
        ones = jnp.ones(self.time.shape, self.time.dtype)
        self.value = ones if value is None else _numbers("value", value, self.time.dtype)
        try:
            self.duration = float(duration)
        except (TypeError, ValueError):
            raise ValueError(
                f"SpikeTimes: `duration` is {duration!r}: give one number (ms), of all trials"
            ) from None
        self.channels = (channels,) if isinstance(channels, int) else tuple(channels)

    def __check_init__(self):
        shapes = {"time": self.time.shape, "channel": self.channel.shape, "value": self.value.shape}
        if len(set(shapes.values())) > 1 or not self.time.ndim:
            shown = ", ".join(f"`{name}` {shape}" for name, shape in shapes.items())
            raise ValueError(
                f"SpikeTimes: the lists have shapes {shown}: give one entry each for every spike"
            )
        if not 0 < self.duration < math.inf:
            raise ValueError(
                f"SpikeTimes: `duration` is {self.duration:g} ms, but must be finite and above 0"
            )
        if min(self.channels, default=0) < 1:
            raise ValueError(f"SpikeTimes: `channels` is {self.channels}: there is nothing to hold")
        self._check_times()
        if not isinstance(self.channel, Tracer) and self.channel.size:
            channel, most = np.asarray(self.channel), math.prod(self.channels)
            low, high = int(channel.min()), int(channel.max())
            if low < 0 or high >= most:
                raise ValueError(
                    f"SpikeTimes: `channel` goes from {low} to {high}, but must lie in 0 to {most - 1}"
                )
        values = known_numbers(self.value)
        if values is not None and not np.isfinite(values).all():
            raise ValueError("SpikeTimes: `value` holds numbers that are not finite")

    def _check_times(self) -> None:
        if isinstance(self.time, Tracer) or not self.time.size:
            return
        time = np.asarray(self.time)
        flat = time.reshape(-1, time.shape[-1])
        # A time at the end may have been rounded to above it.
        end = np.asarray(self.duration, time.dtype)

        def first(bad, what):
            """The complaint of the first time that is `bad`."""
            if bad.any():
                trial, k = np.argwhere(bad)[0]
                where = f" of trial {trial}" if time.ndim > 1 else ""
                raise ValueError(f"SpikeTimes: `time` number {k}{where} is {flat[trial, k]:g} ms, {what}")

        first(
            ~np.isfinite(flat),
            "which is no time: leave it out, or give it the value 0 at the end of the trial",
        )
        first(
            (flat < 0) | (flat > end),
            f"outside the trial of 0 to {self.duration:g} ms: shift or leave out such spikes",
        )
        falls = np.zeros(flat.shape, bool)
        falls[:, 1:] = np.diff(flat, axis=1) < 0
        first(falls, "earlier than the one before it: sort the spikes of a trial by time")

    @property
    def shape(self) -> tuple[int, ...]:
        """``(*batch, spikes, *channels)``."""
        return (*self.time.shape, *self.channels)

    @property
    def ndim(self) -> int:
        """Number of these axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def at(self, time: Float[Array, "*batch spikes"], value: Float[Array, "*batch spikes"] | None = None):
        """The same spikes at other times, in order, and with other values: those that are trained.

        A time that training has moved out of the trial stops at its start or end.
        """
        order = jnp.argsort(jax.lax.stop_gradient(time), axis=-1, stable=True)
        sort = lambda x: jnp.take_along_axis(x, order, axis=-1)
        value = self.value if value is None else value
        return SpikeTimes(
            sort(jnp.clip(time, 0.0, self.duration)),
            sort(self.channel),
            sort(value),
            duration=self.duration,
            channels=self.channels,
        )

    def in_steps(self, dt: float | Float[Array, ""]) -> Events:
        """The spikes as events of steps of `dt` ms.

        A spike of value w at the fraction f of step k makes an event of ``w (1 - f)`` in it and one of
        ``w f`` in the next, as the charge of a neuron's spike arrives (`spikejax.cell`): the mean time is
        right, and so is its derivative. What would come after the last step is lost.

        **Raises:** `ValueError` for a dt that is traced, since the number of steps is compiled in.
        """
        if isinstance(dt, Tracer):
            raise ValueError(
                "`dt` is traced, but of a stimulus of spike times the number of steps must be known: give "
                "`dt` as a number, or the stimulus in steps"
            )
        # A trial that is a whole number of steps to rounding has no step more.
        steps = max(1, math.ceil(steps_in(self.duration, float(dt), "a stimulus") * (1 - 1e-6)))
        at = self.time / jnp.asarray(dt, self.time.dtype)
        whole = jnp.minimum(jnp.floor(jax.lax.stop_gradient(at)), steps - 1)
        part = at - whole
        step = whole.astype(jnp.int32)
        both = lambda a, b: jnp.stack([a, b], axis=-1).reshape(*a.shape[:-1], -1)
        later = jnp.where(step + 1 < steps, self.value * part, 0.0)
        return Events(
            both(step, jnp.minimum(step + 1, steps - 1)),
            both(self.channel, self.channel),
            both(self.value * (1 - part), later),
            steps=steps,
            channels=self.channels,
        )


def spikes_of(
    release: Float[Array, "time *n"],
    late: Float[Array, "time *n"],
    duration: Float[Array, ""],
    dt: float | Float[Array, ""],
    most: int,
) -> Float[Array, "spikes *n"]:
    """When each neuron released its charge, unit by unit: the first `most` spike times, ms.

    ```
    t_n = int t dN  over  n - 1 < N < n,   N(t) the charge released by t
    ```
    With a hard threshold this is the time of spike n; with a smooth gate its mean over the charge, which
    has a derivative. What is missing of a unit when the trial ends counts as if it came then; inf where
    nothing of it came.

    **Arguments:** `release`: charge of each step; `late`: the mean fraction of its step at which it came,
    times the charge; `duration` of the trial, ms.
    """
    steps = len(release)
    after = jnp.cumsum(release, axis=0)
    before = after - release
    number = jnp.arange(steps, dtype=release.dtype).reshape(-1, *(1,) * (release.ndim - 1))
    moment = number * release + late
    safe = jnp.where(release == 0, 1.0, release)
    middle = jax.lax.stop_gradient(moment / safe)

    def excess(n):
        """What charge beyond the first n units there would be of more in the step with which these end, times
        its time: 0, with a derivative. Units that end within a step have none."""
        complete = after >= n
        last = complete & ~jnp.concatenate([jnp.zeros_like(complete[:1]), complete[:-1]])
        more = jnp.where(last & (after == n), after - jax.lax.stop_gradient(after), 0.0)
        return jnp.sum(more * middle, axis=0)

    def unit(n):
        # At the ends of the unit without the half derivative of a clip.
        inside = lambda x: jnp.where((x > n) & (x < n + 1), x - n, jnp.where(x > n, 1.0, 0.0))
        own = inside(after) - inside(before)
        # All of a step's charge, without a division by it, unless it is shared by two units.
        low, high = jnp.minimum(before, after), jnp.maximum(before, after)
        whole = (low >= n) & (low < n + 1) & (high <= n + 1)
        time = jnp.sum(jnp.where(whole, 1.0, own / safe) * moment, axis=0)
        # More charge than a unit is the next one's.
        time = time - excess(n + 1) + jnp.where(n > 0, excess(n), 0.0)
        there = inside(after[-1])
        return jnp.where(there > 0, time * dt + (1 - there) * duration, jnp.inf)

    return jax.lax.map(unit, jnp.arange(most, dtype=release.dtype))


def _numbers(name: str, given, dtype):
    try:
        if any(isinstance(x, str) for x in jax.tree.leaves(given)):
            raise TypeError("words are no numbers")
        found = jnp.asarray(given)
        if not jnp.isdtype(found.dtype, ("bool", "numeric")) or jnp.iscomplexobj(found):
            raise TypeError("no real numbers")
    except (TypeError, ValueError):
        raise ValueError(
            f"SpikeTimes: `{name}` is a {type(given).__name__} that makes no array of real numbers: give "
            "lists of equal length"
        ) from None
    whole = jnp.issubdtype(dtype, jnp.integer)
    known = np.zeros(0) if isinstance(found, Tracer) else np.asarray(found)
    if whole and not np.array_equal(known, np.floor(known)):
        raise ValueError(
            f"SpikeTimes: `{name}` holds numbers that are not whole: channels are counted from 0"
        )
    # With a type of their own: lists of weak type would be compiled for anew.
    own = jnp.issubdtype(found.dtype, jnp.floating) and not whole
    return jnp.asarray(found, found.dtype if own else dtype)


__all__ = ["SpikeTimes", "spikes_of"]
