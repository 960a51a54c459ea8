"""Networks that are solved from event to event: exact spike times without a time step."""

from ..neurons import QIF
from ..neurons.quadratic import phase_of
from ..spike_times import SpikeTimes
from ..synapses import Delta
from .simulator import EventDriven

__all__ = ["QIF", "Delta", "EventDriven", "SpikeTimes", "phase_of"]
