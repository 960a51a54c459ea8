"""Connections: linear maps from activations (or a stimulus) to currents, a file each."""

from .base import CONNECTIONS, AbstractConnection, check_shapes
from .dense import Dense
from .ports import Ports

__all__ = ["CONNECTIONS", "AbstractConnection", "Dense", "Ports", "check_shapes"]
