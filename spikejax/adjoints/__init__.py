"""Interchangeable ways to differentiate a simulation."""

from .autodiff import Autodiff
from .base import ADJOINTS, AbstractAdjoint
from .checkpointed import Checkpointed
from .costate import Costate

__all__ = ["ADJOINTS", "AbstractAdjoint", "Autodiff", "Checkpointed", "Costate"]
