"""Three ways to reset a neuron within the time step in which it spikes."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .base import RESETS, AbstractReset, AbstractResetNeuron, AnyState, Input


@RESETS.register("split")
class Split(AbstractReset):
    """Split the step at the crossing of the threshold: flow there, reset, flow the rest.

    The derivative of the crossing time is the exact one (the saltation factor ``f(v_reset)/f(v_th)``), which
    a reset on the grid omits: its gradient is wrong at any dt.
    """

    splits: ClassVar[bool] = True

    def travel(
        self, neuron: AbstractResetNeuron, state: AnyState, free: AnyState, current: Input, dt
    ) -> tuple[AnyState, Float[Array, "*n"]]:
        return neuron.split(state, free, current, dt)

    def landing(self, neuron: AbstractResetNeuron, free: AnyState) -> AnyState:
        return _subtracted(neuron, free)


@RESETS.register("subtract")
class Subtract(AbstractReset):
    """Subtract ``threshold - v_reset`` at the end of the step, as other libraries do; for comparison."""

    def travel(
        self, neuron: AbstractResetNeuron, state: AnyState, free: AnyState, current: Input, dt
    ) -> tuple[AnyState, Float[Array, "*n"]]:
        del state, current, dt
        return _on_grid(neuron, free, _subtracted(neuron, free))

    def landing(self, neuron: AbstractResetNeuron, free: AnyState) -> AnyState:
        return _subtracted(neuron, free)


@RESETS.register("zero")
class Zero(AbstractReset):
    """Set v to ``v_reset`` at the end of the step, as other libraries do; for comparison."""

    def travel(
        self, neuron: AbstractResetNeuron, state: AnyState, free: AnyState, current: Input, dt
    ) -> tuple[AnyState, Float[Array, "*n"]]:
        del state, current, dt
        return _on_grid(neuron, free, neuron.on_spike(free))

    def landing(self, neuron: AbstractResetNeuron, free: AnyState) -> AnyState:
        return neuron.on_spike(free)

    def foot(self, neuron: AbstractResetNeuron, free: AnyState):
        del neuron
        return free.v


def _subtracted(neuron: AbstractResetNeuron, free: AnyState) -> AnyState:
    return neuron.on_spike(free)._replace(v=free.v - (neuron.threshold(free) - neuron.v_reset))


def _on_grid(neuron: AbstractResetNeuron, free: AnyState, reset: AnyState):
    spiked = neuron.height(free) >= 0
    end = jax.tree.map(lambda a, b: jnp.where(spiked, a, b), reset, free)
    return end, spiked.astype(free.v.dtype)


__all__ = ["Split", "Subtract", "Zero"]
