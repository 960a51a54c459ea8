"""The events of a layer in stretches: what is kept of every event is in memory for one of them only."""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .train import Arrivals, in_any_trial

LENGTH = 64
"""Events of a stretch, at least."""

Carry = TypeVar("Carry")


class Stretch(NamedTuple):
    """Some intervals, each of which ends with an event."""

    starts: Float[Array, " intervals"]
    ends: Float[Array, " intervals"]
    source: Int[Array, " intervals"]
    value: Float[Array, " intervals"]
    """0 for an event that is none."""

    def jumps(self, arrivals: Arrivals) -> Float[Array, "intervals n"]:
        """What arrives."""
        return arrivals.matrix[self.source] * self.value[:, None]


def through(
    pass_on: Callable[[Carry, Stretch], Carry], carry: Carry, arrivals: Arrivals, end: Float[Array, ""]
) -> Carry:
    """From 0 to `end`, stretch by stretch. The way back works out each anew, from what was carried to it.

    A stretch in which nothing happens in any trial of a batch is left out: lists have room for more events
    than there are.

    **Arguments:** `pass_on` takes what is carried through a stretch.
    """
    events = arrivals.times.shape[0]
    # What is in memory are the events of a stretch and what is carried to each: together as the root.
    size = min(max(LENGTH, math.isqrt(events // 8)), events + 1)
    # The last interval ends with the trial, and more of length 0 fill up the last stretch.
    more = -(events + 1) % size + 1
    ends = jnp.concatenate([arrivals.times, jnp.broadcast_to(end, (more,))])
    starts = jnp.concatenate([jnp.zeros(1, ends.dtype), ends[:-1]])
    filled = lambda x: jnp.concatenate([x, jnp.zeros(more, x.dtype)])
    pieces = Stretch(starts, ends, filled(arrivals.source), filled(arrivals.value))
    pieces = jax.tree.map(lambda x: x.reshape(-1, size), pieces)
    if len(pieces.ends) == 1:
        return pass_on(carry, jax.tree.map(lambda x: x[0], pieces))

    def unless_empty(carry, piece):
        # A list is filled up at the end of the trial, where time stands still.
        fixed = jax.lax.stop_gradient(piece)
        something = in_any_trial(jnp.any((fixed.starts != fixed.ends) | (fixed.value != 0)))
        return jax.lax.cond(something, pass_on, lambda carry, _: carry, carry, piece), None

    # In a loop nothing is found to be computed twice that `prevent_cse` would have to keep.
    return jax.lax.scan(jax.checkpoint(unless_empty, prevent_cse=False), carry, pieces)[0]


__all__ = ["Stretch", "through"]
