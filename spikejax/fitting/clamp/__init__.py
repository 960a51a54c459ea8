"""Neurons fitted to current-clamp recordings."""

from .fit import ClampFit, ClampFits, ClampPlan, Descent, Search, clamp_standard_errors, fit_clamp
from .loss import Weights, sweeps_to_fit
from .models import MODELS, ClampModel, with_ranges
from .predict import Predicted, predict_deterministic, predict_stochastic

__all__ = [
    "MODELS",
    "ClampFit",
    "ClampFits",
    "ClampModel",
    "ClampPlan",
    "Descent",
    "Predicted",
    "Search",
    "Weights",
    "clamp_standard_errors",
    "fit_clamp",
    "predict_deterministic",
    "predict_stochastic",
    "sweeps_to_fit",
    "with_ranges",
]
