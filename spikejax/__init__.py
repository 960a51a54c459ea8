"""spikejax: a functional, differentiable simulator of spiking neural networks in JAX."""

from .adjoints import Autodiff, Checkpointed, Costate, Leash
from .connections import Dense
from .gates import Gate
from .network import Layer, LeakyReadout, LinearReadout, Network
from .neurons import ALIF, EIF, GLIF, LIF, NIF, AbstractNeuron, AdEx, HodgkinHuxley, Izhikevich, Refractory, Theta
from .parameters import Masked, Positive, parameter, positive, trainable
from .simulate import Solution, check_step, simulate
from .synapses import Exponential

__version__ = "0.1.0"

__all__ = [
    "ALIF",
    "EIF",
    "GLIF",
    "LIF",
    "NIF",
    "AbstractNeuron",
    "AdEx",
    "Autodiff",
    "Checkpointed",
    "Costate",
    "Dense",
    "Exponential",
    "Gate",
    "HodgkinHuxley",
    "Izhikevich",
    "Layer",
    "LeakyReadout",
    "Leash",
    "LinearReadout",
    "Masked",
    "Network",
    "Positive",
    "Refractory",
    "Solution",
    "Theta",
    "check_step",
    "parameter",
    "positive",
    "simulate",
    "trainable",
]
