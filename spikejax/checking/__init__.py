"""Whether a component of one's own is what it should be."""

from .neuron import check_neuron
from .report import Check, NeuronReport

__all__ = ["Check", "NeuronReport", "check_neuron"]
