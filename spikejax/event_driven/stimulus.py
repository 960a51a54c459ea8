"""A stimulus of exact spike times."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from ..component import known_numbers


class SpikeTimes(eqx.Module):
    """A stimulus as a list of spikes at real times, each of a `value` on a channel.

    Times and values may be trained. A spike of value 0 is none: lists of trials with fewer spikes are filled
    up with those, at the end of the trial. A batch of trials has one more axis in front of all three. Beside
    it, `spikejax.Events` are in steps of a clock.

    **Arguments:** `time`: ms, 0 to `duration`, in order; `channel`: number of the channel, counted through
    all axes of `channels`; `value`: by default 1; `duration`: length of the trial, ms, or of every trial of a
    batch; `channels`: shape of the stimulus at one moment.

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
    duration: Float[Array, "*batch"]
    channels: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, time, channel, value=None, *, duration, channels: int | tuple[int, ...]):
        self.time = _numbers("time", time, jnp.result_type(float))
        self.channel = _numbers("channel", channel, jnp.int32)
        ones = jnp.ones(self.time.shape, self.time.dtype)
        self.value = ones if value is None else _numbers("value", value, self.time.dtype)
        given = _numbers("duration", duration, self.time.dtype)
        try:
            self.duration = jnp.broadcast_to(given, self.time.shape[:-1])
        except ValueError:
            raise ValueError(
                f"SpikeTimes: `duration` has shape {given.shape}: give one number (ms), or one for each trial"
            ) from None
        self.channels = (channels,) if isinstance(channels, int) else tuple(channels)

    def __check_init__(self):
        shapes = {"time": self.time.shape, "channel": self.channel.shape, "value": self.value.shape}
        if len(set(shapes.values())) > 1 or not self.time.ndim:
            shown = ", ".join(f"`{name}` {shape}" for name, shape in shapes.items())
            raise ValueError(
                f"SpikeTimes: the lists have shapes {shown}: give one entry each for every spike"
            )
        known = known_numbers(self.duration)
        if known is not None and not ((known > 0) & (known < math.inf)).all():
            shown = known[~((known > 0) & (known < math.inf))][0]
            raise ValueError(f"SpikeTimes: `duration` is {shown:g} ms, but must be finite and above 0")
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
        if isinstance(self.time, Tracer) or isinstance(self.duration, Tracer) or not self.time.size:
            return
        time = np.asarray(self.time)
        flat = time.reshape(-1, time.shape[-1])

        ends = np.asarray(self.duration).reshape(-1)

        def first(bad, what):
            """The complaint of the first time that is `bad`."""
            if bad.any():
                trial, k = np.argwhere(bad)[0]
                where = f" of trial {trial}" if time.ndim > 1 else ""
                what = what.format(f"{ends[trial]:g}")
                raise ValueError(f"SpikeTimes: `time` number {k}{where} is {flat[trial, k]:g} ms, {what}")

        first(
            ~np.isfinite(flat),
            "which is no time: leave it out, or give it the value 0 at the end of the trial",
        )
        first(
            (flat < 0) | (flat > ends[:, None]),
            "outside the trial of 0 to {} ms: shift or leave out such spikes",
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
            sort(jnp.clip(time, 0.0, self.duration[..., None])),
            sort(self.channel),
            sort(value),
            duration=self.duration,
            channels=self.channels,
        )


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


__all__ = ["SpikeTimes"]
