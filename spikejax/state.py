"""What a network carries from step to step, and what it records."""

from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, PyTree


class LayerState(NamedTuple):
    """State of a layer: its neurons' state, and the activation of their outgoing synapses, ``(kinds,
    *n)``."""

    neuron: Any
    activation: Float[Array, "kinds *n"]
    """Its mean over the last step."""
    pending: Float[Array, "*n"]
    """Charge released in the last step that arrives in the next one."""
    hidden: Any = None
    """Variables of the synapses that no other neuron sees, such as a rising part."""
    past: PyTree[Float[Array, "..."]] = None
    """What the recurrent connection remembers."""
    inputs: PyTree[Float[Array, "..."]] = None
    """What the feed-forward connection remembers."""


class Background(NamedTuple):
    """How far the background current of a recording has come (`spikejax.Noise`)."""

    steps: Int[Array, ""]
    """Steps with such a current so far: each has a key of its own."""
    last: tuple[Float[Array, "*n"], ...]
    """Per layer, the current in the last of them."""


class NetworkState(NamedTuple):
    """State of a network between two steps: what a long recording carries from chunk to chunk."""

    layers: tuple[LayerState, ...]
    readout: PyTree[Float[Array, "..."]]
    background: Background | None = None
    """None before the first step with a background current, unless the state is made by
    ``network.init(noise=...)``."""
    skips: tuple[PyTree[Float[Array, "..."]], ...] = ()
    """What the connections past a layer remember; empty: nothing yet."""


class Carry(NamedTuple):
    """What a population carries from step to step."""

    state: LayerState
    count: Float[Array, "*n"]  # pyright: ignore[reportIncompatibleMethodOverride] (not tuple.count)
    """Charge released so far: the spike count, and smooth wherever the release is."""


class Record(NamedTuple):
    """Time series of a population, one entry a step; None where not saved."""

    activation: Float[Array, "time kinds *n"] | None = None
    """Mean over the step."""
    release: Float[Array, "time *n"] | None = None
    """Charge released in the step."""
    v: Float[Array, "time *n"] | None = None
    """At the end of the step."""
    current: Float[Array, "time *n"] | None = None
    late: Float[Array, "time *n"] | None = None
    """Mean fraction of the step at which its charge was released, times the charge."""


__all__ = ["Background", "Carry", "LayerState", "NetworkState", "Record"]
