"""What a network is given: an array with a row for every step, or a list of events."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from .component import known_numbers
from .parameters import cast


class Events(eqx.Module):
    """A stimulus as a list of events, each of a `value` that arrives in a step on a channel.

    Equal to the array that is 0 but for ``x[step, channel] += value``. An event of value 0 is none: lists of
    trials with fewer events are filled up with those. A batch of trials has one more axis in front of all
    three.

    **Arguments:** `step`: 0 to ``steps - 1``; `channel`: number of the channel, counted through all axes of
    `channels`; `value`: by default 1; `steps`: length of the trial; `channels`: shape of the stimulus at one
    moment.

    **Raises:** `ValueError` for events outside the trial or of channels that do not exist, and for lists of
    different length.
    """

    step: Int[Array, "*batch events"]
    channel: Int[Array, "*batch events"]
    value: Float[Array, "*batch events"]
    steps: int = eqx.field(static=True)
    channels: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, step, channel, value=None, *, steps: int, channels: int | tuple[int, ...]):
        self.step = jnp.asarray(step, jnp.int32)
        self.channel = jnp.asarray(channel, jnp.int32)
        ones = value is None
        self.value = jnp.ones(self.step.shape) if ones else jnp.asarray(value, jnp.result_type(float))
        self.steps = steps
        self.channels = (channels,) if isinstance(channels, int) else tuple(channels)

    def __check_init__(self):
        shapes = {"step": self.step.shape, "channel": self.channel.shape, "value": self.value.shape}
        if len(set(shapes.values())) > 1:
            shown = ", ".join(f"`{name}` {shape}" for name, shape in shapes.items())
            raise ValueError(
                f"Events: the lists differ in shape, {shown}: give one entry each for every event"
            )
        if self.steps < 1 or min(self.channels, default=0) < 1:
            raise ValueError(
                f"Events: `steps` is {self.steps} and `channels` {self.channels}: there is nothing to hold"
            )
        for name, limit in (("step", self.steps), ("channel", math.prod(self.channels))):
            x = getattr(self, name)
            if isinstance(x, Tracer) or not x.size:
                continue
            low, high = int(np.min(x)), int(np.max(x))
            if low < 0 or high >= limit:
                raise ValueError(
                    f"Events: `{name}` goes from {low} to {high}, but must lie in 0 to {limit - 1}: leave "
                    "out or move the events outside"
                )
        numbers = known_numbers(self.value)
        if numbers is not None and not np.isfinite(numbers).all():
            raise ValueError("Events: `value` holds numbers that are not finite")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array that the events stand for: ``(*batch, steps, *channels)``."""
        return (*self.step.shape[:-1], self.steps, *self.channels)

    @property
    def ndim(self) -> int:
        """Number of axes of that array."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def dense(self) -> Float[Array, "time *channels"]:
        """The array of one trial that the events stand for."""
        flat = jnp.zeros((self.steps, math.prod(self.channels)), self.value.dtype)
        return flat.at[self.step, self.channel].add(self.value).reshape(self.steps, *self.channels)


MOST_STEPS = 2**31 - 1
"""Steps that a trial can have: they are counted in 32 bits."""


def steps_in(duration: float, dt: float, what: str) -> float:
    """How many steps of `dt` ms there are in `duration` ms, a fraction of one too.

    **Raises:** `ValueError` that begins with `what` if there are more than a trial can have.
    """
    if not duration <= MOST_STEPS * dt:
        raise ValueError(
            f"{what} of {duration:g} ms has more than {MOST_STEPS} steps of {dt:g} ms: make it shorter, or "
            "the steps longer"
        )
    return duration / dt


Stimulus = Float[Array, "time *channels"] | Events
"""One trial's input: an array with a row for every step, or a list of events."""


def as_stimulus(stimulus: Any, channels: tuple[int, ...], dtype: Any) -> Stimulus:
    """One trial's input, of `channels` at every moment, in the precision of a network: events as they are,
    and arrays of any numbers, or nested lists of them, as an array.

    **Raises:** `ValueError` in one line for what is no trial of these channels.
    """
    expected = f"(time, {', '.join(map(str, channels))})"
    found = cast(stimulus, dtype) if isinstance(stimulus, Events) else _as_array(stimulus, expected, dtype)
    if found.ndim != 1 + len(channels):
        raise ValueError(
            f"`stimulus` has shape {found.shape}, but one trial is {expected}: use jax.vmap over trials"
        )
    if found.shape[1:] != channels:
        raise ValueError(
            f"`stimulus` has {found.shape[1:]} channels but the network expects {channels} "
            "(layers[0].feedforward.in_shape)"
        )
    if found.shape[0] == 0:
        raise ValueError("`stimulus` is empty: a trial has at least one step")
    return found


def _as_array(stimulus: Any, expected: str, dtype: Any) -> Array:
    kind = type(stimulus).__name__
    if not isinstance(stimulus, list | tuple) and not hasattr(stimulus, "ndim"):
        raise ValueError(f"`stimulus` is a {kind}: give an array {expected}, or `Events`")
    try:
        if any(isinstance(x, str) for x in jax.tree.leaves(stimulus)):
            raise TypeError("words are no numbers")
        found = jnp.asarray(stimulus)
    except (TypeError, ValueError):
        raise ValueError(
            f"`stimulus` is a {kind} that makes no array of numbers: give an array {expected}, or lists of "
            "equal length"
        ) from None
    if jnp.issubdtype(found.dtype, jnp.complexfloating) or not jnp.isdtype(found.dtype, ("bool", "numeric")):
        raise ValueError(f"`stimulus` is of type {found.dtype}: give real numbers")
    return found.astype(dtype)


__all__ = ["Events", "Stimulus", "as_stimulus", "steps_in"]
