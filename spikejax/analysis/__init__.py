"""Looking into trained networks: what they represent, when, by which neurons, and how stable it is."""

from .ablation import Ablation, ablate_neurons, ablate_synapses
from .coding import lagged_error
from .currents import Balance, balance, split_currents
from .decoding import decode
from .gradients import GradientReport, gradient_report
from .linearisation import growth, jacobians, one_step_eigenvalues
from .record import Recording, record
from .spikes import IntervalStatistics, grouping, interval_statistics, raster_similarity, smooth
from .statespace import Components, principal_components
from .traces import LayerTraces, Traces, record_series, series_of

__all__ = [
    "Ablation",
    "Balance",
    "Components",
    "GradientReport",
    "IntervalStatistics",
    "LayerTraces",
    "Recording",
    "Traces",
    "ablate_neurons",
    "ablate_synapses",
    "balance",
    "decode",
    "gradient_report",
    "grouping",
    "growth",
    "interval_statistics",
    "jacobians",
    "lagged_error",
    "one_step_eigenvalues",
    "principal_components",
    "raster_similarity",
    "record",
    "record_series",
    "series_of",
    "smooth",
    "split_currents",
]
