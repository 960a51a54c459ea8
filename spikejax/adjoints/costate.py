"""The paper's adjoint as a `jax.custom_vjp`, for every clock-driven neuron.

The loop is split in three so that no weight gradient is ever formed inside it:

1. `_trajectory` runs the loop, without derivative, and keeps the states, activations and currents.
2. `_join` gives the kept current its derivative ``dI_t = d(drive)_t + dW s_t`` at a *given* s. It is linear
   algebra that JAX transposes itself: the weight gradient ``sum_t dI_t s_t^T`` comes out as one matrix
   product over the whole trial, under `jax.vmap` over all trials at once; and ``vmap(grad)``, one gradient
   per trial, is right too. (A `custom_vmap` that sums over the batch inside the backward pass returns the
   *sum* for each trial under ``vmap(grad)``: it cannot see which of the two it is in.)
3. `_attach` gives the kept trajectory its derivative in the current: the costate scan, backward in time,
   which includes the recurrence ``W^T dI`` and hands back ``dI``.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from ..cell import Carry, Cell
from ..network import LayerState
from .base import AbstractAdjoint, Leash, Record, forward_step


class Costate(AbstractAdjoint):
    """The paper's adjoint equations, discretised so that they are the exact gradient of the simulation (to
    rounding).

    With P the costate of the neuron after the substitution ``P = p_v + g p_s`` and L that of its release (for
    one variable per neuron; `spikejax.references.paper` has the hand-derived form):
    ```
    P_t = P_{t+1} F_v + g(v_t) (L_t - L_{t+1}),   dI_t = F_I P_{t+1},   l_t = exp(-dt/tau) l_{t+1} + W^T dI_t + readout
    grad W = sum_t dI_t s_t^T
    ```
    Kept from the forward pass are state, activation and current of every step; the step's own intermediates
    are computed again.

    First derivatives, reverse mode. A second derivative raises an error (`Autodiff` has all).

    **Arguments:** `leash`: damping and clipping of the costate (biased; default: none).

    **Reference:** Huh & Sejnowski 2018, eqs. 8-13.
    """

    leash: Leash = eqx.field(default_factory=Leash)

    def layer(self, cell, recurrent, drive, carry, mask, save):
        fixed_cell, fixed_recurrent, fixed_drive, fixed_carry = _freeze((cell, recurrent, drive, carry))
        saved = _trajectory(fixed_cell, fixed_recurrent, fixed_drive, fixed_carry, mask, save)
        last, (neuron, hidden), activation, current, rest = saved
        first = fixed_carry.state.activation
        current = _join(recurrent, drive, (first, activation), current)
        kept = (last, activation, rest, _freeze(current) if "current" in save else None)
        history = ((neuron, hidden), first, activation, fixed_recurrent, self.leash, mask)
        last, activation, rest, shown = _attach(cell, current, carry, history, kept)
        rest = rest._replace(current=shown)
        return last, rest._replace(activation=activation) if "activation" in save else rest


def _trajectory(cell, recurrent, drive, carry, mask, save):
    """The loop. Returns the last carry and, per step, neuron and hidden synapses before, activation after,
    current, and the rest."""

    def step(carry, x):
        drive, m = x
        new, release, current = forward_step(cell, recurrent, carry, drive, m)
        rest = Record(
            release=release if "release" in save else None, v=new.state.neuron.v if "v" in save else None
        )
        return new, ((carry.state.neuron, carry.state.hidden), new.state.activation, current, rest)

    last, (before, activation, current, rest) = jax.lax.scan(step, carry, (drive, mask))
    return last, before, activation, current, rest


@jax.custom_jvp
def _join(recurrent, drive, history, current):
    """`current` as it is; its derivative is that of ``drive + recurrent(s)`` at fixed s, the activation
    before each step."""
    del recurrent, drive, history
    return current


@_join.defjvp
def _join_jvp(primals, tangents):
    recurrent, _, (first, activation), current = primals
    d_recurrent, d_drive, _, _ = tangents
    if recurrent is None:
        return current, d_drive
    before = jnp.concatenate([first[None], activation[:-1]])
    _, d_own = jax.jvp(lambda r: jax.vmap(r)(before), (recurrent,), (d_recurrent,))
    return current, d_drive + d_own


@jax.custom_batching.custom_vmap
def _together(kept, inputs):
    """`kept`, batched as a whole if any of it or of `inputs` is.

    Under `jax.vmap` over a synaptic time constant, say, the voltages of a feed-forward layer are the same for
    all. A custom_vjp with such a shared output counts its cotangent once per example (newer versions of JAX
    raise an error instead).
    """
    del inputs
    return kept


@_together.def_vmap
def _together_batched(size, batched, kept, inputs):
    every = jax.tree.map(
        lambda x, b: x if b else jnp.broadcast_to(x, (size, *x.shape)), (kept, inputs), tuple(batched)
    )
    return _together(*every), jax.tree.map(lambda _: True, batched[0])


@jax.custom_vjp
def _attach(cell: Cell, current, carry: Carry, history, kept):
    """`kept` as it is; its derivative in cell, current and carry is the costate scan's."""
    del history
    return _together(kept, (cell, current, carry))


