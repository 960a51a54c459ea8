"""Neurons, a file per family."""

from .accommodation import Accommodating
from .adaptive import ALIF, GLIF
from .base import (
    NEURONS,
    RESETS,
    AbstractNeuron,
    AbstractReset,
    AbstractResetNeuron,
    AnyState,
    Drive,
    Input,
    Path,
    State,
    parts,
)
from .exponential import EIF, AdEx
from .hodgkin_huxley import HodgkinHuxley
from .integrate_and_fire import LIF, NIF
from .izhikevich import Izhikevich
from .quadratic import QIF
from .refractory import Refractory
from .resets import Split, Subtract, Zero
from .spike_response import SpikeResponse
from .theta import Theta
from .wrapper import WRAPPERS, Wrapper

__all__ = [
    "ALIF",
    "EIF",
    "GLIF",
    "LIF",
    "NEURONS",
    "NIF",
    "QIF",
    "RESETS",
    "WRAPPERS",
    "AbstractNeuron",
    "AbstractReset",
    "AbstractResetNeuron",
    "Accommodating",
    "AdEx",
    "AnyState",
    "Drive",
    "HodgkinHuxley",
    "Input",
    "Izhikevich",
    "Path",
    "Refractory",
    "SpikeResponse",
    "Split",
    "State",
    "Subtract",
    "Theta",
    "Wrapper",
    "Zero",
    "parts",
]
