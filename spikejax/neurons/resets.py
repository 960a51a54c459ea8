"""Three ways to reset a neuron within the time step in which it spikes."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from ..elementary import once
from .base import RESETS, AbstractReset, AbstractResetNeuron, AnyState, Input, Path


@RESETS.register("split")
class Split(AbstractReset):
    """Split the step at the crossing of the threshold: flow there, reset, flow the rest.

    The derivative of the crossing time is the exact one (the saltation factor ``f(v_reset)/f(v_th)``), which
    a reset on the grid omits: its gradient is wrong at any dt.
    """

    splits: ClassVar[bool] = True

    def travel(
        self, neuron: AbstractResetNeuron, state: AnyState, current: Input, dt
    ) -> tuple[AnyState, Path]:
        # A neuron that starts at its threshold, or above it, spikes at once.
        due = neuron.height(state) >= 0
        start = _where(due, neuron.on_spike(state), state)
        end, path = neuron.split(start, once(neuron.flow(start, current, dt)), current, dt)
        assert path.first is not None and path.last is not None, "a split knows its time"  # noqa: PT018
        first = jnp.where(due, 0.0, path.first)
        last = jnp.where(due & (path.count == 0), 0.0, path.last)
        return end, path._replace(count=path.count + due.astype(first.dtype), first=first, last=last)

    def landing(self, neuron: AbstractResetNeuron, free: AnyState) -> AnyState:
        return _subtracted(neuron, free)


@RESETS.register("subtract")
class Subtract(AbstractReset):
    """Subtract ``threshold - v_reset`` at the end of the step, as other libraries do; for comparison."""

    def travel(
        self, neuron: AbstractResetNeuron, state: AnyState, current: Input, dt
    ) -> tuple[AnyState, Path]:
        free = neuron.flow(state, current, dt)
        return _on_grid(neuron, state, free, _subtracted(neuron, free))

    def landing(self, neuron: AbstractResetNeuron, free: AnyState) -> AnyState:
        return _subtracted(neuron, free)


@RESETS.register("zero")
class Zero(AbstractReset):
    """Set v to ``v_reset`` at the end of the step, as other libraries do; for comparison."""

    def travel(
        self, neuron: AbstractResetNeuron, state: AnyState, current: Input, dt
    ) -> tuple[AnyState, Path]:
        free = neuron.flow(state, current, dt)
        return _on_grid(neuron, state, free, neuron.on_spike(free))

    def landing(self, neuron: AbstractResetNeuron, free: AnyState) -> AnyState:
        return neuron.on_spike(free)

    def foot(self, neuron: AbstractResetNeuron, free: AnyState):
        del neuron
        return free.v


def _subtracted(neuron: AbstractResetNeuron, free: AnyState) -> AnyState:
    return neuron.on_spike(free)._replace(v=free.v - (neuron.threshold(free) - neuron.v_reset))


def _on_grid(neuron: AbstractResetNeuron, state: AnyState, free: AnyState, reset: AnyState):
    spiked = neuron.height(free) >= 0
    return _where(spiked, reset, free), Path(state, free, spiked.astype(free.v.dtype))


def _where(condition, a: AnyState, b: AnyState) -> AnyState:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), a, b)


__all__ = ["Split", "Subtract", "Zero"]
