"""Neurons, a file per family."""

from .accommodation import Accommodating
from .adaptive import ALIF, GLIF
from .base import AbstractNeuron, Drive, Input, Path, Reset, State, spiking_step, start_level
from .exponential import EIF, AdEx
from .hodgkin_huxley import HodgkinHuxley
from .integrate_and_fire import LIF, NIF
from .izhikevich import Izhikevich
from .refractory import Refractory
from .theta import Theta

NEURONS: dict[str, type[AbstractNeuron]] = {
    "nif": NIF,
    "lif": LIF,
    "theta": Theta,
    "alif": ALIF,
    "glif": GLIF,
    "eif": EIF,
    "adex": AdEx,
    "izhikevich": Izhikevich,
    "hodgkin_huxley": HodgkinHuxley,
}

__all__ = [
    "ALIF",
    "EIF",
    "GLIF",
    "LIF",
    "NEURONS",
    "NIF",
    "AbstractNeuron",
    "Accommodating",
    "AdEx",
    "Drive",
    "HodgkinHuxley",
    "Input",
    "Izhikevich",
    "Path",
    "Refractory",
    "Reset",
    "State",
    "Theta",
    "spiking_step",
    "start_level",
]
