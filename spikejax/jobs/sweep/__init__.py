"""Sweeps: many configurations from one file, trained side by side where they are one program."""

from .job import sweep_run
from .points import Point, SweepTable, load_sweep
from .together import groups

__all__ = ["Point", "SweepTable", "groups", "load_sweep", "sweep_run"]
