"""Losses of one trial; `jax.vmap` over trials and average. What is added to them: `spikejax.penalties`."""

from .base import LOSSES, AbstractLoss, Sum, known_class, time_weights
from .readout import CrossEntropy, ResponseError, SquaredError
from .spikes import CountProbability, SpikeCount, SpikeTime
from .times import FirstSpike, TimedCount, TimeError

__all__ = [
    "LOSSES",
    "AbstractLoss",
    "CountProbability",
    "CrossEntropy",
    "FirstSpike",
    "ResponseError",
    "SpikeCount",
    "SpikeTime",
    "SquaredError",
    "Sum",
    "TimeError",
    "TimedCount",
    "known_class",
    "time_weights",
]
