"""A connection whose current is filtered in time, as that of a stimulus of spikes is by synapses."""

from collections.abc import Callable
from typing import Annotated

from jaxtyping import Array, Float, PRNGKeyArray

from ..component import Declaration
from ..synapses import SYNAPSES, AbstractSynapse, SampledAlpha
from .around import AbstractAround
from .base import CONNECTIONS, AbstractConnection
from .dense import Dense


@CONNECTIONS.register("filtered")
class Filtered(AbstractAround):
    """Another connection, whose current is filtered by a synapse: ``I = kernel * (W x)``.

    For a stimulus of spikes, whose channels have no synapses of their own as the neurons of a layer have:
    the values of a step are the charge that arrives in it. Filter and weights commute, so that the filter
    runs on the few currents and not on the many channels, and the weights still take the whole stretch of
    time at once (lists of events, too).

    **Arguments:** `connection`; `synapse`, with one time constant for all or, to be trained, one for every
    neuron that the connection leads to; `dt`: the time step (ms), which `at` gives.

    **Raises:** `ValueError` for a synapse of several time constants side by side, which one current cannot
    keep apart, and for a `step` before `at`.
    """

    connection: AbstractConnection
    synapse: AbstractSynapse
    dt: float | Float[Array, ""] | None = None

    def __check_init__(self):
        if self.synapse.kinds != 1:
            raise ValueError(
                f"Filtered: `synapse` has {self.synapse.kinds} time constants side by side, but filters one "
                "current: give it one"
            )

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of the input."""
        return self.connection.in_shape

    @classmethod
    def create(
        cls,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...] | None,
        *,
        key: PRNGKeyArray,
        connection: Annotated[
            Callable[..., AbstractConnection],
            Declaration(doc="what is filtered", registry=CONNECTIONS, default="dense"),
        ] = Dense.create,
        synapse: Annotated[
            AbstractSynapse | None,
            Declaration(doc="what filters it", registry=SYNAPSES, default="sampled_alpha"),
        ] = None,
    ) -> "Filtered":
        """One around a connection that is drawn.

        **Arguments:** `connection`: how it is drawn, such as ``partial(Dense.create, scale=2.0)``; `synapse`:
        default ``SampledAlpha()``.
        """
        inner = connection(in_shape, out_shape, key=key)
        return cls(inner, SampledAlpha() if synapse is None else synapse)

    def at(self, dt, passed=0.0):
        return Filtered(self.connection.at(dt, passed), self.synapse, dt)

    def init(self, dtype):
        shape = self.out_shape
        filtered = self.synapse.init(shape, dtype), self.synapse.init_hidden(shape, dtype)
        return self.connection.init(dtype), filtered

    def step(self, x, memory=None):
        inner, (activation, hidden) = self.init(x.dtype) if memory is None else memory
        current, inner = self.connection.step(x, inner)
        filtered = self.synapse.step(activation, current, self._step_size, hidden)
        return filtered[0][0], (inner, filtered)

    def over_time(self, x, memory=None, mask=None):
        inner, filtered = (None, None) if memory is None else memory
        currents, inner = self.connection.over_time(x, inner, mask)
        series, filtered = self.synapse.over_time(currents, self._step_size, filtered, mask)
        return series[:, 0], (inner, filtered)

    @property
    def _step_size(self) -> float | Float[Array, ""]:
        if self.dt is None:
            raise ValueError("Filtered: a filter in time needs the time step: call `at(dt)` before")
        return self.dt


__all__ = ["Filtered"]
