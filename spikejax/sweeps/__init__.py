"""Sweeps: many configurations from one file, trained side by side where they are one program."""

from .points import Point, Sweep, load_sweep
from .run import sweep_run
from .together import groups

__all__ = ["Point", "Sweep", "groups", "load_sweep", "sweep_run"]
