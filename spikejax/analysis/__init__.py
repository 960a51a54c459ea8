"""Looking into trained networks: what they represent, when, by which neurons, and how stable it is."""

from .ablation import Ablation, ablate_neurons, ablate_synapses
from .coding import lagged_error
from .currents import Balance, balance, split_currents
from .decoding import decode
from .gradients import GradientReport, gradient_report
from .landscape import (
    Line,
    Roughness,
    along_line,
    gradient_direction,
    loss_at,
    on_plane,
    random_direction,
    reach,
    roughness,
    secants,
)
from .linearisation import growth, one_step_eigenvalues
from .record import Recording, record
from .spikes import IntervalStatistics, grouping, interval_statistics, raster_similarity, smooth
from .statespace import Components, principal_components

__all__ = [
    "Ablation",
    "Balance",
    "Components",
    "GradientReport",
    "IntervalStatistics",
    "Line",
    "Recording",
    "Roughness",
    "ablate_neurons",
    "ablate_synapses",
    "along_line",
    "balance",
    "decode",
    "gradient_direction",
    "gradient_report",
    "grouping",
    "growth",
    "interval_statistics",
    "lagged_error",
    "loss_at",
    "on_plane",
    "one_step_eigenvalues",
    "principal_components",
    "random_direction",
    "raster_similarity",
    "reach",
    "record",
    "roughness",
    "secants",
    "smooth",
    "split_currents",
]
