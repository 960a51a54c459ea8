"""Tasks: where trials come from."""

from .augmentation import Augmentation
from .base import TASKS, AbstractTask, Probe, Trial
from .braille import Braille
from .delayed_xor import DelayedXOR
from .lags import Lags
from .predictive_coding import PredictiveCoding
from .recordings import AbstractRecordings, Recordings
from .recordings_file import RecordingsFile
from .spoken_digits import SpokenDigits

__all__ = [
    "TASKS",
    "AbstractRecordings",
    "AbstractTask",
    "Augmentation",
    "Braille",
    "DelayedXOR",
    "Lags",
    "PredictiveCoding",
    "Probe",
    "Recordings",
    "RecordingsFile",
    "SpokenDigits",
    "Trial",
]
