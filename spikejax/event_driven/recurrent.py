"""A recurrent layer, from one event to the next over all of its neurons.

It runs twice. The first time only finds out what happens: which neuron spikes, or which spike arrives, in
which order; it is not differentiated. The second time follows this order, so that the weights of every event
are looked up before the loop and the time of an event depends on one neuron: it gives times and derivatives.
Where two events change their order the times are continuous; a derivative is that of the order found.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .base import AbstractClosedForm, Solved
from .train import Arrivals, Train, in_any_trial

INPUT, SPIKE, ARRIVAL, NOTHING = 0, 1, 2, 3
CHUNK = 32


class Log(NamedTuple):
    """What happened in a layer, in order."""

    kind: Int[Array, " events"]
    """An input arrives, a neuron spikes, a spike of the layer itself arrives, or nothing any more."""
    who: Int[Array, " events"]
    """Number of the input; the neuron of the spike; for an arrival the number, in this list, of its spike."""
    slot: Int[Array, " events"]
    """The how-manieth of its neuron a spike is."""
    count: Int[Array, " n"]  # pyright: ignore[reportIncompatibleMethodOverride] (not tuple.count)
    """Spikes of every neuron."""
    more: Bool[Array, ""]
    """Whether the list was too short."""


def run(
    form: AbstractClosedForm,
    state: Solved,
    arrivals: Arrivals,
    weight: Float[Array, "n n"],
    delay: Float[Array, " n"] | None,
    end: Float[Array, ""],
    *,
    spikes: int,
    events: int,
) -> tuple[Train, Solved, Bool[Array, ""]]:
    """A recurrent layer from 0 to `end`.

    **Arguments:** `weight`: ``[from, to]``, by how much a spike of a neuron makes the others jump; `delay`:
    of the spikes of every neuron, or None: they arrive at once; `spikes`: room for those of each neuron;
    `events`: at most so many inputs, spikes and arrivals together.

    **Returns:** the spikes, the last state, and whether there were more events.
    """
    fixed = jax.lax.stop_gradient((form, state, arrivals, weight, delay, end))
    log = _order(*fixed, events)
    times, state = _replay(form, state, arrivals, weight, delay, end, log)
    spiked = log.kind == SPIKE
    place = jnp.where(spiked, log.slot, spikes), jnp.where(spiked, log.who, 0)
    empty = jnp.broadcast_to(end, (spikes, weight.shape[0]))
    return Train(empty.at[place].set(times, mode="drop"), log.count), state, log.more


def _order(form, state, arrivals: Arrivals, weight, delay, end, events: int) -> Log:
    n = weight.shape[0]
    inputs = arrivals.times.shape[0]
    kinds, zeros = jnp.full(events, NOTHING, jnp.int32), jnp.zeros(events, jnp.int32)
    coming = jnp.full(events, jnp.inf, end.dtype)
    # One more input, after the end, for when there are none left.
    inbox = jnp.concatenate([jnp.where(arrivals.value != 0, arrivals.times, jnp.inf), jnp.full(1, jnp.inf)])

    def upcoming(carry):
        state, t, _, pointer, _, coming = carry
        wait = form.until_spike(state)
        first = jnp.argmin(wait)
        arrives = jnp.argmin(coming)
        # At the same time inputs come before spikes, and those before arrivals.
        times = jnp.stack([inbox[pointer], t + wait[first], coming[arrives]])
        kind = jnp.argmin(times).astype(jnp.int32)
        return (
            kind,
            times[kind],
            jnp.stack([pointer, first.astype(jnp.int32), arrives.astype(jnp.int32)])[kind],
        )

    def step(carry):
        state, t, k, pointer, log, coming, (kind, time, who) = carry
        state = form.advance(state, time - t)
        spikes = kind == SPIKE
        state = form.fire(state, spikes & (jnp.arange(n) == who))
        sender = jnp.where(
            kind == ARRIVAL, log.who[jnp.where(kind == ARRIVAL, who, 0)], jnp.where(spikes, who, 0)
        )
        own = spikes if delay is None else kind == ARRIVAL
        jump = jnp.where(own, weight[sender], 0.0)
        jump = jnp.where(kind == INPUT, arrivals.column(jnp.minimum(pointer, inputs - 1)), jump)
        state = form.arrive(state, jump)
        mine = jnp.where(spikes, who, 0)
        log = Log(
            log.kind.at[k].set(kind),
            log.who.at[k].set(who),
            log.slot.at[k].set(log.count[mine]),
            log.count.at[mine].add(spikes),
            log.more,
        )
        if delay is not None:
            coming = coming.at[k].set(jnp.where(spikes, time + delay[jnp.where(spikes, who, 0)], jnp.inf))
            coming = jnp.where((kind == ARRIVAL) & (jnp.arange(events) == who), jnp.inf, coming)
        carry = (state, time, k + 1, pointer + (kind == INPUT), log, coming)
        return (*carry, upcoming(carry))

    zero = jnp.zeros((), jnp.int32)
    log = Log(kinds, zeros, zeros, jnp.zeros(n, jnp.int32), jnp.zeros((), bool))
    carry = (state, jnp.zeros((), end.dtype), zero, zero, log, coming)
    carry = jax.lax.while_loop(lambda c: (c[-1][1] < end) & (c[2] < events), step, (*carry, upcoming(carry)))
    return carry[4]._replace(more=carry[-1][1] < end)


def _replay(form, state, arrivals: Arrivals, weight, delay, end, log: Log):
    n, events = weight.shape[0], log.kind.shape[0]
    size = min(CHUNK, events)
    more = -events % size
    kind = jnp.concatenate([log.kind, jnp.full(more, NOTHING, jnp.int32)]).reshape(-1, size)
    who = jnp.concatenate([log.who, jnp.zeros(more, jnp.int32)]).reshape(-1, size)

    def chunk(carry, x):
        kind, who, number = x
        inputs = jnp.where(kind == INPUT, who, 0)
        # The neuron whose spike arrives: by way of the list for a delayed one.
        sender = jnp.where(kind == ARRIVAL, log.who[jnp.where(kind == ARRIVAL, who, 0)], who)
        sender = jnp.where(kind == INPUT, 0, sender)
        own = kind == (SPIKE if delay is None else ARRIVAL)
        jumps = jnp.where(own[:, None], weight[sender], 0.0)
        jumps = jumps + jnp.where((kind == INPUT)[:, None], arrivals.column(inputs), 0.0)
        given = arrivals.times[inputs]
        late = jnp.zeros_like(given) if delay is None else delay[sender]

        def step(carry, x):
            state, t, past = carry
            kind, who, jump, given, late, k = x
            spikes = kind == SPIKE
            mine = spikes & (jnp.arange(n) == who)
            # Of the others the time may be inf, and so may its derivative, which times 0 is no number.
            own = jax.tree.map(lambda x: jnp.where(mine, x, jax.lax.stop_gradient(x)), state)
            wait = form.until_spike(own)
            time = t + jnp.sum(jnp.where(mine, wait, 0.0))
            time = jnp.where(kind == INPUT, given, time)
            if delay is not None:
                time = jnp.where(kind == ARRIVAL, past[jnp.where(kind == ARRIVAL, who, 0)] + late, time)
            time = jnp.where(kind == NOTHING, t, time)
            state = form.fire(form.advance(state, time - t), mine)
            state = form.arrive(state, jump)
            if delay is not None:
                past = past.at[k].set(time)
            return (state, time, past), time

        return jax.lax.scan(step, carry, (kind, who, jumps, given, late, number))

    past = jnp.zeros(events + more if delay is not None else 0, end.dtype)
    number = jnp.arange(events + more, dtype=jnp.int32).reshape(-1, size)
    carry = (state, jnp.zeros((), end.dtype), past)

    def unless_empty(carry, x):
        kind, _, _ = x
        nothing = lambda carry, _: (carry, jnp.broadcast_to(carry[1], size))
        return jax.lax.cond(in_any_trial(jnp.any(kind != NOTHING)), chunk, nothing, carry, x)

    steps = jax.checkpoint(unless_empty, prevent_cse=False)
    (state, t, _), times = jax.lax.scan(steps, carry, (kind, who, number))
    return times.reshape(-1)[:events], form.advance(state, end - t)


__all__ = ["run"]
