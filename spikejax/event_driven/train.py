"""What goes into a layer and what comes out of it, in time constants of its membranes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Arrivals(NamedTuple):
    """What arrives at a layer of n neurons, in the order of the times.

    The jump that an event makes is ``value * matrix[source]``: columns of weights are looked up where they are
    needed, since all of them together would be neurons x events.
    """

    times: Float[Array, " events"]
    source: Int[Array, " events"]
    value: Float[Array, " events"]
    """0 for an event that is none, to fill up a list; it stands at the end of the trial."""
    matrix: Float[Array, "sources n"]

    def column(self, k: Int[Array, "..."]) -> Float[Array, "... n"]:
        """The jumps that the events number `k` make."""
        return self.matrix[self.source[k]] * self.value[k][..., None]


class Train(NamedTuple):
    """The spikes of a layer of n neurons."""

    times: Float[Array, "spikes n"]
    """In the order of time; after the last spike of a neuron, the end of the trial."""
    count: Int[Array, " n"]  # pyright: ignore[reportIncompatibleMethodOverride] (not tuple.count)
    """Their number; one above the room for `times`: there are more."""


def merge(parts: list[Arrivals], most: int) -> tuple[Arrivals, Int[Array, ""]]:
    """All of these arrivals in one list of at most `most`, the earliest, and how many were left out."""
    if len(parts) == 1 and parts[0].times.shape[0] <= most:
        return parts[0], jnp.zeros((), jnp.int32)
    offset, sources = 0, []
    for part in parts:
        sources.append(part.source + offset)
        offset += part.matrix.shape[0]
    together = lambda name: jnp.concatenate([getattr(part, name) for part in parts])
    times, value, source = together("times"), together("value"), jnp.concatenate(sources)
    order = _in_time(times, value != 0)[:most]
    lost = jnp.maximum((value != 0).sum(dtype=jnp.int32) - most, 0)
    return Arrivals(times[order], source[order], value[order], together("matrix")), lost


def from_spikes(
    train: Train, matrix: Float[Array, "sources n"], delay, end: Float[Array, ""], most: int
) -> tuple[Arrivals, Int[Array, ""]]:
    """What the spikes of a layer are to the next one, the first `most`, and how many were left out.

    **Arguments:** `delay`: 0, or one for every neuron; what would arrive after the `end` does not.
    """
    slots = jnp.arange(train.times.shape[0], dtype=jnp.int32)[:, None]
    shifted = train.times + delay
    there = (slots < train.count) & (shifted < end)
    times = jnp.where(there, shifted, end).reshape(-1)
    flat = there.reshape(-1)
    order = _in_time(times, flat)[:most]
    lost = jnp.maximum(flat.sum(dtype=jnp.int32) - most, 0)
    value = flat[order].astype(times.dtype)
    return Arrivals(times[order], order.astype(jnp.int32) % train.times.shape[1], value, matrix), lost


def _in_time(times: Float[Array, " events"], there: Bool[Array, " events"]) -> Int[Array, " events"]:
    """The order of the times, those that are not there last; equal ones as they come."""
    return jnp.argsort(jnp.where(there, jax.lax.stop_gradient(times), jnp.inf), stable=True)


__all__ = ["Arrivals", "Train", "from_spikes", "merge"]
