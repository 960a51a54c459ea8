"""The loop whose way back has the derivatives of all steps before it begins."""

import equinox as eqx
import jax
import jax.numpy as jnp

from ..connections.base import hold
from ..gates import Released
from ..state import Carry, LayerState, Record
from .base import LOOPS, Cotangents, History, Trajectory
from .factors import factors, fires, worthwhile
from .scan import Scan, through_recurrence
from .steps import over_steps, row


@LOOPS.register("factored")
class Factored(Scan):
    """`Scan`, with the derivatives of the neurons' steps computed before the loop back (`factors`), for all steps
    at once, so that the loop is a linear recursion:
    ```
    (P_t, dI_t) = J_t^T (P_{t+1}, dq_t)
    ```
    with the small matrix ``J_t`` of a neuron's step, which holds the derivatives of its state and of the charge
    that it releases by its state and its input. What follows from the neuron's own step serves every neuron;
    where `spikejax.loops.factors.worthwhile` says that it does not pay, it is `Scan`.

    The cotangents of the cell's parameters are one more product, after the loop, of the steps' derivatives with
    cotangents that are known then.
    """

    def forward(self, cell, recurrent, drive, carry, mask, save):
        if not worthwhile(cell, carry.state.neuron, drive[0]):
            return super().forward(cell, recurrent, drive, carry, mask, save)
        run = _fed_forward if recurrent is None else _recurrent
        end, before, fired, current = run(cell, recurrent, drive, carry.state, mask)
        release = _moved(_like(mask, fired.charge), fired.charge)
        # What a step begins with is what the one before has left.
        after = lambda x, last: jnp.concatenate([x[1:], last[None]])
        every = Record(
            release=release, v=after(before.neuron.v, end.neuron.v), late=after(before.pending, end.pending)
        )
        rest = Record(**{name: getattr(every, name) for name in ("release", "v", "late") if name in save})
        last = Carry(end, carry.count + jnp.sum(release, axis=0))
        activation = after(before.activation, end.activation)
        return Trajectory(last, before.neuron, (before.pending, before.hidden), activation, current, rest)

    def backward(self, cell, recurrent, history: History, cotangents: Cotangents, damping):
        current = history.current
        if not worthwhile(cell, *_first((history.neuron, current))):
            return super().backward(cell, recurrent, history, cotangents, damping)
        every = factors(cell, history.neuron, current)
        arrived = _arrived(cell, history)
        d_count = cotangents.last.count
        given, input_back = jax.vjp(cell.input, current[0])
        prompts = jax.eval_shape(_fire(cell), *_first((history.neuron, current))).prompt is not None
        xs = (every, history.synapse, arrived, history.mask)
        xs = (*xs, cotangents.activation, cotangents.rest, cotangents.current)

        def back(t, d_state):
            own, (_, hidden), own_arrived, m, d_s, d_rest, d_shown = row(xs, t)
            before = jnp.where(t > 0, history.activation[jnp.maximum(t - 1, 0)], history.first)
            d_neuron, d_own, d_pending, d_hidden, d_past = d_state[:5]
            if d_rest.v is not None:
                d_neuron = d_neuron._replace(v=d_neuron.v + d_rest.v)
            if d_rest.late is not None:
                d_pending = d_pending + d_rest.late
            d_after = (d_neuron, d_own + d_s, d_pending, d_hidden)
            d_release = d_count if d_rest.release is None else d_count + d_rest.release
            stays, (d_after, d_release) = _held(m, d_after), _moved(m, (d_after, d_release))
            d_neuron, d_own, d_pending, d_hidden = d_after
            filtered = lambda s, q, x: cell.synapse.step(s, q, cell.dt, x)
            _, pull = jax.vjp(filtered, before, own_arrived, hidden)
            d_before, d_arrived, d_hidden = pull((d_own, d_hidden))
            d_charge = (d_pending, d_arrived - d_pending) if prompts else (d_arrived,)
            d_charge = (d_release + d_charge[0], *d_charge[1:])
            leaves, tree = jax.tree.flatten(d_neuron)
            *d_leaves, = own.pull([*leaves, *d_charge])
            d_neuron, d_input = tree.unflatten(d_leaves[: len(leaves)]), d_leaves[len(leaves) :]
            (d_current,) = input_back(jax.tree.structure(given).unflatten(d_input))
            d_start = (d_neuron, d_before, d_arrived, d_hidden)
            if stays is not None:
                d_start = jax.tree.map(jnp.add, d_start, stays)
            if d_shown is not None:
                d_current = d_current + d_shown
            d_state = LayerState(*d_start, d_past)
            if recurrent is not None:
                d_state = through_recurrence(recurrent, d_state, d_past, d_current, before, m)
            if not damping.off:
                d_state = damping(d_state, cell.dt)
            return d_state, (d_current, d_after, d_release)

        start = cotangents.last.state._replace(inputs=None)
        d_state, (d_current, d_after, d_release) = over_steps(back, start, len(current), reverse=True)
        d_cell = _of_the_cell(cell, history, d_after, d_release)
        return d_cell, d_current, cotangents.last._replace(state=d_state)


