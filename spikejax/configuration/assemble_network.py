"""The network of a configuration."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ..component import positive_fields
from ..connections import AbstractConnection, Dense, Dropout
from ..errors import ConfigError
from ..initialise import dale_signs
from ..network import WEAK, Layer, Network, Skip
from ..neurons import WRAPPERS, AbstractNeuron
from ..parameters import as_parameter, positive, resolve
from ..readouts import AbstractReadout
from ..synapses import AbstractSynapse
from . import schema
from .making import at, drawing, make
from .schema import Config
from .tables import Table, keywords


def build_network(config: Config, channels: int | tuple[int, ...], outputs: int, key: jax.Array) -> Network:
    """The network, with positive parametrisation of whatever time constants and conductances are trained.

    **Arguments:** `channels`: number of the channels of the stimulus, or its shape at one moment.
    """
    keys = jax.random.split(key, len(config.network.layers) + 1)
    shape: tuple[int, ...] = (channels,) if isinstance(channels, int) else tuple(channels)
    layers, sign = [], None
    for i, (layer, k) in enumerate(zip(config.network.layers, keys, strict=False)):
        layers.append(_layer(layer, f"network.layers.{i}", shape, sign, config.dt, k))
        sign = None if layer.excitatory is None else dale_signs(layers[-1].shape, layer.excitatory)
        shape = layers[-1].activation_shape
    table = config.network.readout
    readout: AbstractReadout = make(table, "network.readout", in_shape=shape, size=outputs, key=keys[-1])
    connection = _readout_connection(config, readout, layers[-1])
    if connection is not readout.connection:
        readout = eqx.tree_at(lambda r: r.connection, readout, connection)
    network = at("network", Network, tuple(layers), readout, _skips(config, tuple(layers), key))
    return positive(network, [name for name in config.training.trainable if name in positive_fields(network)])


def build_neuron(
    table: Table,
    where: str,
    shape: tuple[int, ...] | None = None,
    key: jax.Array | None = None,
    *,
    end: int = 0,
) -> AbstractNeuron:
    """The neurons of a table, with what is around them.

    **Arguments:** `where`: path of the table; `shape`: of the population, each neuron of which gets a value
    of its own, so that each can be trained; None: one value for all; `key`: of the draws; `end`: without a
    shape, 0 for the lower and 1 for the upper end of what is drawn.
    """

    def spread(value):
        if isinstance(value, _Drawn):
            if shape is None or key is None:
                return value[end]
            return jax.random.uniform(jax.random.fold_in(key, 3), shape, minval=value[0], maxval=value[1])
        if shape is None or not isinstance(value, jax.Array):
            return value
        return jnp.broadcast_to(value.reshape(*value.shape, *(1 for _ in shape)), (*value.shape, *shape))

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
    size = (layer.size,) if isinstance(layer.size, int) else layer.size
    draw = drawing(layer.feedforward, f"{where}.feedforward")
    # The neurons need the shape of the population, which only the connection may know.
    population = eqx.filter_eval_shape(draw, shape, size, key=key).out_shape
    return at(
        where,
        Layer.create,
        shape,
        size,
        build_neuron(layer.neuron, f"{where}.neuron", population, key),
        build_synapse(layer.synapse, f"{where}.synapse"),
        feedforward=draw,
        recurrent=None if own is None else _recurrence(own, f"{where}.recurrent", dt),
        self_excitation=None if own is None else own.self_excitation,
        bias=layer.bias,
        bias_per=layer.bias_per,
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


def _skips(config: Config, layers: tuple[Layer, ...], key: jax.Array) -> tuple[Skip, ...]:
    """The connections that leave layers out."""
    found = []
    # Another stream than that of the layers.
    keys = jax.random.split(jax.random.fold_in(key, 2**31 - 1), max(len(config.network.skips), 1))
    for i, (skip, k) in enumerate(zip(config.network.skips, keys, strict=False)):
        where, last = f"network.skips.{i}", len(layers) - 1
        if skip.target > last:
            raise ConfigError(
                f"{where}.target is {skip.target}, but the last of {len(layers)} layers is number {last}"
            )
        if skip.source >= skip.target:
            raise ConfigError(
                f"{where}.source is {skip.source}, but must be below the target, {skip.target}: a layer's "
                "own activation is for its recurrent connection"
            )
        below = skip.source < 0
        shape = layers[0].feedforward.in_shape if below else layers[skip.source].activation_shape
        draw = drawing(skip.connection, f"{where}.connection")
        out = layers[skip.target].feedforward.out_shape
        connection = at(f"{where}.connection", draw, shape, out, key=k)
        found.append(at(where, Skip, connection, skip.source, skip.target))
    return tuple(found)


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
        there = jnp.arange(last.synapse.kinds) == slowest
        connection = connection.masked(there.reshape(-1, *(1 for _ in last.shape)))
    return connection


def _transposed(table: Table, connection: Dense, last: Layer, slowest: jax.Array) -> Dense:
    into = last.feedforward.connection if isinstance(last.feedforward, Dropout) else last.feedforward
    if not isinstance(into, Dense):
        raise ConfigError(
            "network.readout.init is transpose, of dense input weights that are currents, and those of the "
            f"last layer are {type(into).__name__}: leave out reversal there, or choose another "
            "init"
        )
    if into.in_shape != connection.out_shape:
        raise ConfigError(
            f"network.readout.init is transpose, but the last layer has {into.in_shape} inputs and the "
            f"readout {connection.out_shape} outputs"
        )
    scale = getattr(table, "scale", 1.0)  # a user's readout need not have one
    transposed = jnp.moveaxis(resolve(into.weight), -1, 0)
    transposed = jnp.zeros_like(resolve(connection.weight)).at[:, slowest].set(scale * transposed)
    return _with_weight(connection, transposed)


def _with_weight(connection: Dense, weight: jax.Array) -> Dense:
    return eqx.tree_at(lambda dense: dense.weight, connection, weight)


__all__ = ["build_network", "build_neuron", "build_synapse"]
