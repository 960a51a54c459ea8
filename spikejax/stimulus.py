"""What a network is given: an array with a row for every step, or a list of events."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from .component import known_numbers


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

__all__ = ["Events", "Stimulus", "steps_in"]
