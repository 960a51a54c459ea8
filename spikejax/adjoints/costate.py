"""The paper's adjoint as a `jax.custom_vjp`, for every clock-driven neuron.

The loop is split in three so that no weight gradient is ever formed inside it:

1. `AbstractLoop.forward` runs the loop, without derivative, and keeps the states, activations and currents.
2. `_join` gives the kept current its derivative ``dI_t = d(drive)_t + dW s_t`` at a *given* s. It is linear
   algebra that JAX transposes itself: the weight gradient ``sum_t dI_t s_t^T`` comes out as one matrix
   product over the whole trial, under `jax.vmap` over all trials at once; and ``vmap(grad)``, one gradient
   per trial, is right too. (A `custom_vmap` that sums over the batch inside the backward pass returns the
   *sum* for each trial under ``vmap(grad)``: it cannot see which of the two it is in.)
3. `_attach` gives the kept trajectory its derivative in the current: `AbstractLoop.backward`, back in time,
   which includes the recurrence ``W^T dI`` and hands back ``dI``.
"""

import functools
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..cell import Cell
from ..component import option, part
from ..loops import LOOPS, AbstractLoop, Cotangents, Damping, History
from ..state import Carry
from .base import ADJOINTS, AbstractAdjoint, clip_field, damping_field
from .plan import Work, plan_of


@ADJOINTS.register("costate")
class Costate(AbstractAdjoint):
    """The paper's adjoint equations, discretised so that they are the exact gradient of the simulation (to
    rounding).

    With P the costate of the neuron after the substitution ``P = p_v + g p_s`` and L that of its release (for
    one variable per neuron; `spikejax.references.paper` has the hand-derived form):
    ```
    P_t = P_{t+1} F_v + g(v_t) (L_t - L_{t+1}),   dI_t = F_I P_{t+1}
    l_t = exp(-dt/tau) l_{t+1} + W^T dI_t + readout
    grad W = sum_t dI_t s_t^T
    ```
    Kept from the forward pass are state, activation and current of every step; the step's own intermediates
    are computed again.

    First derivatives, reverse mode. A second derivative raises an error (`Autodiff` has all).

    **Arguments:** `damping` (per ms), `clip`: of the costate, biased (`spikejax.loops.Damping`); `loop`: what
    runs the population there and its costate back, an `AbstractLoop` or its name in `LOOPS`; `chunk`: steps
    of a chunk. By default the series of a chunk fit in the cache, and a trial of several chunks keeps the
    states between them and runs each again on the way back; where a step is long the trial is one chunk
    (`spikejax.adjoints.plan`; `spikejax.explain_plan` says what is done).

    **Reference:** Huh & Sejnowski 2018, eqs. 8-13.
    """

    damping: Float[Array, ""] | None = damping_field()
    clip: Float[Array, ""] | None = clip_field()
    loop: AbstractLoop = part(LOOPS, "scan", doc="what runs the time loop")
    chunk: int | None = option(
        None, doc="steps of a chunk (default: by the size of the network, see explain_plan)", at_least=1.0
    )

    def plan(self, carry, xs, operations=None):
        return plan_of(Work.of(carry, xs), self.chunk, operations)

    def layer(self, cell, recurrent, drive, carry, mask, save):
        fixed_cell, fixed_recurrent, fixed_drive, start = _freeze((cell, recurrent, drive, carry))
        run = self.loop.forward(fixed_cell, fixed_recurrent, fixed_drive, start, mask, save)
        first, past = start.state.activation, start.state.past
        arrays, others = eqx.partition(recurrent, eqx.is_array)
        current = _join(others, arrays, drive, (first, past, run.activation), run.current)
        shown = _freeze(current) if "current" in save else None
        kept = (run.last, run.activation, run.rest, shown)
        history = History(run.neuron, run.synapse, first, run.activation, run.current, mask)
        way_back = (self.loop, fixed_recurrent, history, Damping(self.damping, self.clip))
        # What is no array, such as a function, has no place among the arguments of a custom derivative.
        (cell, way_back), others = eqx.partition((cell, way_back), eqx.is_array)
        last, activation, rest, shown = cast(Any, _attach)(others, cell, current, carry, way_back, kept)
        rest = rest._replace(current=shown)
        return last, rest._replace(activation=activation) if "activation" in save else rest


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _join(others, recurrent, drive, history, current):
    """`current` as it is; its derivative is that of ``drive + recurrent(s)`` at fixed s, the activation
    before each step. `recurrent` are the connection's arrays, `others` the rest of it."""
    del others, recurrent, drive, history
    return current


@_join.defjvp
def _join_jvp(others, primals, tangents):
    recurrent, _, (first, past, activation), current = primals
    d_recurrent, d_drive, _, _ = tangents
    if recurrent is None:
        return current, d_drive
    before = jnp.concatenate([first[None], activation[:-1]])
    run = lambda arrays: eqx.combine(arrays, others).over_time(before, past)[0]
    _, d_own = jax.jvp(run, (recurrent,), (d_recurrent,))
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attach(others, cell: Cell, current, carry: Carry, way_back, kept):
    """`kept` as it is; its derivative in cell, current and carry is the costate's. Of the cell and of the way
    back the arguments are the arrays, and `others` is the rest."""
    del others, way_back
    return _together(kept, (cell, current, carry))


def _attach_fwd(others, cell, current, carry, way_back, kept):
    del others
    return _together(kept, (cell, current, carry)), (cell, way_back)


def _attach_bwd(others, residuals, cotangents):
    cell, (loop, recurrent, history, damping) = eqx.combine(residuals, others)
    cotangents = Cotangents(*eqx.filter(cotangents, eqx.is_inexact_array))
    d_cell, d_current, d_carry = loop.backward(cell, recurrent, history, cotangents, damping)
    return d_cell, d_current, d_carry, None, None


_attach.defvjp(_attach_fwd, _attach_bwd)


def _freeze(tree):
    """`jax.lax.stop_gradient` for one derivative; a second one raises, where a silent zero would be a wrong
    Hessian."""
    floats, others = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(_frozen(floats), others)


@jax.custom_jvp
def _frozen(tree):
    return tree


@_frozen.defjvp
def _frozen_jvp(primals, tangents):
    del tangents
    (tree,) = primals
    return _frozen(tree), _zero(tree)


@jax.custom_jvp
def _zero(tree):
    return jax.tree.map(jnp.zeros_like, tree)


@_zero.defjvp
def _zero_jvp(primals, tangents):
    raise NotImplementedError(
        "the costate adjoint has first derivatives only: use adjoint=Autodiff() for Hessians and other "
        "higher derivatives"
    )


__all__ = ["Costate"]
