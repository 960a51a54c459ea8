"""The loop as `jax.lax.scan`: the one that says what all others compute."""

import equinox as eqx
import jax
import jax.numpy as jnp

from ..connections.base import hold
from ..state import Carry, LayerState, Record
from .base import LOOPS, AbstractLoop, Cotangents, History, Trajectory, forward_step
from .steps import over_steps, row


@LOOPS.register("scan")
class Scan(AbstractLoop):
    """`jax.lax.scan` there and back. Kept are the state, activation and current of every step; on the way
    back a step's own intermediates are computed again by `jax.vjp` of the cell."""

    def forward(self, cell, recurrent, drive, carry, mask, save):
        def step(t, carry):
            new, release, current = forward_step(cell, recurrent, carry, *row((drive, mask), t))
            every = Record(release=release, v=new.state.neuron.v, late=new.state.pending)
            rest = Record(**{name: getattr(every, name) for name in ("release", "v", "late") if name in save})
            # Without a recurrence the current is what was given.
            own = None if recurrent is None else current
            return new, (carry.state.neuron, carry.state[2:4], new.state.activation, own, rest)

        last, series = over_steps(step, carry, len(drive))
        run = Trajectory(last, *series)
        return run._replace(current=drive) if recurrent is None else run

    def backward(self, cell, recurrent, history: History, cotangents: Cotangents, damping):
        floats, others = eqx.partition(cell, eqx.is_inexact_array)
        activation = history.activation

        def back(t, costate):
            d_state, d_cell = costate
            neuron, synapse, current, m, d_s, d_rest, d_shown = row(xs, t)
            # Looked up rather than scanned over: a shifted copy of the whole series would be held through the
            # loop.
            before = jnp.where(t > 0, activation[jnp.maximum(t - 1, 0)], history.first)
            d_neuron, d_own, d_pending, d_hidden, d_past = d_state[:5]
            if d_rest.v is not None:
                d_neuron = d_neuron._replace(v=d_neuron.v + d_rest.v)
            # The count starts at 0 here: it enters a step linearly, so its value does not matter to the
            # derivative.
            start = cell.start(LayerState(neuron, before, *synapse))
            moving, still = eqx.partition(start, eqx.is_inexact_array)

            def step(cell, carry, current):
                out = eqx.combine(cell, others)(eqx.combine(carry, still), current, m)
                return eqx.filter(out, eqx.is_inexact_array)

            out, pull = jax.vjp(step, floats, moving, current)
            d_release = jnp.zeros_like(out[1]) if d_rest.release is None else d_rest.release
            if d_rest.late is not None:
                d_pending = d_pending + d_rest.late
            d_after = LayerState(d_neuron, d_own + d_s, d_pending, d_hidden)
            d_step, d_start, d_current = pull((Carry(d_after, cotangents.last.count), d_release))
            if d_shown is not None:
                d_current = d_current + d_shown
            d_state = d_start.state
            if recurrent is not None:
                d_state = _through_recurrence(recurrent, d_state, d_past, d_current, before, m)
            if not damping.off:
                d_state = damping(d_state, cell.dt)
            return (d_state, jax.tree.map(jnp.add, d_cell, d_step)), d_current

        start = (cotangents.last.state, jax.tree.map(jnp.zeros_like, floats))
        xs = (history.neuron, history.synapse, history.current, history.mask)
        xs = (*xs, cotangents.activation, cotangents.rest, cotangents.current)
        (d_state, d_cell), d_current = over_steps(back, start, len(history.current), reverse=True)
        return d_cell, d_current, Carry(d_state, cotangents.last.count)


def _through_recurrence(recurrent, d_state: LayerState, d_past, d_current, activation, mask) -> LayerState:
    """The costate before a step, with what reaches it through the recurrent connection: ``W^T dI`` where it
    remembers nothing."""
    nothing = jax.tree.map(jnp.zeros_like, d_past)
    back = jax.linear_transpose(recurrent.step, activation, d_past)
    d_activation, d_before = back((d_current, hold(mask, d_past, nothing)))
    if mask is not None:
        d_before = jax.tree.map(jnp.add, d_before, hold(mask, nothing, d_past))
    return d_state._replace(activation=d_state.activation + d_activation, past=d_before)


__all__ = ["Scan"]
