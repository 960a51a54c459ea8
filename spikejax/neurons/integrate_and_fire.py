"""Integrate-and-fire neurons: non-leaky (NIF) and leaky (LIF)."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..component import parameter, part
from ..elementary import log1p, relative_decay
from .base import NEURONS, RESETS, AbstractReset, AbstractResetNeuron, Drive, Path, State, parts


@NEURONS.register("nif")
class NIF(AbstractResetNeuron):
    """Non-leaky integrate-and-fire neuron, ``tau_mem dv/dt = I``.

    Its right-hand side is the same on both sides of the reset, so the split of the step is a subtraction,
    and several spikes in a step cost nothing.

    **Arguments:** `tau_mem` (ms); `v_th`, `v_reset`, `v_init` (dimensionless), each a scalar or one per
    neuron; `reset`: ``"split"`` (here equal to ``"subtract"``) or ``"zero"``.

    **Reference:** Huh & Sejnowski 2018, section 2.
    """

    tau_mem: Float[Array, "..."] = parameter(10.0, unit="ms", doc="membrane time constant", positive=True)
    v_th: Float[Array, "..."] = parameter(1.0, doc="threshold")
    v_reset: Float[Array, "..."] = parameter(0.0, doc="potential after a spike")
    v_init: Float[Array, "..."] = parameter(0.0, doc="membrane potential at the start of a trial", drawn=True)
    reset: AbstractReset = part(RESETS, "split", doc="split the step at the crossing, or reset on the grid")

    conductances: ClassVar[bool] = True
    accelerates: ClassVar[bool] = False

    def flow(self, state, current, dt):
        drive, conductance = parts(current)
        if isinstance(current, Drive):
            # tau dv/dt = I - g v, which is smooth through g = 0.
            h = dt / self.tau_mem
            return State(state.v * jnp.exp(-h * conductance) + h * drive * relative_decay(h * conductance))
        return State(state.v + dt / self.tau_mem * drive)

    def split(self, state, free, current, dt):
        if isinstance(current, Drive):
            return super().split(state, free, current, dt)
        span, way = self.v_th - self.v_reset, free.v - state.v
        # Counted from the threshold, so that rounding cannot leave v at or above it uncounted.
        count = jax.lax.stop_gradient(jnp.maximum(jnp.floor((free.v - self.v_th) / span) + 1, 0.0))
        spiked = count > 0
        way = jnp.where(spiked, way, 1.0)
        first = jnp.where(spiked, (self.v_th - state.v) / way, 1.0)
        last = jnp.where(spiked, first + (count - 1) * span / way, 1.0)
        return State(free.v - count * span), Path(state, free, count, first, last, State(self.v_reset))


@NEURONS.register("lif")
class LIF(AbstractResetNeuron):
    """Leaky integrate-and-fire neuron, ``tau_mem dv/dt = -v + I``, integrated exactly for a current constant
    in the step.

    ```
    v_free = I + (v - I) exp(-dt/tau_mem)
    v_end  = v_reset + (v_free - v_th) (I - v_reset)/(I - v_th)      if v_free >= v_th
    ```
    The second line is the whole split of the step (flow to the threshold, reset, flow the rest): the crossing
    time t* obeys ``exp(-(dt - t*)/tau_mem) = (I - v_free)/(I - v_th)``. The factor is the saltation factor
    ``f(v_reset)/f(v_th)``; a reset on the grid omits it, and its gradient is wrong at any dt. Further spikes
    of the same step follow after ``tau_mem log((I - v_reset)/(I - v_th))`` each, and are exact too.

    **Arguments:** `tau_mem` (ms); `v_th`, `v_reset`, `v_init` (dimensionless, rest is 0), each a scalar or
    one per neuron; `reset`: ``"split"``, or the grid resets of other libraries, ``"subtract"`` and
    ``"zero"``, for comparison.

    Conductance-based input (`Drive`) makes it ``tau_mem dv/dt = -(1 + g) v + I``, g in units of the leak.

    **Reference:** Huh & Sejnowski 2018, section 2; the split is derived here and tested against event-driven
    closed forms.
    """

    tau_mem: Float[Array, "..."] = parameter(10.0, unit="ms", doc="membrane time constant", positive=True)
    v_th: Float[Array, "..."] = parameter(1.0, doc="threshold")
    v_reset: Float[Array, "..."] = parameter(0.0, doc="potential after a spike")
    v_init: Float[Array, "..."] = parameter(0.0, doc="membrane potential at the start of a trial", drawn=True)
    reset: AbstractReset = part(RESETS, "split", doc="split the step at the crossing, or reset on the grid")

    conductances: ClassVar[bool] = True
    accelerates: ClassVar[bool] = False

    def flow(self, state, current, dt):
        current, conductance = parts(current)
        leak = 1 + conductance
        decay = jnp.exp(-dt / self.tau_mem * leak)
        return State(state.v * decay + current / leak * (1 - decay))

    def time_constants(self):
        return {"tau_mem": self.tau_mem}

    def rheobase(self):
        return self.v_th

    def split(self, state, free, current, dt):
        current, conductance = parts(current)
        # Conductance scales time and the current: the same exponential towards I/(1 + g).
        leak = 1 + conductance
        current, h = current / leak, dt / self.tau_mem * leak
        # A spiking neuron has I > v_free >= v_th; the others get harmless numbers.
        spiked = (free.v >= self.v_th) & (current > self.v_th)
        room = jnp.where(spiked, current - self.v_th, 1.0)
        passed = jnp.where(spiked, (free.v - self.v_th) / room, 0.0)
        # Time left after the first spike, and between spikes, in membrane time constants.
        span = self.v_th - self.v_reset
        left, period = -jnp.log(1 - passed), log1p(span / room)
        more = jax.lax.stop_gradient(jnp.floor(left / period))
        factor = jnp.exp(more * period)
        v = self.v_reset + (current - self.v_reset) * (1 - factor + passed * factor)
        # A current that makes very many spikes leaves rounding.
        v = jnp.where((v >= self.v_reset) & (v <= self.v_th), v, self.v_reset)
        first = 1 - left / h
        path = Path(state, free, spiked.astype(v.dtype) + more, first, first + more * period / h)
        path = path._replace(landed=State(self.v_reset))
        return State(jnp.where(spiked, v, free.v)), path


__all__ = ["LIF", "NIF"]
