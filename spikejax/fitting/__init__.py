"""Models of real neurons fitted to recordings by gradient."""

from .clamp.fit import ClampFit, ClampFits, Plan, fit_clamp
from .clamp.loss import Weights, sweeps_to_fit
from .clamp.models import MODELS, ClampModel
from .clamp.predict import Predicted, predict_clamp, predict_noisy
from .escape import binned_hazard, escape, force, hazard, mean_response
from .glm import GLM, fit_glm
from .ranges import Range
from .recordings import (
    CurrentClamp,
    SoundSpikes,
    Stepped,
    read_current_clamp,
    read_sound_spikes,
    recording_names,
    step_current_clamp,
)
from .scores import bits_per_spike, coincidence_factor, interpolate, mean_scores, spike_scores
from .sound.fit import fit_sound, predict_sound, prepare_sound, sound_scores, uncertainty
from .sound.model import SoundModel

__all__ = [
    "GLM",
    "MODELS",
    "ClampFit",
    "ClampFits",
    "ClampModel",
    "CurrentClamp",
    "Plan",
    "Predicted",
    "Range",
    "SoundModel",
    "SoundSpikes",
    "Stepped",
    "Weights",
    "binned_hazard",
    "bits_per_spike",
    "coincidence_factor",
    "escape",
    "fit_clamp",
    "fit_glm",
    "fit_sound",
    "force",
    "hazard",
    "interpolate",
    "mean_response",
    "mean_scores",
    "predict_clamp",
    "predict_noisy",
    "predict_sound",
    "prepare_sound",
    "read_current_clamp",
    "read_sound_spikes",
    "recording_names",
    "sound_scores",
    "spike_scores",
    "step_current_clamp",
    "sweeps_to_fit",
    "uncertainty",
]
