"""Connections: linear maps from activations (or a stimulus) to currents, a file each."""

from .base import CONNECTIONS, AbstractConnection, AbstractInstant, ActivationShape, check_shapes, fan_in
from .dense import Dense
from .filtered import Filtered
from .ports import Ports

__all__ = [
    "CONNECTIONS",
    "AbstractConnection",
    "AbstractInstant",
    "ActivationShape",
    "Dense",
    "Filtered",
    "Ports",
    "check_shapes",
    "fan_in",
]
