"""The network of a configuration."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import network
from ..component import positive_fields
from ..config import Config, ConfigError
from ..config.schema import Layer as LayerConfig
from ..connections import Dense
from ..initialise import dale_signs
from ..network import Network
from ..neurons import NEURONS, AbstractNeuron, Accommodating, HodgkinHuxley, Refractory
from ..parameters import as_parameter, positive, resolve
from ..readouts import LeakyReadout, LinearReadout
from ..synapses import DoubleExponential, Exponential


def build_network(config: Config, channels: int, outputs: int, key: jax.Array) -> Network:
    """The network, with positive parametrisation of whatever time constants and conductances are trained."""
    keys = jax.random.split(key, len(config.network.layers) + 1)
    shape: tuple[int, ...] = (channels,)
    layers, sign = [], None
    for layer, k in zip(config.network.layers, keys, strict=False):
        layers.append(_layer(layer, shape, sign, k))
        sign = None if layer.excitatory is None else dale_signs(layer.size, layer.excitatory)
        shape = (len(layer.synapse.tau_syn), layer.size)
    readout = config.network.readout
    if readout.kind == "leaky":
        out = LeakyReadout.create(shape, outputs, scale=readout.scale, tau_out=readout.tau_out, key=keys[-1])
    else:
        out = LinearReadout.create(shape, outputs, scale=readout.scale, key=keys[-1])
    out = eqx.tree_at(lambda r: r.connection, out, _readout_connection(config, out.connection, layers[-1]))
    made = Network(tuple(layers), out)
    return positive(made, positive_fields(made) & set(config.training.trainable))


def _readout_connection(config: Config, connection: Dense, last: network.Layer) -> Dense:
    readout, slowest = config.network.readout, int(np.argmax(config.network.layers[-1].synapse.tau_syn))
    if readout.init == "transpose":
        if not isinstance(last.feedforward, Dense):
            raise ConfigError(
                "network.readout.init is transpose, of input weights that are currents: leave out reversal in the last layer"
            )
        weight = resolve(last.feedforward).weight
        if (weight.shape[1:], weight.shape[0]) != (connection.out_shape, last.shape[0]):
            raise ConfigError(
                f"network.readout.init is transpose, but the last layer has {weight.shape[1:]} inputs "
                f"and the readout {connection.out_shape} outputs"
            )
        transposed = jnp.zeros_like(connection.weight).at[:, slowest].set(readout.scale * weight.T)
        connection = Dense(weight=transposed, in_shape=connection.in_shape)
    elif readout.init == "ridge":
        if readout.kind != "linear" or config.loss.kind != "response":
            raise ConfigError(
                "network.readout.init is ridge, which needs a linear readout and loss.kind response"
            )
        if not {"weight", "bias"} <= set(config.training.trainable):
            raise ConfigError(
                "network.readout.init is ridge, which solves for weight and bias: training.trainable must name both"
            )
        connection = Dense(weight=jnp.zeros_like(connection.weight), in_shape=connection.in_shape)
    if readout.synapses == "slowest":
        kinds = len(config.network.layers[-1].synapse.tau_syn)
        connection = connection.masked((jnp.arange(kinds) == slowest)[:, None])
    return connection


def _layer(layer: LayerConfig, shape: tuple[int, ...], input_sign, key: jax.Array) -> network.Layer:
    s = layer.synapse
    synapse = (
        Exponential(s.tau_syn, s.rate_unit)
        if s.kind == "exponential"
        else DoubleExponential(s.tau_rise, s.tau_syn, s.rate_unit)
    )
    return network.Layer.dense(
        shape,
        layer.size,
        _neuron(layer.neuron, layer.size, key),
        synapse,
        recurrent=layer.recurrent,
        autapses=layer.autapses,
        input_scale=layer.input_scale,
        input_norm=layer.input_norm,
        recurrent_scale=layer.recurrent_scale,
        self_excitation=layer.self_excitation,
        bias=layer.bias,
        density=layer.density,
        excitatory=layer.excitatory,
        input_sign=input_sign,
        reversal=layer.reversal,
        key=key,
    )


def _neuron(n, size: int, key: jax.Array) -> AbstractNeuron:
    """The neurons of a table, with one value per neuron, so that each can be trained."""
    fields = {}
    for name, value in n.model_dump(
        exclude={"kind", "tau_ref", "accommodation", "v_init"}, exclude_none=True
    ).items():
        if isinstance(value, tuple):
            fields[name] = jnp.broadcast_to(as_parameter(value)[:, None], (len(value), size))
        else:
            fields[name] = jnp.full((size,), value) if isinstance(value, float) else value
    if isinstance(n.v_init, tuple):
        low, high = n.v_init
        fields["v_init"] = jax.random.uniform(jax.random.fold_in(key, 3), (size,), minval=low, maxval=high)
    elif n.v_init is not None:
        fields["v_init"] = jnp.full((size,), n.v_init)
    make = NEURONS[n.kind]
    if n.kind == "hodgkin_huxley" and fields.pop("kinetics") == "cortical":
        make = HodgkinHuxley.cortical
    neuron = make(**fields)
    if (own := getattr(n, "accommodation", None)) is not None:
        numbers = {"tau": own.tau, "slope": own.slope, "v_half": own.v_half, "width": own.width}
        neuron = Accommodating(neuron, **{name: jnp.full((size,), x) for name, x in numbers.items()})
    if not getattr(n, "tau_ref", 0.0):
        return neuron
    return Refractory(neuron, tau_ref=jnp.full((size,), n.tau_ref))
