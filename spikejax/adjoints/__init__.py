"""Interchangeable ways to differentiate a simulation."""

from .autodiff import Autodiff
from .base import AbstractAdjoint, Leash, Record
from .checkpointed import Checkpointed
from .costate import Costate

ADJOINTS: dict[str, type[AbstractAdjoint]] = {
    "costate": Costate,
    "autodiff": Autodiff,
    "checkpointed": Checkpointed,
}

__all__ = ["ADJOINTS", "AbstractAdjoint", "Autodiff", "Checkpointed", "Costate", "Leash", "Record"]
