"""Networks that are solved from event to event: exact spike times without a time step."""

from ..neurons.quadratic import QIF, phase_of
from ..synapses import Delta
from .simulator import EventDriven
from .stimulus import SpikeTimes

__all__ = ["QIF", "Delta", "EventDriven", "SpikeTimes", "phase_of"]
