"""Neurons, a file per family."""

from .base import AbstractNeuron, Path, Reset, State, spiking_step, start_level
from .integrate_and_fire import LIF, NIF
from .theta import Theta

NEURONS: dict[str, type[AbstractNeuron]] = {"nif": NIF, "lif": LIF, "theta": Theta}

__all__ = ["LIF", "NEURONS", "NIF", "AbstractNeuron", "Path", "Reset", "State", "Theta", "spiking_step", "start_level"]
