"""Connections: linear maps from activations (or a stimulus) to currents, a file each."""

from .base import CONNECTIONS, AbstractConnection, AbstractInstant, ActivationShape, check_shapes, fan_in
from .delays import Delayed, DelayedSynapses
from .dense import Dense
from .ports import Ports

__all__ = [
    "CONNECTIONS",
    "AbstractConnection",
    "AbstractInstant",
    "ActivationShape",
    "Delayed",
    "DelayedSynapses",
    "Dense",
    "Ports",
    "check_shapes",
    "fan_in",
]
