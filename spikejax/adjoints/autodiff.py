"""Plain reverse-mode (and forward-mode) differentiation through the scan."""

from typing import Any, cast

import jax
from jaxtyping import Array, Float

from ..loops import Damping, forward_step
from ..state import Carry, Record
from .base import ADJOINTS, AbstractAdjoint, clip_field, damping_field


@ADJOINTS.register("autodiff")
class Autodiff(AbstractAdjoint):
    """What `jax.grad` makes of the scan. Memory grows with every intermediate of every step; derivatives of
    any order and mode.

    **Arguments:** `damping` (per ms), `clip`: of the costate, biased; see `spikejax.loops.Damping`.
    """

    damping: Float[Array, ""] | None = damping_field()
    clip: Float[Array, ""] | None = clip_field()

    def layer(self, cell, recurrent, drive, carry, mask, save):
        damping = Damping(self.damping, self.clip)

        def step(carry: Carry, x: Any):
            drive, m = x
            if not damping.off:
                carry = carry._replace(state=cast(Any, _damped)(cell.dt, damping, carry.state))
            carry, release, current = forward_step(cell, recurrent, carry, drive, m)
            state = carry.state
            every = Record(state.activation, release, state.neuron.v, current, state.pending)
            return carry, Record(**{name: getattr(every, name) for name in save})

        return jax.lax.scan(step, carry, (drive, mask))


@jax.custom_vjp
def _damped(dt, damping, state):
    """Identity whose cotangent is damped and clipped."""
    del dt, damping
    return state


def _damped_fwd(dt, damping, state):
    return state, (dt, damping)


def _damped_bwd(residuals, costate):
    dt, damping = residuals
    return None, None, damping(costate, dt)


_damped.defvjp(_damped_fwd, _damped_bwd)

__all__ = ["Autodiff"]
