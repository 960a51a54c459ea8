"""spikejax: a functional, differentiable simulator of spiking neural networks in JAX."""

from .adjoints import Autodiff, Checkpointed, Costate, Leash
from .connections import Dense
from .gates import Gate
from .network import Layer, LeakyReadout, LinearReadout, Network
from .neurons import LIF, NIF, AbstractNeuron, Theta
from .parameters import Masked, Positive, parameter, positive, trainable
from .simulate import Solution, check_step, simulate
from .synapses import Exponential

__version__ = "0.1.0"

__all__ = [
    "LIF",
    "NIF",
    "AbstractNeuron",
    "Autodiff",
    "Checkpointed",
    "Costate",
    "Dense",
    "Exponential",
    "Gate",
    "Layer",
    "LeakyReadout",
    "Leash",
    "LinearReadout",
    "Masked",
    "Network",
    "Positive",
    "Solution",
    "Theta",
    "check_step",
    "parameter",
    "positive",
    "simulate",
    "trainable",
]
