"""SLAYER as its authors wrote it: kernels that are cut off, as sums over the past.

To test against: `spikejax.SpikeResponse` and `spikejax.SampledAlpha` are the same kernels whole, as
recursions that keep no past. Memory: the spikes of a whole kernel for every neuron.

**Reference:** Shrestha & Orchard, NeurIPS 2018, and the authors' code.
"""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..component import option, parameter
from ..neurons import AbstractNeuron, Drive, Path
from ..synapses import AbstractSynapse

FLOOR = 0.01
"""A kernel ends where it is smaller, beyond its peak."""


def kernel_length(dt: float, tau: float, peak: float = 1.0, longest: int | None = None) -> int:
    """How many samples of ``peak (t/tau) exp(1 - t/tau)`` at the steps of `dt` (ms) are kept: those before
    the first that is below `FLOOR` beyond the peak, at most `longest`."""
    steps = 2
    while steps * dt <= tau or peak * steps * dt / tau * np.exp(1 - steps * dt / tau) >= FLOOR:
        steps += 1
    return steps if longest is None else min(steps, longest)


def _samples(length: int, dt, tau) -> Float[Array, "past"]:
    """The alpha function with a peak of 1, one step after the spike and on."""
    t = jnp.arange(1, length, dtype=jnp.result_type(tau)) * (dt / tau)
    return t * jnp.exp(1 - t)


def _pushed(past: Float[Array, "past *n"], now: Float[Array, "*n"]) -> Float[Array, "past *n"]:
    return jnp.concatenate([now[None], past[:-1]])


class CutAlpha(AbstractSynapse):
    """`spikejax.SampledAlpha` with a kernel of `length` samples, for one time constant of all neurons."""

    tau_syn: Float[Array, "1"] = parameter((10.0,), unit="ms", doc="time of the peak", positive=True)
    length: int = option(doc="samples of the kernel, with that of its own step", at_least=2)

    rate_unit: ClassVar[float] = 1.0

    def init_hidden(self, shape, dtype=None):
        return jnp.zeros((self.length - 1, *shape), dtype or jnp.result_type(float))

    def step(self, activation, release, dt, hidden=None):
        weights = _samples(self.length, dt, self.tau_syn[0])
        return jnp.tensordot(weights, hidden, 1)[None], _pushed(hidden, release)


class CutResponseState(NamedTuple):
    """State of a neuron that keeps its spikes."""

    v: Float[Array, "*n"]
    past: Float[Array, "past *n"]
    """Its spikes in the steps before, the last one first."""


class CutSpikeResponse(AbstractNeuron):
    """`spikejax.SpikeResponse` with a kernel of `length` samples, for one kernel of all neurons."""

    tau_ref: Float[Array, ""] = parameter(1.0, unit="ms", doc="time of the kernel's peak", positive=True)
    scale_ref: Float[Array, ""] = parameter(2.0, doc="peak of the kernel, in units of v_th", positive=True)
    v_th: Float[Array, ""] = parameter(10.0, doc="threshold", positive=True)
    length: int = option(doc="samples of the kernel, with that of its own step", at_least=2)

    accelerates: ClassVar[bool] = False
    jumps: ClassVar[bool] = True

    @property
    def v_init(self) -> Float[Array, ""]:
        """0; without effect."""
        return jnp.zeros_like(self.v_th)

    def bounds(self):
        return jnp.zeros_like(self.v_th), self.v_th

    def init(self, shape, *, key=None, noise=None):
        v = super().init(shape, key=key, noise=noise).v
        return CutResponseState(v, jnp.zeros((self.length - 1, *shape), v.dtype))

    def flow(self, state, current, dt):
        assert not isinstance(current, Drive), "a layer gives conductances to neurons that take them"
        weights = -self.scale_ref * self.v_th * _samples(self.length, dt, self.tau_ref)
        v = current + jnp.tensordot(weights, state.past, 1)
        return CutResponseState(v, _pushed(state.past, jnp.zeros_like(v)))

    def travel(self, state, current, dt):
        free = self.flow(state, current, dt)
        count = jax.lax.stop_gradient((self.height(free) >= 0).astype(free.v.dtype))
        return free._replace(past=free.past.at[0].add(count)), Path(state, free, count)

    def surrogate_reset(self, end, path, q, detach):
        return end if detach else end._replace(past=end.past.at[0].add(q - path.count))


__all__ = ["FLOOR", "CutAlpha", "CutResponseState", "CutSpikeResponse", "kernel_length"]
