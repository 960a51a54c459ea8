"""What turns random dense connections into those of a layer: signs of neurons, conductances, bistable
neurons."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .connections import AbstractConnection, Dense, Dropout, Ports, Sparse
from .parameters import resolve
from .synapses import AbstractSynapse


def dale_signs(size: int | tuple[int, ...], excitatory: float) -> Float[Array, "*n"]:
    """Signs of presynaptic neurons, a population of this size or shape, of which the fraction
    `excitatory` comes first with 1, then the others with ``-excitatory/(1 - excitatory)``: the fewer
    inhibitory ones are stronger, so that random input is 0 in the mean.

    **Raises:** `ValueError` unless there is at least one neuron of both.
    """
    shape = (size,) if isinstance(size, int) else tuple(size)
    size = math.prod(shape)
    first = round(excitatory * size)
    if not 0 < first < size:
        raise ValueError(
            f"`excitatory` of {excitatory:g} leaves {first} of {size} neurons excitatory: there must be some "
            "of both"
        )
    return jnp.where(jnp.arange(size) < first, 1.0, -first / (size - first)).reshape(shape)


def bistable(
    connection: AbstractConnection,
    synapse: AbstractSynapse,
    strength: tuple[float, float],
    *,
    key: PRNGKeyArray,
) -> AbstractConnection:
    """A recurrent connection with a weight drawn uniformly between the two of `strength` added to every
    neuron's slowest synapse onto itself.

    **Raises:** `ValueError` unless the connection is dense, with all synapses of either sign.
    """
    if isinstance(connection, Dropout):
        inner = bistable(connection.connection, synapse, strength, key=key)
        return Dropout(inner, rate=connection.rate)
    if not isinstance(connection, Dense):
        raise ValueError(
            "`self_excitation` is added to dense connections, and this one is a "
            f"{type(connection).__name__}: leave it out"
        )
    if not isinstance(connection.weight, jax.Array):
        raise ValueError(
            "`self_excitation` needs all synapses, of either sign: leave out density, weight_norm, "
            "excitatory and reversal"
        )
    low, high = strength
    if low > high:
        raise ValueError(f"`self_excitation` is {list(strength)}, but must be [low, high]")
    size, weight = math.prod(connection.out_shape), connection.weight
    slowest = jnp.argmax(resolve(synapse.tau_syn).reshape(synapse.kinds, -1).max(axis=1))
    extra = jax.random.uniform(jax.random.fold_in(key, 1), (size,), minval=low, maxval=high)
    every = jnp.arange(size)
    flat = weight.reshape(size, -1, size).at[every, slowest, every].add(extra)
    return Dense(weight=flat.reshape(weight.shape), in_shape=connection.in_shape)


def wired(
    connection: AbstractConnection, sign: Float[Array, "*n"] | None, conductances: bool
) -> AbstractConnection:
    """The connection with the presynaptic neurons' `sign` (None: either), to a current or to two
    conductances.

    As conductances, excitatory neurons open the first and inhibitory ones the second; an input without a sign
    opens both.

    **Raises:** `ValueError` if signs or conductances are asked of others than dense or sparse connections.
    """
    if sign is None and not conductances:
        return connection
    if isinstance(connection, Dropout):
        return Dropout(wired(connection.connection, sign, conductances), rate=connection.rate)
    if not isinstance(connection, Dense | Sparse):
        raise ValueError(
            f"`excitatory` and `reversal` give dense and sparse connections their signs, and this one is a "
            f"{type(connection).__name__}: set its signs itself"
        )
    if not conductances:
        return connection.signed(sign if sign is not None else 1.0)
    up, down = (1.0, 1.0) if sign is None else (jnp.maximum(sign, 0.0), jnp.maximum(-sign, 0.0))
    return Ports((None, connection.signed(up), connection.signed(down)))


__all__ = ["bistable", "dale_signs", "wired"]
