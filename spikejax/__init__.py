"""spikejax: a functional, differentiable simulator of spiking neural networks in JAX."""

import importlib
from pathlib import Path
from typing import Any

from .starting import end_quietly_when_interrupted, one_thread_for_small_matrices

end_quietly_when_interrupted()  # before the imports that take long
one_thread_for_small_matrices()  # before NumPy is imported

# ruff: noqa: E402
from .activity import ActivityWarning
from .adjoints import Autodiff, Checkpointed, Costate
from .checking import check_neuron
from .component import option, parameter, part
from .connections import (
    AbstractConnection,
    AbstractInstant,
    Chain,
    Convolution,
    Delayed,
    DelayedSynapses,
    Dense,
    Dropout,
    Filtered,
    Pool,
    Ports,
    Sparse,
    Unpool,
)
from .event_driven import EventDriven
from .explain import explain_plan
from .gates import Gate
from .network import Layer, Network, Skip
from .neurons import (
    ALIF,
    EIF,
    GLIF,
    LIF,
    NIF,
    QIF,
    AbstractNeuron,
    AbstractReset,
    AbstractResetNeuron,
    Accommodating,
    AdEx,
    HodgkinHuxley,
    Izhikevich,
    Refractory,
    SpikeResponse,
    Split,
    Subtract,
    Theta,
    Zero,
)
from .noise import Noise
from .parameters import Masked, Positive, Signed, positive, trainable
from .readouts import LeakyReadout, LinearReadout, Population
from .releases import Charge, Graded, Hard, Surrogate
from .simulate import Solution, check_step, simulate
from .simulators import AbstractSimulator, ClockDriven
from .spike_times import SpikeTimes
from .stimulus import Events
from .synapses import AbstractSynapse, Alpha, Delta, DoubleExponential, Exponential, SampledAlpha

__version__ = "0.1.0"


def load_run(folder: str | Path) -> Any:
    """The run in a folder that ``spikejax train`` made, as a `spikejax.jobs.loaded.LoadedRun`: trained
    network, configuration, task, loss, gate, metrics and results; ``record`` gives any time series of chosen
    trials.

    **Raises:** `ValueError` with one line for a folder that is no run, or is damaged.
    """
    # By its name: runs are made of files of settings, which the library does not know and whose packages
    # would make every import slower.
    return importlib.import_module("spikejax.jobs.loaded").load_run(folder)


__all__ = [
    "ALIF",
    "EIF",
    "GLIF",
    "LIF",
    "NIF",
    "QIF",
    "AbstractConnection",
    "AbstractInstant",
    "AbstractNeuron",
    "AbstractReset",
    "AbstractResetNeuron",
    "AbstractSimulator",
    "AbstractSynapse",
    "Accommodating",
    "ActivityWarning",
    "AdEx",
    "Alpha",
    "Autodiff",
    "Chain",
    "Charge",
    "Checkpointed",
    "ClockDriven",
    "Convolution",
    "Costate",
    "Delayed",
    "DelayedSynapses",
    "Delta",
    "Dense",
    "DoubleExponential",
    "Dropout",
    "EventDriven",
    "Events",
    "Exponential",
    "Filtered",
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
    "Pool",
    "Population",
    "Ports",
    "Positive",
    "Refractory",
    "SampledAlpha",
    "Signed",
    "Skip",
    "Solution",
    "Sparse",
    "SpikeResponse",
    "SpikeTimes",
    "Split",
    "Subtract",
    "Surrogate",
    "Theta",
    "Unpool",
    "Zero",
    "check_neuron",
    "check_step",
    "explain_plan",
    "load_run",
    "option",
    "parameter",
    "part",
    "positive",
    "simulate",
    "trainable",
]
