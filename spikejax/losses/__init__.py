"""Losses of one trial; `jax.vmap` over trials and average. What is added to them: `spikejax.penalties`."""

from .base import LOSSES, AbstractLoss, Sum, known_class, time_weights
from .readout import CrossEntropy, ResponseError, SquaredError
from .spikes import CountProbability, SpikeCount, SpikeTime

__all__ = [
    "LOSSES",
    "AbstractLoss",
    "CountProbability",
    "CrossEntropy",
    "ResponseError",
    "SpikeCount",
    "SpikeTime",
    "SquaredError",
    "Sum",
    "known_class",
    "time_weights",
]
