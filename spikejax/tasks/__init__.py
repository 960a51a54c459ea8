"""Tasks: where trials come from."""

from .base import AbstractTask, Recordings, Trial
from .braille import braille
from .delayed_xor import DelayedXOR
from .predictive_coding import PredictiveCoding
from .spoken_digits import SpokenDigits, spoken_digits

__all__ = [
    "AbstractTask",
    "DelayedXOR",
    "PredictiveCoding",
    "Recordings",
    "SpokenDigits",
    "Trial",
    "braille",
    "spoken_digits",
]
