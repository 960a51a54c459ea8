"""Configurations: from a TOML file to checked tables, and from those to objects. The only room that knows
TOML."""

from ..errors import ConfigError
from .assemble import Run, build, initial_state, with_readout
from .assemble_network import build_network, build_neuron, build_synapse
from .assemble_parts import (
    batch_key,
    build_adjoint,
    build_annealing,
    build_damping,
    build_gate,
    build_loss,
    build_noise,
    build_optimiser,
    build_simulator,
    build_task,
    evaluator,
    learning_rate_schedule,
    sharpness_schedule,
    step_settings,
)
from .explain import describe
from .fit import FITS, CurrentClampFit, SoundFit
from .load import check, dump, load, load_fit
from .programs import alone, program, structure
from .schema import Config
from .tables import Table, components_table

__all__ = [
    "FITS",
    "Config",
    "ConfigError",
    "CurrentClampFit",
    "Run",
    "SoundFit",
    "Table",
    "alone",
    "batch_key",
    "build",
    "build_adjoint",
    "build_annealing",
    "build_damping",
    "build_gate",
    "build_loss",
    "build_network",
    "build_neuron",
    "build_noise",
    "build_optimiser",
    "build_simulator",
    "build_synapse",
    "build_task",
    "check",
    "components_table",
    "describe",
    "dump",
    "evaluator",
    "initial_state",
    "learning_rate_schedule",
    "load",
    "load_fit",
    "program",
    "sharpness_schedule",
    "step_settings",
    "structure",
    "with_readout",
]
