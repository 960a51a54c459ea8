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

PATHS = ("auto", "dense", "rows", "loop", "scatter")
"""Ways to compute the product of a list of events with weights (`spikejax.event_product`)."""


class Events(eqx.Module):
    """A stimulus as a list of events, each of a `value` that arrives in a step on a channel.

    Equal to the array that is 0 but for ``x[step, channel] += value``. An event of value 0 is none: lists of
    trials with fewer events are filled up with those. A batch of trials has one more axis in front of all
    three.

    **Arguments:** `step`: 0 to ``steps - 1``; `channel`: number of the channel, counted through all axes of
    `channels`; `value`: by default 1; `steps`: length of the trial; `channels`: shape of the stimulus at one
    moment; `ordered`: whether the steps of a list never fall, which makes products with it quicker (default:
    as it is, and no where that is not known, inside a transformation); `path`: how a product with weights is
    computed, see `spikejax.event_product`.

    **Raises:** `ValueError` for events outside the trial or of channels that do not exist, for lists of
    different length, and for lists that are said to be in order and are not.
    """

    step: Int[Array, "*batch events"]
    channel: Int[Array, "*batch events"]
    value: Float[Array, "*batch events"]
    steps: int = eqx.field(static=True)
    channels: tuple[int, ...] = eqx.field(static=True)
    ordered: bool = eqx.field(static=True)
    path: str = eqx.field(static=True)

    def __init__(
        self,
        step,
        channel,
        value=None,
        *,
        steps: int,
        channels: int | tuple[int, ...],
        ordered: bool | None = None,
        path: str = "auto",
    ):
        self.step = jnp.asarray(step, jnp.int32)
        self.channel = jnp.asarray(channel, jnp.int32)
        found = jnp.ones(self.step.shape) if value is None else jnp.asarray(value)
        floating = jnp.issubdtype(found.dtype, jnp.floating)
        self.value = found if floating else found.astype(jnp.result_type(float))
        self.steps = steps
        self.channels = (channels,) if isinstance(channels, int) else tuple(channels)
        self.ordered = bool(_in_order(self.step)) if ordered is None else ordered
        self.path = path

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
        if self.ordered and _in_order(self.step) is False:
            raise ValueError("Events: the list is said to be in the order of steps (`ordered`), but is not")
        if self.path not in PATHS:
            raise ValueError(f"Events: `path` is {self.path!r}: choose from {', '.join(PATHS)}")

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

    def by(self, path: str) -> "Events":
        """The same events, of which products are computed in the way that is named (`path`)."""
        return self._with(self.step, self.channel, self.value, path, self.ordered)

    def dense(self) -> Float[Array, "time *channels"]:
        """The array of one trial that the events stand for."""
        return self.window(0, self.steps)

    def window(self, start: int | Int[Array, ""], length: int) -> Float[Array, "length *channels"]:
        """The rows `start` to ``start + length - 1`` of the array of one trial; 0 outside the trial."""
        flat = jnp.zeros((length, math.prod(self.channels)), self.value.dtype)
        at = self.step - start
        # An index below 0 would count from the end; one above is dropped.
        at = jnp.where(at < 0, length, at)
        return flat.at[at, self.channel].add(self.value, mode="drop").reshape(length, *self.channels)

    def delayed(self, delay: Float[Array, "*channels"]) -> "Events":
        """The events of one trial, each later by the delay of its channel.

        A delay of ``k + f`` steps, k whole and f below 1, makes of an event of value w in step s two of
        ``w (1 - f)`` in ``s + k`` and ``w f`` in ``s + k + 1``: the array is interpolated linearly, and has
        the exact derivative in the delays. The list is twice as long.

        What would come after the last step is lost (it becomes value 0 there). Where the trial goes on in a
        second stretch, ``window(steps - n, n)`` of the list that was not delayed is what that has to
        remember, n being the largest delay in whole steps.

        **Arguments:** `delay`: in steps, at least 0, of the shape of `channels` or one for all.
        """
        own = jnp.broadcast_to(jnp.asarray(delay, self.value.dtype), self.channels).reshape(-1)[self.channel]
        whole = jnp.floor(own)
        part, first = own - whole, self.step + whole.astype(self.step.dtype)

        def both(a, b):
            # Side by side, so that one delay for all leaves the list nearly in order.
            return jnp.stack([a, b], axis=-1).reshape(*a.shape[:-1], -1)

        step = both(first, first + 1)
        value = both(self.value * (1 - part), self.value * part)
        inside = (step >= 0) & (step < self.steps)
        return self._with(
            jnp.clip(step, 0, self.steps - 1), both(self.channel, self.channel), jnp.where(inside, value, 0.0)
        )

    def on_lines(self, lines: tuple[int, ...]) -> "Events":
        """The events of one trial, each on every one of several lines, channels ``(*lines, *channels)``."""
        if not lines:
            return self
        size, count = math.prod(self.channels), math.prod(lines)
        # Side by side, so that a list in order stays so.
        every = lambda x: jnp.repeat(x, count)
        channel = every(self.channel) + jnp.tile(size * jnp.arange(count, dtype=jnp.int32), len(self.channel))
        channels = (*lines, *self.channels)
        return self._with(
            every(self.step), channel, every(self.value), ordered=self.ordered, channels=channels
        )

    def moved(self, by: int | Int[Array, ""]) -> "Events":
        """All events of one trial `by` steps later (earlier, if below 0); those that leave it become
        value 0."""
        step = self.step + by
        inside = (step >= 0) & (step < self.steps)
        # Those outside wait at the ends, so that a list in order stays so.
        return self._with(
            jnp.clip(step, 0, self.steps - 1),
            self.channel,
            jnp.where(inside, self.value, 0.0),
            ordered=self.ordered,
        )

    def shifted(self, by: Int[Array, " axes"]) -> "Events":
        """All events of one trial moved along the last axes of `channels` by so many places each, as an image
        is; those that leave it become value 0."""
        place = jnp.unravel_index(self.channel, self.channels)
        kept, moving = place[: len(place) - len(by)], place[len(place) - len(by) :]
        sizes = self.channels[len(kept) :]
        new = [at + b.astype(at.dtype) for at, b in zip(moving, by, strict=True)]
        inside = jnp.all(jnp.stack([(x >= 0) & (x < n) for x, n in zip(new, sizes, strict=True)]), axis=0)
        clipped = [jnp.clip(x, 0, n - 1) for x, n in zip(new, sizes, strict=True)]
        channel = jnp.ravel_multi_index((*kept, *clipped), self.channels, mode="clip")
        return self._with(
            self.step,
            channel.astype(jnp.int32),
            jnp.where(inside, self.value, 0.0),
            ordered=self.ordered,
        )

    def _with(
        self,
        step,
        channel,
        value,
        path: str | None = None,
        ordered: bool | None = None,
        channels: tuple[int, ...] | None = None,
    ) -> "Events":
        return Events(
            step,
            channel,
            value,
            steps=self.steps,
            channels=self.channels if channels is None else channels,
            ordered=ordered,
            path=self.path if path is None else path,
        )


def _in_order(step: Int[Array, "*batch events"]) -> bool | None:
    """Whether the steps of every list never fall; None if they are not known."""
    if isinstance(step, Tracer):
        return None
    known = np.asarray(step)
    return bool((known[..., 1:] >= known[..., :-1]).all())


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


def as_array(stimulus: Any) -> Any:
    """One trial's input with events as the array that they stand for, and anything else as it is."""
    return stimulus.dense() if isinstance(stimulus, Events) else stimulus


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


__all__ = ["PATHS", "Events", "Stimulus", "as_array", "as_stimulus", "steps_in"]
