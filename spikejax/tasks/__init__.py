"""Tasks: where trials come from."""

from .base import AbstractTask, Recordings, Trial
from .braille import braille

__all__ = ["AbstractTask", "Recordings", "Trial", "braille"]
