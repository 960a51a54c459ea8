"""Tasks: where trials come from."""

from .augmentation import Augmentation
from .base import TASKS, AbstractRecordings, AbstractTask, Probe, Recordings, Trial
from .braille import Braille
from .delayed_xor import DelayedXOR
from .predictive_coding import PredictiveCoding
from .spoken_digits import SpokenDigits

__all__ = [
    "TASKS",
    "AbstractRecordings",
    "AbstractTask",
    "Augmentation",
    "Braille",
    "DelayedXOR",
    "PredictiveCoding",
    "Probe",
    "Recordings",
    "SpokenDigits",
    "Trial",
]
