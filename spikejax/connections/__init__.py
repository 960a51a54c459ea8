"""Connections: linear maps from activations (or a stimulus) to currents, a file each."""

from .base import CONNECTIONS, AbstractConnection, AbstractInstant, ActivationShape, check_shapes, fan_in
from .chain import Chain
from .convolution import Convolution
from .delays import Delayed, DelayedSynapses
from .dense import Dense
from .dropout import Dropout, with_dropout
from .filtered import Filtered
from .pooling import Pool, Unpool
from .ports import Ports
from .sparse import Sparse

__all__ = [
    "CONNECTIONS",
    "AbstractConnection",
    "AbstractInstant",
    "ActivationShape",
    "Chain",
    "Convolution",
    "Delayed",
    "DelayedSynapses",
    "Dense",
    "Dropout",
    "Filtered",
    "Pool",
    "Ports",
    "Sparse",
    "Unpool",
    "check_shapes",
    "fan_in",
    "with_dropout",
]
