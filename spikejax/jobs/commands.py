"""Imports every command, so that it is registered."""

from .analyse import Analyse
from .evaluate import Evaluate
from .landscape import Landscape
from .plot import Plot
from .search.command import Search
from .sweep.command import Sweep
from .train import Train

__all__ = ["Analyse", "Evaluate", "Landscape", "Plot", "Search", "Sweep", "Train"]
