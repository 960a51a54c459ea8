"""What a connection does to single spikes: a column of weights, and a delay."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..component import known_numbers
from ..connections import AbstractConnection, AbstractInstant, Delayed, Dense, Filtered
from ..parameters import precision, resolve
from ..stimulus import Stimulus
from ..synapses import AbstractSynapse
from .train import Delays


def unfiltered(
    connection: AbstractConnection, synapse: AbstractSynapse, source: int
) -> tuple[AbstractConnection, AbstractSynapse]:
    """A connection from the layer `source` without its filter, and the synapse that spikes pass on it:
    the filter of one from the stimulus (-1), and else the `synapse` of the layer."""
    if source < 0 and isinstance(connection, Filtered):
        return connection.connection, connection.synapse
    return connection, synapse


def check(connection: AbstractConnection, name: str, *, recurrent: bool = False) -> None:
    """Raise `ValueError`, which begins with `name`, for a connection that does something else to a spike, or
    whose weights are no numbers."""
    inner = connection.connection if isinstance(connection, Delayed) else connection
    kind = type(inner).__name__
    if not isinstance(inner, AbstractInstant):
        raise ValueError(
            f"{name}: a {kind} connection has no closed form between events: use one without a memory, "
            "behind delays of axons or lines (`Delayed`) or not"
        )
    if recurrent and isinstance(connection, Delayed) and inner.in_shape != connection.in_shape:
        raise ValueError(
            f"{name}: there are several delay `lines`, but in a recurrence a neuron has one delay"
        )
    for leaf in jax.tree.leaves(connection):
        values = known_numbers(leaf)
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"{name}: the {kind} connection holds numbers that are not finite")


def matrix(connection: AbstractConnection) -> tuple[Float[Array, "in out"], Delays]:
    """What a spike of every input (with lines: on every line) adds to the currents, and the delays, ms."""
    delay = None
    if isinstance(connection, Delayed):
        inner = connection.connection
        wide = jnp.broadcast_to(resolve(connection.delay), inner.in_shape)
        delay = wide.reshape(-1, int(np.prod(connection.in_shape, dtype=int)))
        connection = inner
    if isinstance(connection, Dense):
        return connection.matrix.T, delay
    size = int(np.prod(connection.in_shape, dtype=int))
    each = jnp.eye(size, dtype=precision(connection)).reshape(size, *connection.in_shape)
    return connection.over_time(each)[0].reshape(size, -1), delay


def currents(connection: AbstractConnection, steps: Stimulus, name: str) -> Float[Array, "time out"]:
    """What arrives in every step.

    **Raises:** `ValueError` for a connection with delays.
    """
    if isinstance(connection, Delayed):
        raise ValueError(
            f"{name}: a stimulus in steps arrives step by step: give delayed ones as `SpikeTimes`"
        )
    return connection.over_time(steps)[0].reshape(steps.shape[0], -1)


__all__ = ["check", "currents", "matrix", "unfiltered"]
