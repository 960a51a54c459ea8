"""Readouts: what a network says, linear in the activation of its last layer."""

import abc
import math
from typing import TYPE_CHECKING, Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .component import Component, Declaration, check_keywords, check_shapes, parameter
from .connections import AbstractConnection, AbstractInstant, ActivationShape, Dense
from .parameters import as_parameter
from .registry import Registry

if TYPE_CHECKING:  # no field of the constructor: a class may have a property in its place
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


Scale = Annotated[float, Declaration(doc="initial weights are N(0, scale^2/n)", at_least=0.0)]


class AbstractReadout(Component):
    """A linear readout of the last layer's activation.

    **Raises:** `ValueError` for a bias, or another array, that does not fit the outputs of the connection.
    """

    connection: AbstractVar[AbstractConnection]
    bias: AbstractVar[Float[Array, " out"]]

    def __check_init__(self):
        shape = self.connection.out_shape
        if self.bias.shape != shape:
            raise ValueError(
                f"{type(self).__name__}: `bias` has shape {self.bias.shape}, but the connection has outputs "
                f"{shape}: give one value for each"
            )
        check_shapes(self, shape)

    @abc.abstractmethod
    def init(self) -> PyTree[Float[Array, "..."]]:
        """State at the start of a trial, with what the connection remembers."""

    @abc.abstractmethod
    def __call__(
        self, state, activation: Float[Array, "time kinds *n"], mask, dt: float | Float[Array, ""]
    ) -> tuple[Any, Float[Array, "time out"]]:
        """Readout over a stretch of time, and the state at its end."""

    @classmethod
    @abc.abstractmethod
    def create(cls, in_shape: tuple[int, ...], size: int, *args: Any, **options: Any) -> "AbstractReadout":
        """One drawn at random, of `size` outputs; `options` as in `AbstractConnection.create`."""


READOUTS: Registry[AbstractReadout] = Registry("readout")


class _Neurons(AbstractInstant):
    """Every neuron by itself: the activation, summed over the synaptic time constants."""

    in_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """One output a neuron."""
        return (math.prod(self.in_shape[1:]),)

    @classmethod
    def create(cls, in_shape, out_shape, *, key=None):
        del out_shape, key
        return cls(tuple(in_shape))

    def __call__(self, x):
        return jnp.sum(x, axis=0).reshape(-1)


def _drawn(in_shape: tuple[int, ...], size: int, scale: float, key: PRNGKeyArray) -> dict[str, Any]:
    connection = Dense.normal(ActivationShape(in_shape), (size,), scale, key=key)
    return {"connection": connection, "bias": jnp.zeros(size)}


@READOUTS.register("linear")
class LinearReadout(AbstractReadout):
    """``o(t) = O s(t) + bias``, its mean over each step."""

    connection: AbstractConnection
    bias: Float[Array, " out"]

    @classmethod
    def create(cls, in_shape, size, *, key: PRNGKeyArray, scale: Scale = 1.0) -> "LinearReadout":
        """Weights ``N(0, scale^2/n)``, bias 0."""
        check_keywords(cls, scale=scale)
        return cls(**_drawn(in_shape, size, scale, key))

    def init(self):
        return self.connection.init(self.bias.dtype)

    def __call__(self, state, activation, mask, dt):
        del dt
        current, state = self.connection.over_time(activation, state, mask)
        return state, current + self.bias[None]


@READOUTS.register("leaky")
class LeakyReadout(AbstractReadout):
    """``tau_out do/dt = -o + O s + bias``: the linear readout, low-pass filtered (exactly, for s constant in
    a step); its value at the end of each step."""

    connection: AbstractConnection
    bias: Float[Array, " out"]
    tau_out: Float[Array, "..."] = parameter(
        20.0, unit="ms", doc="time constant of the leaky readout", positive=True
    )

    @classmethod
    def create(
        cls,
        in_shape,
        size,
        *,
        key: PRNGKeyArray,
        scale: Scale = 1.0,
        tau_out: Annotated[
            float, Declaration(doc="time constant of the leaky readout", unit="ms", above=0.0)
        ] = 20.0,
    ) -> "LeakyReadout":
        """Weights ``N(0, scale^2/n)``, bias 0; `tau_out` in ms."""
        check_keywords(cls, scale=scale, tau_out=tau_out)
        return cls(**_drawn(in_shape, size, scale, key), tau_out=as_parameter(tau_out))

    def init(self):
        return jnp.zeros(self.bias.shape, self.bias.dtype), self.connection.init(self.bias.dtype)

    def __call__(self, state, activation, mask, dt):
        o, memory = state
        decay = jnp.exp(-dt / self.tau_out)
        current, memory = self.connection.over_time(activation, memory, mask)

        def step(o, x):
            target, m = x
            new = decay * o + (1 - decay) * target
            o = new if m is None else jnp.where(m, new, o)
            return o, o

        o, out = jax.lax.scan(step, o, (current + self.bias[None], mask))
        return (o, memory), out


@READOUTS.register("population")
class Population(AbstractReadout):
    """The last layer itself, an output for each of its neurons: ``o_i(t) = sum_k s_ki(t)``, without weights.

    For losses of the layer's own spikes or activations, whose neurons are the classes or signals.

    **Raises:** from `create`, `ValueError` for a layer that does not have as many neurons as the readout is
    to have outputs.
    """

    connection: AbstractConnection

    @property
    def bias(self) -> Float[Array, " out"]:
        """0, and not trained."""
        return jnp.zeros(self.connection.out_shape)

    @classmethod
    def create(cls, in_shape, size, *, key: PRNGKeyArray | None = None) -> "Population":
        """The readout of a layer whose activation has the shape `in_shape`; nothing is random in it."""
        del key
        made = cls(_Neurons(tuple(in_shape)))
        if made.connection.out_shape != (size,):
            raise ValueError(
                f"Population: the last layer has {made.connection.out_shape[0]} neurons, but {size} outputs "
                f"are asked for: give it {size} (`size`)"
            )
        return made

    def init(self):
        return None

    def __call__(self, state, activation, mask, dt):
        del dt
        out, _ = self.connection.over_time(activation, None, mask)
        return state, out


__all__ = ["READOUTS", "AbstractReadout", "LeakyReadout", "LinearReadout", "Population"]
