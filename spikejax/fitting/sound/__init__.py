"""A receptor neuron fitted to sound and spikes."""

from .fit import (
    BinnedSound,
    FittedSound,
    fit_sound,
    predict_sound,
    prepare_sound,
    sound_scores,
    sound_standard_errors,
)
from .model import SoundModel

__all__ = [
    "BinnedSound",
    "FittedSound",
    "SoundModel",
    "fit_sound",
    "predict_sound",
    "prepare_sound",
    "sound_scores",
    "sound_standard_errors",
]
