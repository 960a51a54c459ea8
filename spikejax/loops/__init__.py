"""Ways to run a population through time, a file each."""

from .base import LOOPS, AbstractLoop, Cotangents, Damping, History, Trajectory, forward_step
from .scan import Scan

__all__ = ["LOOPS", "AbstractLoop", "Cotangents", "Damping", "History", "Scan", "Trajectory", "forward_step"]
