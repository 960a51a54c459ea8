"""Ways to run a population through time, a file each."""

from .base import LOOPS, AbstractLoop, Cotangents, Damping, History, Trajectory, forward_step
from .factored import Factored
from .scan import Scan

__all__ = ["LOOPS", "AbstractLoop", "Cotangents", "Damping", "Factored", "History", "Scan", "Trajectory", "forward_step"]