def _fed_forward(cell, recurrent, drive, state: LayerState, mask):
    """The neurons through time, then all that they release, then the synapses through time."""
    del recurrent

    def move(t, neuron):
        current, m = row((drive, mask), t)
        new, _ = cell.gate.step(cell.neuron, neuron, cell.input(current), cell.dt)
        return hold(m, new, neuron), neuron

    neuron, neurons = over_steps(move, state.neuron, len(drive))
    fired = jax.vmap(_fire(cell))(neurons, drive)

    def pass_on(t, now):
        charges, m = row((fired[1:], mask), t)
        return hold(m, _filtered(cell, now, *charges), now), now

    now, series = over_steps(pass_on, (state.activation, state.pending, state.hidden), len(drive))
    return state._replace(neuron=neuron)._replace(**_synapse(now)), LayerState(neurons, *series), fired, drive


def _recurrent(cell, recurrent, drive, state: LayerState, mask):
    """All in one loop, which keeps what each step begins with."""

    def step(t, state):
        own, m = row((drive, mask), t)
        current, past = recurrent.step(state.activation, state.past)
        current = own + current
        neuron, released = cell.gate.step(cell.neuron, state.neuron, cell.input(current), cell.dt)
        synapse = _filtered(cell, (state.activation, state.pending, state.hidden), *released)
        new = state._replace(neuron=neuron, past=past)._replace(**_synapse(synapse))
        return hold(m, new, state), (state[:4], current)

    state, (series, current) = over_steps(step, state, len(drive))
    before = LayerState(*series)
    return state, before, jax.vmap(_fire(cell))(before.neuron, current), current


def _filtered(cell, now, charge, prompt):
    """Activation, pending charge and hidden variables after a step in which this is released."""
    activation, pending, hidden = now
    released = Released(charge, charge if prompt is None else prompt)
    activation, hidden = cell.synapse.step(activation, released.prompt + pending, cell.dt, hidden)
    return activation, released.late, hidden


def _synapse(now):
    return dict(zip(("activation", "pending", "hidden"), now, strict=True))


def _like(mask, series):
    return None if mask is None else mask.reshape(mask.shape + (1,) * (series.ndim - 1))


def _first(tree):
    return jax.tree.map(lambda x: x[0], tree)


def _fire(cell):
    def fire(neuron, current):
        moving, still = eqx.partition(neuron, eqx.is_inexact_array)
        return fires(cell, still)(moving, cell.input(current))

    return fire


def _arrived(cell, history: History):
    """The charge that arrived in each step. Only a synapse that is not linear has a derivative that depends on
    it."""
    fired = jax.vmap(_fire(cell))(history.neuron, history.current)
    return history.synapse[0] + (fired.charge if fired.prompt is None else fired.prompt)


def _moved(mask, cotangents):
    """What goes back through a step, and not past it."""
    if mask is None:
        return cotangents
    return jax.tree.map(lambda x: jnp.where(mask, x, 0.0), cotangents)


def _held(mask, cotangents):
    if mask is None:
        return None
    return jax.tree.map(lambda x: jnp.where(mask, 0.0, x), cotangents)


def _of_the_cell(cell, history: History, d_after, d_release):
    """Cotangents of the cell's parameters, from those of what each step gave."""
    floats, others = eqx.partition(cell, eqx.is_inexact_array)
    before = jnp.concatenate([history.first[None], history.activation[:-1]])

    def step(floats, neuron, before, synapse, current):
        cell = eqx.combine(floats, others)
        after, release = cell(cell.start(LayerState(neuron, before, *synapse)), current)
        return eqx.filter((after.state[:4], release), eqx.is_inexact_array)

    series = (history.neuron, before, history.synapse, history.current)
    run = jax.vmap(step, in_axes=(None, 0, 0, 0, 0))
    _, pull = jax.vjp(lambda floats: run(floats, *series), floats)
    return pull((d_after, d_release))[0]


__all__ = ["Factored"]
