"""Layers, readouts and networks: parameters and their composition in space. Time is elsewhere."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .connections import AbstractConnection, Dense
from .neurons import AbstractNeuron
from .parameters import as_parameter, parameter, resolve
from .synapses import Exponential


class LayerState(NamedTuple):
    """State of a layer: its neurons' state, and the activation of their outgoing synapses, ``(kinds, *n)``."""

    neuron: Any
    activation: Float[Array, "kinds *n"]


class Layer(eqx.Module):
    """A population of neurons with its input, its recurrence and its outgoing synapses.

    ```
    I(t) = feedforward(x(t)) + recurrent(s(t)) + bias
    ```
    with x the stimulus or the activation of the layer below at the end of the step, and s the layer's own activation at its start.

    **Arguments:** `feedforward`, `recurrent` (or None): connections; `bias`: current ``(*n)``; `neuron`; `synapse`.
    """

    feedforward: AbstractConnection
    recurrent: AbstractConnection | None
    bias: Float[Array, "*n"]
    neuron: AbstractNeuron
    synapse: Exponential

    def __check_init__(self):
        shape = self.feedforward.out_shape
        if self.bias.shape != shape:
            raise ValueError(f"`bias` has shape {self.bias.shape}, the layer's neurons {shape}")
        own = (self.synapse.kinds, *shape)
        if self.recurrent is not None and (self.recurrent.in_shape, self.recurrent.out_shape) != (own, shape):
            raise ValueError(
                f"`recurrent` maps {self.recurrent.in_shape} to {self.recurrent.out_shape}, but the layer's activation has shape "
                f"{own} (time constants, neurons) and its current {shape}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the population."""
        return self.bias.shape

    @classmethod
    def dense(
        cls,
        in_shape: tuple[int, ...],
        size: int,
        neuron: AbstractNeuron,
        synapse: Exponential,
        *,
        recurrent: bool = True,
        input_scale: float | tuple[float, ...] = 1.0,
        input_norm: float | None = None,
        recurrent_scale: float | tuple[float, ...] = 0.5,
        self_excitation: tuple[float, float] | None = None,
        bias: tuple[float, float] = (0.0, 0.0),
        autapses: bool = True,
        key: PRNGKeyArray,
    ) -> "Layer":
        """A dense layer: weights ``N(0, scale^2/fan_in)``, biases ``U(*bias)``.

        **Arguments:** `in_shape`: ``(channels,)`` or ``(kinds, n)``; `size`: number of neurons; `input_scale`, `recurrent_scale`: one for
        all, or one for each channel and for each time constant; `input_norm`: the norm of every neuron's input weights, whatever
        their scale; `self_excitation`: added to the weight of every neuron's slowest synapse onto itself, drawn from between the two;
        `autapses`: whether a neuron may have a synapse onto itself, now and after training.
        """
        key_in, key_rec, key_bias = jax.random.split(key, 3)
        feedforward = Dense.normal(in_shape, (size,), input_scale, key=key_in)
        if input_norm is not None:
            flat = feedforward.weight.reshape(size, -1)
            scaled = input_norm * flat / jnp.linalg.norm(flat, axis=1, keepdims=True)
            feedforward = Dense(weight=scaled.reshape(feedforward.weight.shape), in_shape=in_shape)
        own = None
        if recurrent:
            own = Dense.normal((synapse.kinds, size), (size,), recurrent_scale, key=key_rec)
            if self_excitation is not None:
                low, high = self_excitation
                slowest = jnp.argmax(synapse.tau_syn.reshape(synapse.kinds, -1).max(axis=1))
                extra = jax.random.uniform(jax.random.fold_in(key_rec, 1), (size,), minval=low, maxval=high)
                own = Dense(weight=own.weight.at[jnp.arange(size), slowest, jnp.arange(size)].add(extra), in_shape=own.in_shape)
            if not autapses:
                own = own.masked(~jnp.eye(size, dtype=bool)[:, None, :])
        low, high = bias
        return cls(feedforward, own, jax.random.uniform(key_bias, (size,), minval=low, maxval=high), neuron, synapse)

    def init(self, *, key: PRNGKeyArray | None = None, noise: Float[Array, ""] | float | None = None) -> LayerState:
        """State at the start of a trial; with a `key` voltages are drawn (see `AbstractNeuron.init`)."""
        # A neuron that sets up its state itself need not know about noise unless it is asked for.
        asked = {} if noise is None else {"noise": noise}
        state = resolve(self.neuron).init(self.shape, key=key, **asked)
        return LayerState(state, self.synapse.init(self.shape, self.bias.dtype))


class AbstractReadout(eqx.Module):
    """A linear readout of the last layer's activation."""

    connection: eqx.AbstractVar[AbstractConnection]
    bias: eqx.AbstractVar[Float[Array, " out"]]

    @abc.abstractmethod
    def init(self) -> Float[Array, "..."]:
        """State at the start of a trial."""

    @abc.abstractmethod
    def __call__(self, state, activation: Float[Array, "time kinds *n"], mask, dt: float) -> tuple[Any, Float[Array, "time out"]]:
        """Readout over a stretch of time, and the state at its end."""


def _normal_readout(cls, in_shape, size, scale, key, **fields):
    return cls(connection=Dense.normal(in_shape, (size,), scale, key=key), bias=jnp.zeros(size), **fields)


class LinearReadout(AbstractReadout):
    """``o(t) = O s(t) + bias``, at the end of each step."""

    connection: AbstractConnection
    bias: Float[Array, " out"]

    @classmethod
    def dense(cls, in_shape, size, *, scale=1.0, key: PRNGKeyArray) -> "LinearReadout":
        """Weights ``N(0, scale^2/n)``, bias 0."""
        return _normal_readout(cls, in_shape, size, scale, key)

    def init(self):
        return jnp.zeros((0,), self.bias.dtype)

    def __call__(self, state, activation, mask, dt):
        del mask, dt
        return state, jax.vmap(self.connection)(activation) + self.bias


class LeakyReadout(AbstractReadout):
    """``tau_out do/dt = -o + O s + bias``: the linear readout, low-pass filtered (exactly, for s constant in a step)."""

    connection: AbstractConnection
    bias: Float[Array, " out"]
    tau_out: Float[Array, "..."] = parameter(20.0)

    @classmethod
    def dense(cls, in_shape, size, *, scale=1.0, tau_out=20.0, key: PRNGKeyArray) -> "LeakyReadout":
        """Weights ``N(0, scale^2/n)``, bias 0; `tau_out` in ms."""
        return _normal_readout(cls, in_shape, size, scale, key, tau_out=as_parameter(tau_out))

    def init(self):
        return jnp.zeros(self.bias.shape, self.bias.dtype)

    def __call__(self, state, activation, mask, dt):
        decay = jnp.exp(-dt / self.tau_out)
        target = jax.vmap(self.connection)(activation) + self.bias

        def step(o, x):
            target, m = x
            new = decay * o + (1 - decay) * target
            o = new if m is None else jnp.where(m, new, o)
            return o, o

        return jax.lax.scan(step, state, (target, mask))


class NetworkState(NamedTuple):
    """State of a network between two steps: what a long recording carries from chunk to chunk."""

    layers: tuple[LayerState, ...]
    readout: Float[Array, "..."]


class Network(eqx.Module):
    """A stack of layers, each recurrent or not, with a readout of the last.

    **Arguments:** `layers`: at least one; `readout`.

    **Raises:** `ValueError` where the shapes of two neighbours do not fit.
    """

    layers: tuple[Layer, ...]
    readout: AbstractReadout

    def __check_init__(self):
        if not self.layers:
            raise ValueError("`layers` is empty: a network has at least one layer")
        for i, (below, above) in enumerate(zip(self.layers, self.layers[1:], strict=False)):
            _fit(below, above.feedforward, f"layers[{i + 1}].feedforward")
        _fit(self.layers[-1], self.readout.connection, "readout.connection")

    @classmethod
    def dense(
        cls,
        channels: int,
        sizes: tuple[int, ...],
        outputs: int,
        *,
        neuron: AbstractNeuron,
        synapse: Exponential,
        recurrent: bool = True,
        key: PRNGKeyArray,
        **init,
    ) -> "Network":
        """A stack of dense layers of equal neurons with a linear readout; `init` goes to `Layer.dense`.

        **Arguments:** `channels`: of the stimulus; `sizes`: neurons per layer; `outputs`: of the readout.
        """
        keys = jax.random.split(key, len(sizes) + 1)
        shapes = [(channels,), *((synapse.kinds, n) for n in sizes)]
        layers = tuple(
            Layer.dense(shape, n, neuron, synapse, recurrent=recurrent, key=k, **init)
            for shape, n, k in zip(shapes, sizes, keys, strict=False)
        )
        return cls(layers, LinearReadout.dense(shapes[-1], outputs, key=keys[-1]))

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of the stimulus at one moment."""
        return self.layers[0].feedforward.in_shape

    def init(self, *, key: PRNGKeyArray | None = None, noise: Float[Array, ""] | float | None = None) -> NetworkState:
        """State at the start of a trial; with a `key` voltages are drawn (see `AbstractNeuron.init`)."""
        keys = [None] * len(self.layers) if key is None else jax.random.split(key, len(self.layers))
        states = (layer.init(key=k, noise=noise) for layer, k in zip(self.layers, keys, strict=True))
        return NetworkState(tuple(states), self.readout.init())


def _fit(below: Layer, connection: AbstractConnection, name: str):
    expected = (below.synapse.kinds, *below.shape)
    if connection.in_shape != expected:
        raise ValueError(
            f"`{name}` expects an activation of shape {connection.in_shape}, but the layer below gives {expected} (time constants, neurons)"
        )
