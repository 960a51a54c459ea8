"""spikejax: a functional, differentiable simulator of spiking neural networks in JAX."""

from .starting import end_quietly_when_interrupted, one_thread_for_small_matrices

end_quietly_when_interrupted()  # before the imports that take long
one_thread_for_small_matrices()  # before NumPy is imported

# ruff: noqa: E402
from .adjoints import Autodiff, Checkpointed, Costate
from .component import option, parameter, part
from .connections import AbstractConnection, Dense, Ports
from .gates import Gate
from .network import Layer, Network
from .neurons import (
    ALIF,
    EIF,
    GLIF,
    LIF,
    NIF,
    AbstractNeuron,
    AbstractReset,
    AbstractResetNeuron,
    Accommodating,
    AdEx,
    HodgkinHuxley,
    Izhikevich,
    Refractory,
    Split,
    Subtract,
    Theta,
    Zero,
)
from .noise import Noise
from .parameters import Masked, Positive, Signed, positive, trainable
from .readouts import LeakyReadout, LinearReadout
from .releases import Charge, Graded, Hard, Surrogate
from .simulate import Solution, check_step, simulate
from .simulators import AbstractSimulator, ClockDriven
from .stimulus import Events
from .synapses import AbstractSynapse, DoubleExponential, Exponential

__version__ = "0.1.0"

__all__ = [
    "ALIF",
    "EIF",
    "GLIF",
    "LIF",
    "NIF",
    "AbstractConnection",
    "AbstractNeuron",
    "AbstractReset",
    "AbstractResetNeuron",
    "AbstractSimulator",
    "AbstractSynapse",
    "Accommodating",
    "AdEx",
    "Autodiff",
    "Charge",
    "Checkpointed",
    "ClockDriven",
    "Costate",
    "Dense",
    "DoubleExponential",
    "Events",
    "Exponential",
    "Gate",
    "Graded",
    "Hard",
    "HodgkinHuxley",
    "Izhikevich",
    "Layer",
    "LeakyReadout",
    "LinearReadout",
    "Masked",
    "Network",
    "Noise",
    "Ports",
    "Positive",
    "Refractory",
    "Signed",
    "Solution",
    "Split",
    "Subtract",
    "Surrogate",
    "Theta",
    "Zero",
    "check_step",
    "option",
    "parameter",
    "part",
    "positive",
    "simulate",
    "trainable",
]
