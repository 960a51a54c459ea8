"""One elementwise time step of a population: neuron, gate and synapse together, without any weight."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .gates import Gate
from .neurons import AbstractNeuron, Drive, Input
from .state import Carry, LayerState
from .synapses import AbstractSynapse


class Cell(eqx.Module):
    """The step ``(carry, current) -> (carry, release)`` of a population. Knows no weights: the adjoint calls
    its `jax.vjp`."""

    neuron: AbstractNeuron
    synapse: AbstractSynapse
    gate: Gate
    dt: float | Float[Array, ""]
    """Time step, ms; a number is compiled in."""
    reversal: Float[Array, "ports ..."] | None = None

    def start(self, state: LayerState) -> Carry:
        """The carry to start from, with nothing counted yet."""
        return Carry(state, jnp.zeros_like(state.neuron.v))

    def __call__(
        self, carry: Carry, current: Float[Array, "*current"], mask: Bool[Array, ""] | None = None
    ) -> tuple[Carry, Float[Array, "*n"]]:
        """Advance by `dt` ms, with a current ``(*n)``, or current and conductances ``(1 + ports, *n)``. Where
        `mask` is False nothing moves and nothing is released.

        A charge that is released at the fraction t of a step arrives at the synapse to ``1 - t`` in this
        step and to t in the next: the linear interpolation, in time, of what a charge at the start of either
        step would do. The activation is then its mean over the step (`simulate` says to which order in dt),
        and moves continuously with the time of a spike.
        """
        state, count = carry
        neuron, released = self.gate.step(self.neuron, state.neuron, self._input(current), self.dt)
        release, arrived = released.charge, released.prompt + state.pending
        activation, hidden = self.synapse.step(state.activation, arrived, self.dt, state.hidden)
        after = state._replace(neuron=neuron, activation=activation, pending=released.late, hidden=hidden)
        new = Carry(after, count + release)
        if mask is None:
            return new, release
        hold = jax.tree.map(lambda a, b: jnp.where(mask, a, b), new, carry)
        return hold, jnp.where(mask, release, 0.0)

    def operations(self, carry: Carry) -> int:
        """How many operations a step is made of, as JAX counts them."""
        v = carry.state.neuron.v
        ports = () if self.reversal is None else (1 + len(self.reversal),)
        return _count(jax.make_jaxpr(self)(carry, jnp.zeros((*ports, *v.shape), v.dtype)).jaxpr)

    def _input(self, current: Float[Array, "*current"]) -> Input:
        """``I + sum_k g_k (E_k - v)`` as the neuron takes it."""
        if self.reversal is None:
            return current
        plain, conductance = current[0], current[1:]
        reversal = self.reversal.reshape(self.reversal.shape + (1,) * (conductance.ndim - self.reversal.ndim))
        return Drive(plain + jnp.sum(conductance * reversal, axis=0), jnp.sum(conductance, axis=0))


def _count(jaxpr: Any) -> int:
    """Operations of a program, with those of the programs within it."""
    found = len(jaxpr.eqns)
    for eqn in jaxpr.eqns:
        for x in jax.tree.leaves(tuple(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            found += _count(x) if hasattr(x, "eqns") else 0
    return found


__all__ = ["Cell"]
