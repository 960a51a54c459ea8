"""Plain reverse-mode (and forward-mode) differentiation through the scan."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp

from .base import AbstractAdjoint, Leash, forward_step, record


class Autodiff(AbstractAdjoint):
    """What `jax.grad` makes of the scan. Memory grows with every intermediate of every step; derivatives of
    any order and mode.

    **Arguments:** `leash`: damping and clipping of the costate (biased; default: none).
    """

    leash: Leash = eqx.field(default_factory=Leash)

    def layer(self, cell, recurrent, drive, carry, mask, save):
        def step(carry, x):
            drive, m = x
            if not self.leash.off:
                state, level = _leashed(cell.dt, self.leash, (carry.state, carry.level))
                carry = carry._replace(state=state, level=level)
            carry, release, current = forward_step(cell, recurrent, carry, drive, m)
            return carry, record(save, carry, release, current)

        return jax.lax.scan(step, carry, (drive, mask))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _leashed(dt, leash, state):
    """Identity whose cotangent is leashed."""
    del dt, leash
    return state


def _leashed_fwd(dt, leash, state):
    del dt
    return state, leash


def _leashed_bwd(dt, leash, costate):
    return jax.tree.map(jnp.zeros_like, leash), leash(costate, dt)


_leashed.defvjp(_leashed_fwd, _leashed_bwd)
