"""One elementwise time step of a population: neuron, gate and synapse together, without any weight."""

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
    dt: float = eqx.field(static=True)
    """Time step, ms."""
    reversal: Float[Array, "ports ..."] | None = None

    def start(self, state: LayerState) -> Carry:
        """The carry to start from, with nothing released yet."""
        return Carry(state, self.gate.start(self.neuron, state.neuron), jnp.zeros_like(state.neuron.v))

    def __call__(
        self, carry: Carry, current: Float[Array, "*current"], mask: Bool[Array, ""] | None = None
    ) -> tuple[Carry, Float[Array, "*n"]]:
        """Advance by `dt` ms, with a current ``(*n)``, or current and conductances ``(1 + ports, *n)``. Where
        `mask` is False nothing moves and nothing is released."""
        state, level, count = carry
        neuron, level, release = self.gate.step(
            self.neuron, state.neuron, level, self._input(current), self.dt
        )
        activation, hidden = self.synapse.step(state.activation, release, self.dt, state.hidden)
        after = state._replace(neuron=neuron, activation=activation, hidden=hidden)
        new = Carry(after, level, count + release)
        if mask is None:
            return new, release
        hold = jax.tree.map(lambda a, b: jnp.where(mask, a, b), new, carry)
        return hold, jnp.where(mask, release, 0.0)

    def _input(self, current) -> Input:
        """``I + sum_k g_k (E_k - v)`` as the neuron takes it."""
        if self.reversal is None:
            return current
        plain, conductance = current[0], current[1:]
        reversal = self.reversal.reshape(self.reversal.shape + (1,) * (conductance.ndim - self.reversal.ndim))
        return Drive(plain + jnp.sum(conductance * reversal, axis=0), jnp.sum(conductance, axis=0))


__all__ = ["Cell"]
