"""Layers, readouts and networks: parameters and their composition in space. Time is elsewhere."""

import abc
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .component import parameter
from .connections import AbstractConnection, Dense, Ports
from .neurons import AbstractNeuron
from .parameters import as_parameter, resolve
from .synapses import AbstractSynapse


class LayerState(NamedTuple):
    """State of a layer: its neurons' state, and the activation of their outgoing synapses, ``(kinds,
    *n)``."""

    neuron: Any
    activation: Float[Array, "kinds *n"]
    hidden: Any = None
    """Variables of the synapses that no other neuron sees, such as a rising part."""


class Layer(eqx.Module):
    """A population of neurons with its input, its recurrence and its outgoing synapses.

    ```
    I(t) = feedforward(x(t)) + recurrent(s(t)) + bias
    ```
    with x the stimulus or the activation of the layer below at the end of the step, and s the layer's own
    activation at its start.

    With `reversal` potentials the synapses are conductances, held within a step. The connections then have
    ``1 + ports`` outputs for every neuron: a plain current ``I_0``, and the conductance of every port,
    ```
    I(t) = I_0 + bias + sum_k g_k (E_k - v)
    ```

    **Arguments:** `feedforward`, `recurrent` (or None): connections to ``(*n)``, or to ``(1 + ports, *n)``;
    `bias`: current ``(*n)``; `neuron`; `synapse`; `reversal`: ``(ports,)`` or ``(ports, *n)``, in units of v,
    or None. Conductances are in units of the neuron's leak (LIF, ALIF, GLIF), in nS (EIF, AdEx), mS/cm2
    (Hodgkin-Huxley), 1/ms (Izhikevich); they must not be negative: see `spikejax.Signed`.

    **Raises:** `ValueError` where shapes do not fit, and for conductances onto theta neurons, whose v is a
    phase.
    """

    feedforward: AbstractConnection
    recurrent: AbstractConnection | None
    bias: Float[Array, "*n"]
    neuron: AbstractNeuron
    synapse: AbstractSynapse
    reversal: Float[Array, "ports ..."] | None = None

    def __check_init__(self):
        shape = self.feedforward.out_shape
        if self.reversal is not None:
            if not self.neuron.conductances:
                raise ValueError(
                    f"`reversal` makes conductances, which {type(self.neuron).__name__} neurons do not take: a neuron "
                    "that does says `conductances = True` and takes a `Drive` in its `flow`"
                )
            if shape[:1] != (1 + self.reversal.shape[0],):
                raise ValueError(
                    f"`feedforward` has outputs {shape}, but with {self.reversal.shape[0]} reversal potentials they are "
                    f"({1 + self.reversal.shape[0]}, neurons): the current, and every conductance"
                )
        neurons = shape if self.reversal is None else shape[1:]
        if self.bias.shape != neurons:
            raise ValueError(f"`bias` has shape {self.bias.shape}, the layer's neurons {neurons}")
        own = (self.synapse.kinds, *neurons)
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
        synapse: AbstractSynapse,
        *,
        recurrent: bool = True,
        input_scale: float | tuple[float, ...] = 1.0,
        input_norm: float | None = None,
        recurrent_scale: float | tuple[float, ...] = 0.5,
        self_excitation: tuple[float, float] | None = None,
        bias: tuple[float, float] = (0.0, 0.0),
        autapses: bool = True,
        density: float = 1.0,
        excitatory: float | None = None,
        input_sign: Float[Array, " n"] | None = None,
        reversal: tuple[float, float] | None = None,
        key: PRNGKeyArray,
    ) -> "Layer":
        """A layer of random connections: weights ``N(0, scale^2/fan_in)``, biases ``U(*bias)``.

        **Arguments:** `in_shape`: ``(channels,)`` or ``(kinds, n)``; `size`: number of neurons;
        `input_scale`, `recurrent_scale`: one for all, or one for each channel and for each time constant;
        `input_norm`: the norm of every neuron's input weights, whatever their scale; `self_excitation`: added
        to the weight of every neuron's slowest synapse onto itself, drawn from between the two; `autapses`:
        whether a neuron may have a synapse onto itself, now and after training.

        `density`: fraction of the recurrent synapses that exist, drawn one by one; fan_in is then the
        expected number. `excitatory`: Dale's law; this fraction of the neurons, the first ones, has positive
        recurrent weights only and the others negative ones (see `dale_signs`); `input_sign`: the same of the
        neurons of the layer below. `reversal`: ``(E_exc, E_inh)`` makes all synapses conductances (absolute
        weights): excitatory presynaptic neurons open the first, inhibitory ones the second, and a stimulus,
        which has no sign, both.

        **Raises:** `ValueError` for `self_excitation` that a mask or a sign would take away, `reversal`
        without `excitatory` in a recurrent layer, and an `input_norm` of conductances.
        """
        if self_excitation is not None and (excitatory is not None or density < 1 or reversal is not None):
            raise ValueError(
                "`self_excitation` needs all synapses, of either sign: leave out density, excitatory and reversal"
            )
        if reversal is not None and recurrent and excitatory is None:
            raise ValueError(
                "`reversal` needs `excitatory`, the fraction of neurons that open the first of the two conductances"
            )
        if reversal is not None and input_norm is not None:
            raise ValueError("`input_norm` scales the weights of currents: leave it out with `reversal`")
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
                own = Dense(
                    weight=own.weight.at[jnp.arange(size), slowest, jnp.arange(size)].add(extra),
                    in_shape=own.in_shape,
                )
            present = None if autapses else ~jnp.eye(size, dtype=bool)
            if density < 1:
                drawn = jax.random.bernoulli(jax.random.fold_in(key_rec, 2), density, (size, size))
                present = drawn if present is None else present & drawn
                own = Dense(weight=own.weight / math.sqrt(density), in_shape=own.in_shape)
            own = _wired(
                own,
                None if present is None else present[:, None, :],
                _dale(excitatory, size),
                reversal is not None,
            )
        feedforward = _wired(feedforward, None, input_sign, reversal is not None)
        low, high = bias
        start = jax.random.uniform(key_bias, (size,), minval=low, maxval=high)
        return cls(
            feedforward, own, start, neuron, synapse, None if reversal is None else as_parameter(reversal)
        )

    def init(
        self, *, key: PRNGKeyArray | None = None, noise: Float[Array, ""] | float | None = None
    ) -> LayerState:
        """State at the start of a trial; with a `key` voltages are drawn (see `AbstractNeuron.init`)."""
        # A neuron that sets up its state itself need not know about noise unless it is asked for.
        asked = {} if noise is None else {"noise": noise}
        state = resolve(self.neuron).init(self.shape, key=key, **asked)
        synapse, dtype = self.synapse, self.bias.dtype
        return LayerState(state, synapse.init(self.shape, dtype), synapse.init_hidden(self.shape, dtype))


