"""The scheme of one update of all neurons for every event: a loop over the events of the whole network, whose
state of all layers is one array. Between events and for pseudospikes it has the library's own closed forms,
and the library's order of events at equal times."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from spikejax.event_driven.base import pseudospikes
from spikejax.event_driven.quadratic import ExponentialQIF, Projective
from spikejax.event_driven.train import Train


class Population(NamedTuple):
    """All neurons of a feed-forward network, layer after layer, in units of their membrane time constant."""

    weight: Float[Array, "n n"]
    """Jump of the current, ``[from, to]``."""
    into: Float[Array, "channels n"]


class Carry(NamedTuple):
    """What an event changes."""

    state: Projective
    t: Float[Array, ""]
    pointer: Int[Array, ""]
    """Number of the next input."""
    train: Train


def spikes_of_all(
    population: Population,
    times: Float[Array, " inputs"],
    channels: Int[Array, " inputs"],
    end: float,
    *,
    events: int,
    spikes: int,
    sizes: tuple[int, ...],
) -> tuple[Float[Array, "spikes n"], Int[Array, " n"], Float[Array, ""]]:
    """Spike times, with pseudospikes, of all neurons, their numbers within the trial, and the time after
    `events` events, which is the end of the trial if they were enough."""
    form, n = ExponentialQIF(), population.weight.shape[0]
    inbox = jnp.concatenate([times, jnp.full(1, jnp.inf)])

    def event(carry: Carry, _):
        state, t, pointer, train = carry
        wait = form.until_spike(state)
        first = jnp.argmin(wait)
        time = jnp.minimum(jnp.minimum(inbox[pointer], t + wait[first]), end)
        arrives = inbox[pointer] <= time
        spiked = ~arrives & (time < end)
        state = form.advance(state, time - t)
        mine = spiked & (jnp.arange(n) == first)
        jump = jnp.where(arrives, population.into[channels[jnp.minimum(pointer, len(times) - 1)]], 0.0)
        jump = jump + jnp.where(spiked, population.weight[first], 0.0)
        state = form.arrive(form.fire(state, mine), jump)
        own = mine & (jnp.arange(spikes)[:, None] == train.count)
        train = Train(jnp.where(own, time, train.times), train.count + mine)
        return Carry(state, time, pointer + arrives, train), None

    zero = jnp.zeros(n, times.dtype)
    train = Train(jnp.full((spikes, n), end, times.dtype), jnp.zeros(n, jnp.int32))
    state = form.begin(jnp.full(n, 0.5 - jnp.arctan(0.5) / jnp.pi, times.dtype), zero)
    start = Carry(state, jnp.zeros((), times.dtype), jnp.zeros((), jnp.int32), train)
    last, _ = jax.lax.scan(event, start, None, length=events)
    state = form.advance(last.state, end - last.t)
    # The pseudospikes of a layer count for the next one: from the first layer to the last.
    period, phase = form.rhythm(state, rest=True)
    rate, extra, begin = phase / period, jnp.zeros(n, times.dtype), 0
    for size in sizes[:-1]:
        from_here = slice(begin, begin + size)
        extra = extra + rate[from_here] @ population.weight[from_here]
        begin += size
    period, phase = form.rhythm(state, extra)
    return pseudospikes(last.train, jnp.asarray(end, times.dtype), period, phase), last.train.count, last.t
