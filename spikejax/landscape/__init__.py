"""The loss around a network, and what gradients say of it."""

from .jumps import AlongLine, Jumps, SpikeChanges, jumps, loss_along, spike_changes
from .report import (
    LandscapeOptions,
    Landscapes,
    Plane,
    Slice,
    SliceKey,
    all_and_single,
    compared_simulators,
    landscapes,
)
from .slices import (
    Line,
    Roughness,
    along_line,
    gradient_direction,
    loss_at,
    on_plane,
    random_direction,
    reach,
    roughness,
    secants,
)

__all__ = [
    "AlongLine",
    "Jumps",
    "LandscapeOptions",
    "Landscapes",
    "Line",
    "Plane",
    "Roughness",
    "Slice",
    "SliceKey",
    "SpikeChanges",
    "all_and_single",
    "along_line",
    "compared_simulators",
    "gradient_direction",
    "jumps",
    "landscapes",
    "loss_along",
    "loss_at",
    "on_plane",
    "random_direction",
    "reach",
    "roughness",
    "secants",
    "spike_changes",
]