def _attach_fwd(cell, current, carry, history, kept):
    return _together(kept, (cell, current, carry)), (cell, current, carry, history)


def _attach_bwd(residuals, cotangents):
    cell, current, _, (neuron, first, activation, recurrent, leash, mask) = residuals
    d_last, d_activation, d_rest, d_shown = cotangents
    floats, others = eqx.partition(cell, eqx.is_inexact_array)

    def back(costate, x):
        d_state, d_level, d_cell = costate
        t, (neuron, hidden), current, m, d_s, d_rest, d_shown = x
        # Looked up rather than scanned over: a shifted copy of the whole series would be held through the
        # loop.
        before = jnp.where(t > 0, activation[jnp.maximum(t - 1, 0)], first)
        d_neuron, d_own, d_hidden = d_state
        if d_rest.v is not None:
            d_neuron = d_neuron._replace(v=d_neuron.v + d_rest.v)
        # The count starts at 0 here: it enters a step linearly, so its value does not matter to the
        # derivative.
        start = cell.start(LayerState(neuron, before, hidden))
        out, pull = jax.vjp(lambda c, k, i: eqx.combine(c, others)(k, i, m), floats, start, current)
        d_release = jnp.zeros_like(out[1]) if d_rest.release is None else d_rest.release
        d_step, d_start, d_current = pull(
            (Carry(LayerState(d_neuron, d_own + d_s, d_hidden), d_level, d_last.count), d_release)
        )
        if d_shown is not None:
            d_current = d_current + d_shown
        d_state = d_start.state
        if recurrent is not None:
            (d_back,) = jax.linear_transpose(recurrent, before)(d_current)
            d_state = d_state._replace(activation=d_state.activation + d_back)
        costate = d_state, d_start.level
        d_state, d_level = costate if leash.off else leash(costate, cell.dt)
        return (d_state, d_level, jax.tree.map(jnp.add, d_cell, d_step)), d_current

    start = (d_last.state, d_last.level, jax.tree.map(jnp.zeros_like, floats))
    xs = (jnp.arange(len(current)), neuron, current, mask, d_activation, d_rest, d_shown)
    (d_state, d_level, d_cell), d_current = jax.lax.scan(back, start, xs, reverse=True)
    return d_cell, d_current, Carry(d_state, d_level, d_last.count), None, None


_attach.defvjp(_attach_fwd, _attach_bwd)


@jax.custom_jvp
def _freeze(tree):
    """`jax.lax.stop_gradient` for one derivative; a second one raises, where a silent zero would be a wrong
    Hessian."""
    return tree


@_freeze.defjvp
def _freeze_jvp(primals, tangents):
    del tangents
    (tree,) = primals
    return _freeze(tree), _zero(tree)


@jax.custom_jvp
def _zero(tree):
    return jax.tree.map(jnp.zeros_like, tree)


@_zero.defjvp
def _zero_jvp(primals, tangents):
    raise NotImplementedError(
        "the costate adjoint has first derivatives only: use adjoint=Autodiff() for Hessians and other higher derivatives"
    )
