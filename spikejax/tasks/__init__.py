"""Tasks: where trials come from."""

from .augmentation import Augmentation
from .base import TASKS, AbstractTask, Probe, Trial
from .braille import Braille
from .delayed_xor import DelayedXOR
from .event_camera import EventCamera, from_tonic
from .lags import Lags
from .predictive_coding import PredictiveCoding
from .recordings import AbstractRecordings, Recordings
from .recordings_file import RecordingsFile
from .spike_trains import SpikeTrains
from .spoken_digits import SpokenDigits

__all__ = [
    "TASKS",
    "AbstractRecordings",
    "AbstractTask",
    "Augmentation",
    "Braille",
    "DelayedXOR",
    "EventCamera",
    "Lags",
    "PredictiveCoding",
    "Probe",
    "Recordings",
    "RecordingsFile",
    "SpikeTrains",
    "SpokenDigits",
    "Trial",
    "from_tonic",
]
