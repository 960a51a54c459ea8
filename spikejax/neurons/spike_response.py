"""The spike-response neuron on the grid of steps: a potential that is its input plus a refractory kernel."""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..component import parameter
from ..elementary import alpha_step
from .base import NEURONS, AbstractNeuron, Drive, Path


class SpikeResponseState(NamedTuple):
    """State of a spike-response neuron."""

    v: Float[Array, "*n"]
    refractory: Float[Array, "*n"]
    """The kernels of all spikes so far, each with a peak of 1."""
    source: Float[Array, "*n"]
    """What the kernels rise from: every spike adds 1 to it."""


@NEURONS.register("spike_response")
class SpikeResponse(AbstractNeuron):
    """Spike-response neuron on the grid of steps, the neuron of SLAYER: ``v(t) = I(t) + sum_f nu(t - t_f)``.

    ```
    nu(t) = -scale_ref v_th (t/tau_ref) exp(1 - t/tau_ref),   t = k dt
    ```
    A neuron spikes in every step in which ``v >= v_th``, and a spike acts from the next step on; there is no
    reset. The sum is a recursion of two variables, so that no past is kept and the kernel is not cut off. The
    synapses below make the current smooth (`spikejax.SampledAlpha`; of a stimulus `spikejax.Filtered`).

    v follows its input at once and a spike is as long as a step: what the neuron does depends on dt. As v
    jumps from step to step, it has no way through an active zone, and the release *charge* is refused.
    *surrogate* is SLAYER's gradient, with ``detach_reset`` that of the original, which leaves the refractory
    kernel out of it; *graded* is the smooth gate: a spike of the size ``G(v)`` in every step, whose kernel it
    scales too, with the exact gradient.

    **Arguments:** `tau_ref` (ms), `scale_ref` (peak of the kernel, in units of v_th), `v_th`
    (dimensionless), each a scalar or one per neuron.

    **Reference:** Shrestha & Orchard, NeurIPS 2018, section 3.1; the recursion is derived here.
    """

    tau_ref: Float[Array, "..."] = parameter(
        1.0, unit="ms", doc="time of the refractory kernel's peak", positive=True
    )
    scale_ref: Float[Array, "..."] = parameter(
        2.0, doc="peak of the refractory kernel, in units of v_th", positive=True, at_least=0.0
    )
    v_th: Float[Array, "..."] = parameter(1.0, doc="threshold", positive=True)

    partial_reset: ClassVar[bool] = True
    accelerates: ClassVar[bool] = False
    jumps: ClassVar[bool] = True

    @property
    def v_init(self) -> Float[Array, "..."]:
        """0; the potential before the first step has no effect on what follows."""
        return jnp.zeros_like(self.v_th)

    def bounds(self):
        return jnp.zeros_like(self.v_th), self.v_th

    def init(self, shape, *, key=None, noise=None):
        v = super().init(shape, key=key, noise=noise).v
        return SpikeResponseState(v, jnp.zeros_like(v), jnp.zeros_like(v))

    def flow(self, state, current, dt):
        assert not isinstance(current, Drive), "a layer gives conductances to neurons that take them"
        refractory, source = alpha_step(state.refractory, state.source, dt / self.tau_ref)
        return SpikeResponseState(current - self.scale_ref * self.v_th * refractory, refractory, source)

    def travel(self, state, current, dt):
        free = self.flow(state, current, dt)
        count = jax.lax.stop_gradient((self.height(free) >= 0).astype(free.v.dtype))
        return free._replace(source=free.source + count), Path(state, free, count)

    def landing(self, free):
        return free._replace(source=free.source + 1)

    def surrogate_reset(self, end, path, q, detach):
        return end if detach else end._replace(source=end.source + (q - path.count))

    def time_constants(self):
        return {"tau_ref": self.tau_ref}

    def rheobase(self):
        return self.v_th


__all__ = ["SpikeResponse", "SpikeResponseState"]
