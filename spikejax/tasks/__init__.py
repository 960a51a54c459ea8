"""Tasks: where trials come from."""

from .base import AbstractTask, Recordings, Trial
from .braille import braille
from .delayed_xor import DelayedXOR
from .predictive_coding import PredictiveCoding

__all__ = ["AbstractTask", "DelayedXOR", "PredictiveCoding", "Recordings", "Trial", "braille"]
