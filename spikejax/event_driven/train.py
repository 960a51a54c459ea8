"""What goes into a layer and what comes out of it, in time constants of its membranes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

FEW = 4
"""Events are looked for among all the places for them where no more than one in so many is taken."""


class Arrivals(NamedTuple):
    """What arrives at a layer of n neurons, in the order of the times.

    The jump that an event makes is ``value * matrix[source]``: columns of weights are looked up where they
    are needed, since all of them together would be neurons x events.
    """

    times: Float[Array, " events"]
    source: Int[Array, " events"]
    value: Float[Array, " events"]
    """0 for an event that is none, to fill up a list; it stands at the end of the trial."""
    matrix: Float[Array, "sources n"]

    def column(self, k: Int[Array, "..."]) -> Float[Array, "... n"]:
        """The jumps that the events number `k` make."""
        return self.matrix[self.source[k]] * self.value[k][..., None]


Delays = Float[Array, "lines inputs"] | None
"""How long the spikes of every input are on their way: with several lines each arrives several times, on line
l as source ``l inputs + input``. None: at once."""


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
    order = _in_time(times, value != 0, most)
    lost = jnp.maximum((value != 0).sum(dtype=jnp.int32) - most, 0)
    return Arrivals(times[order], source[order], value[order], together("matrix")), lost


def from_spikes(
    train: Train, matrix: Float[Array, "sources n"], delay: Delays, end: Float[Array, ""], most: int
) -> tuple[Arrivals, Int[Array, ""]]:
    """What the spikes of a layer are to the next one, the first `most`, and how many were left out."""
    slots = jnp.arange(train.times.shape[0], dtype=jnp.int32)[:, None]
    there = jnp.broadcast_to(slots < train.count, train.times.shape).reshape(-1)
    source = jnp.broadcast_to(jnp.arange(train.times.shape[1], dtype=jnp.int32), train.times.shape).reshape(
        -1
    )
    return sort(train.times.reshape(-1), source, there.astype(train.times.dtype), matrix, delay, end, most)


def sort(
    times: Float[Array, " events"],
    source: Int[Array, " events"],
    value: Float[Array, " events"],
    matrix: Float[Array, "sources n"],
    delay: Delays,
    end: Float[Array, ""],
    most: int,
) -> tuple[Arrivals, Int[Array, ""]]:
    """Events in the order in which they arrive, the first `most`, and how many were left out; what would
    arrive
    after the `end` does not."""
    if delay is not None:
        lines, inputs = delay.shape
        times = (times + delay[:, source]).reshape(-1)
        source = (source + inputs * jnp.arange(lines, dtype=jnp.int32)[:, None]).reshape(-1)
        value = jnp.tile(value, lines)
    there = (value != 0) & (times < end)
    order = _in_time(times, there, most)
    lost = jnp.maximum(there.sum(dtype=jnp.int32) - most, 0)
    there = there[order]
    times, value = jnp.where(there, times[order], end), jnp.where(there, value[order], 0.0)
    return Arrivals(times, source[order], value, matrix), lost


def _in_time(
    times: Float[Array, " events"], there: Bool[Array, " events"], most: int
) -> Int[Array, " first"]:
    """The order of the times, the first `most`, those that are not there last; equal ones as they come."""
    keys = jnp.where(there, jax.lax.stop_gradient(times), jnp.inf)
    size = times.shape[0]
    if most < size and keys.dtype == jnp.float32:
        # XLA has a fast way for this, in single precision.
        return jax.lax.top_k(-keys, most)[1]
    part = size // FEW
    if part < 8:
        return jnp.argsort(keys, stable=True)[:most]

    def of_few(keys, there):
        # Where there is room for many more than there are, sorting the room would be most of the work.
        place = jnp.where(there, jnp.cumsum(there, dtype=jnp.int32) - 1, part)
        # One of those that are not there stands for all of them.
        none = jnp.argmin(there).astype(jnp.int32)
        those = jnp.full(part, none).at[place].set(jnp.arange(size, dtype=jnp.int32), mode="drop")
        those = those[jnp.argsort(keys[those], stable=True)]
        return jnp.concatenate([those, jnp.full(size - part, none)])

    every = lambda keys, there: jnp.argsort(keys, stable=True).astype(jnp.int32)
    more = in_any_trial(jnp.sum(there, dtype=jnp.int32) > part)
    return jax.lax.cond(more, every, of_few, keys, there)[:most]


@jax.custom_batching.custom_vmap
def in_any_trial(x: Bool[Array, ""]) -> Bool[Array, ""]:
    """Whether it is so in any trial of a batch, for `jax.lax.cond` to leave out what no trial needs: by
    itself `jax.vmap` makes both branches run where trials differ."""
    return x


@in_any_trial.def_vmap
def _in_any_trial_of_a_batch(size, batched, x):
    del size, batched
    return in_any_trial(jnp.any(x)), False


__all__ = ["Arrivals", "Delays", "Train", "from_spikes", "in_any_trial", "merge", "sort"]
