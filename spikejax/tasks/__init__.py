"""Tasks: where trials come from."""

from .augmentation import Augmentation
from .base import TASKS, AbstractTask, Probe, Trial
from .braille import Braille
from .delayed_xor import DelayedXOR
from .event_camera import EventCamera, from_tonic
from .lags import Lags
from .mnist import MNIST
from .predictive_coding import PredictiveCoding
from .recordings import AbstractRecordings, Recordings
from .recordings_file import RecordingsFile
from .spike_trains import SpikeTrains
from .spoken_digits import SpokenDigits
from .target_times import TargetTimes
from .yin_yang import YinYang

__all__ = [
    "MNIST",
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
    "TargetTimes",
    "Trial",
    "YinYang",
    "from_tonic",
]