def dale_signs(size: int, excitatory: float) -> Float[Array, " n"]:
    """Signs of `size` presynaptic neurons, of which the fraction `excitatory` comes first with 1, then the
    others with ``-excitatory/(1
    - excitatory)``: the fewer inhibitory ones are stronger, so that random input is 0 in the mean.

    **Raises:** `ValueError` unless there is at least one neuron of both.
    """
    first = round(excitatory * size)
    if not 0 < first < size:
        raise ValueError(
            f"`excitatory` of {excitatory:g} leaves {first} of {size} neurons excitatory: there must be some of both"
        )
    return jnp.where(jnp.arange(size) < first, 1.0, -first / (size - first))


def _dale(excitatory: float | None, size: int):
    return None if excitatory is None else dale_signs(size, excitatory)


def _wired(connection: Dense, present, sign, conductance: bool) -> AbstractConnection:
    """The connection with the synapses that are `present`, of the presynaptic neurons' `sign`, to a current
    or to two conductances."""
    there = 1.0 if present is None else jnp.where(present, 1.0, 0.0)
    if conductance:
        # No sign: a stimulus opens both.
        up, down = (1.0, 1.0) if sign is None else (jnp.maximum(sign, 0.0), jnp.maximum(-sign, 0.0))
        ports = (
            Dense(weight=connection.weight, in_shape=connection.in_shape).signed(there * s)
            for s in (up, down)
        )
        return Ports((None, *ports))
    if sign is not None:
        return connection.signed(there * sign)
    return connection if present is None else connection.masked(present)


class AbstractReadout(eqx.Module):
    """A linear readout of the last layer's activation."""

    connection: eqx.AbstractVar[AbstractConnection]
    bias: eqx.AbstractVar[Float[Array, " out"]]

    @abc.abstractmethod
    def init(self) -> Float[Array, "..."]:
        """State at the start of a trial."""

    @abc.abstractmethod
    def __call__(
        self, state, activation: Float[Array, "time kinds *n"], mask, dt: float
    ) -> tuple[Any, Float[Array, "time out"]]:
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
    """``tau_out do/dt = -o + O s + bias``: the linear readout, low-pass filtered (exactly, for s constant in
    a step)."""

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
        synapse: AbstractSynapse,
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

    def init(
        self, *, key: PRNGKeyArray | None = None, noise: Float[Array, ""] | float | None = None
    ) -> NetworkState:
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
