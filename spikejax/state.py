"""What a network carries from step to step, and what it records."""

from typing import Any, NamedTuple

from jaxtyping import Array, Float


class LayerState(NamedTuple):
    """State of a layer: its neurons' state, and the activation of their outgoing synapses, ``(kinds,
    *n)``."""

    neuron: Any
    activation: Float[Array, "kinds *n"]
    hidden: Any = None
    """Variables of the synapses that no other neuron sees, such as a rising part."""
    past: Float[Array, "memory kinds *n"] | None = None
    """The layer's own activations before the present one, the oldest first; None unless its recurrence has a
    memory."""
    inputs: Float[Array, "memory ..."] | None = None
    """The layer's last inputs, the oldest first; None unless its feed-forward connection has a memory."""


class NetworkState(NamedTuple):
    """State of a network between two steps: what a long recording carries from chunk to chunk."""

    layers: tuple[LayerState, ...]
    readout: Float[Array, "..."]


class Carry(NamedTuple):
    """What a population carries from step to step."""

    state: LayerState
    level: Float[Array, "*n"] | None
    """Where the membrane potential stands in the gate, ``G(v)``: see `spikejax.releases`; None unless charge
    is released."""
    count: Float[Array, "*n"]  # pyright: ignore[reportIncompatibleMethodOverride] (not tuple.count)
    """Charge released so far: the spike count, and smooth wherever the release is."""


class Record(NamedTuple):
    """Time series of a population, one entry a step, taken at its end; None where not saved."""

    activation: Float[Array, "time kinds *n"] | None = None
    release: Float[Array, "time *n"] | None = None
    v: Float[Array, "time *n"] | None = None
    current: Float[Array, "time *n"] | None = None


__all__ = ["Carry", "LayerState", "NetworkState", "Record"]
