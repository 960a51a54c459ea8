"""The network of a configuration."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ..component import positive_fields
from ..connections import AbstractConnection, Dense
from ..errors import ConfigError
from ..initialise import dale_signs
from ..network import WEAK, Layer, Network
from ..neurons import WRAPPERS, AbstractNeuron
from ..parameters import as_parameter, positive, resolve
from ..readouts import AbstractReadout
from ..synapses import AbstractSynapse
from . import schema
from .making import at, drawing, make
from .schema import Config
from .tables import Table, keywords


def build_network(config: Config, channels: int, outputs: int, key: jax.Array) -> Network:
    """The network, with positive parametrisation of whatever time constants and conductances are trained."""
    keys = jax.random.split(key, len(config.network.layers) + 1)
    shape: tuple[int, ...] = (channels,)
    layers, sign = [], None
    for i, (layer, k) in enumerate(zip(config.network.layers, keys, strict=False)):
        layers.append(_layer(layer, f"network.layers.{i}", shape, sign, config.dt, k))
        sign = None if layer.excitatory is None else dale_signs(layer.size, layer.excitatory)
        shape = layers[-1].activation_shape
    table = config.network.readout
    readout: AbstractReadout = make(table, "network.readout", in_shape=shape, size=outputs, key=keys[-1])
    connection = _readout_connection(config, readout, layers[-1])
    if connection is not readout.connection:
        readout = eqx.tree_at(lambda r: r.connection, readout, connection)
    network = at("network", Network, tuple(layers), readout)
    return positive(network, [name for name in config.training.trainable if name in positive_fields(network)])


def build_neuron(
    table: Table, where: str, size: int | None = None, key: jax.Array | None = None, *, end: int = 0
) -> AbstractNeuron:
    """The neurons of a table, with what is around them.

    **Arguments:** `where`: path of the table; `size`: number of neurons, each of which gets a value of its
    own, so that each can be trained; None: one value for all; `key`: of the draws; `end`: without a size, 0
    for the lower and 1 for the upper end of what is drawn.
    """

    def spread(value):
        if isinstance(value, _Drawn):
            if size is None or key is None:
                return value[end]
            return jax.random.uniform(jax.random.fold_in(key, 3), (size,), minval=value[0], maxval=value[1])
        if size is None or not isinstance(value, jax.Array):
            return value
        return jnp.broadcast_to(value[..., None], (*value.shape, size))

    assert table.component is not None
    neuron = at(where, table.component, **{name: spread(x) for name, x in _values(table, where).items()})
    # The first of them is the innermost.
    for name, wrapper in WRAPPERS.items():
        own, place = getattr(table, name, None), f"{where}.{name}"
        if own is not None:
            numbers = {name: spread(x) for name, x in _values(own, place).items()}
            neuron = at(place, wrapper, neuron=neuron, **numbers)
    return neuron


def build_synapse(table: Table, where: str) -> AbstractSynapse:
    """The synapses of a table."""
    return make(table, where)


class _Drawn(tuple):
    """Lowest and highest value of what every neuron gets a draw of."""


def _values(table: Table, where: str) -> dict[str, Any]:
    """The values of a component's table that are not left to the component."""
    found = {}
    for name, (_, declared, _) in keywords(table.component).items() if table.component else ():
        value = getattr(table, name)
        if isinstance(value, Table):
            value = make(value, f"{where}.{name}")
        elif declared.drawn and isinstance(value, tuple):
            value = _Drawn(value)
        elif declared.trained and value is not None:
            value = as_parameter(value)
        if value is not None:
            found[name] = value
    return found


def _layer(
    layer: schema.Layer,
    where: str,
    shape: tuple[int, ...],
    input_sign: jax.Array | None,
    dt: float,
    key: jax.Array,
) -> Layer:
    own = layer.recurrent or None
    return at(
        where,
        Layer.create,
        shape,
        layer.size,
        build_neuron(layer.neuron, f"{where}.neuron", layer.size, key),
        build_synapse(layer.synapse, f"{where}.synapse"),
        feedforward=drawing(layer.feedforward, f"{where}.feedforward"),
        recurrent=None if own is None else _recurrence(own, f"{where}.recurrent", dt),
        self_excitation=None if own is None else own.self_excitation,
        bias=layer.bias,
        excitatory=layer.excitatory,
        input_sign=input_sign,
        reversal=layer.reversal,
        key=key,
    )


def _recurrence(table: Table, where: str, dt: float) -> Callable[..., AbstractConnection]:
    """How a recurrent connection is drawn: with no delay shorter than the step that it takes in any case, and
    what is within it as weak as it would be by itself."""
    known, context = keywords(table.component) if table.component else {}, {}
    if "shortest" in known and "shortest" not in table.model_fields_set:
        context["shortest"] = dt
    inner = getattr(table, "connection", None)
    if inner is not None and "scale" in type(inner).model_fields and "scale" not in inner.model_fields_set:
        table = table.model_copy(update={"connection": inner.model_copy(update={"scale": WEAK})})
    return drawing(table, where, **context)


def _readout_connection(config: Config, readout: AbstractReadout, last: Layer) -> AbstractConnection:
    """The readout's connection as the table says that it begins."""
    table, connection = config.network.readout, readout.connection
    if table.init == "normal" and table.synapses == "all":
        return connection
    if not isinstance(connection, Dense):
        raise ConfigError(
            "network.readout: init and synapses are of a dense readout, and this one has a "
            f"{type(connection).__name__}"
        )
    slowest = jnp.argmax(resolve(last.synapse).tau_syn.reshape(last.synapse.kinds, -1)[:, 0])
    if table.init == "transpose":
        connection = _transposed(table, connection, last, slowest)
    elif table.init == "ridge":
        connection = _with_weight(connection, jnp.zeros_like(resolve(connection.weight)))
    if table.synapses == "slowest":
        connection = connection.masked((jnp.arange(last.synapse.kinds) == slowest)[:, None])
    return connection


def _transposed(table: Table, connection: Dense, last: Layer, slowest: jax.Array) -> Dense:
    if not isinstance(last.feedforward, Dense):
        raise ConfigError(
            "network.readout.init is transpose, of dense input weights that are currents, and those of the "
            f"last layer are {type(last.feedforward).__name__}: leave out reversal there, or choose another "
            "init"
        )
    weight = resolve(last.feedforward).weight
    if (weight.shape[1:], weight.shape[0]) != (connection.out_shape, last.shape[0]):
        raise ConfigError(
            f"network.readout.init is transpose, but the last layer has {weight.shape[1:]} inputs and the "
            f"readout {connection.out_shape} outputs"
        )
    scale = getattr(table, "scale", 1.0)  # a user's readout need not have one
    transposed = jnp.zeros_like(resolve(connection.weight)).at[:, slowest].set(scale * weight.T)
    return _with_weight(connection, transposed)


def _with_weight(connection: Dense, weight: jax.Array) -> Dense:
    return eqx.tree_at(lambda dense: dense.weight, connection, weight)


__all__ = ["build_network", "build_neuron", "build_synapse"]
