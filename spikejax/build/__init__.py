"""The only place where a configuration becomes objects."""

from .network import build_network
from .parts import (
    batch_key,
    build_adjoint,
    build_damping,
    build_loss,
    build_noise,
    build_optimiser,
    build_task,
    evaluator,
    step_settings,
)
from .run import Run, build, initial_state, solve_readout
from .schedules import build_annealing, build_gate, learning_rate_schedule, sharpness_schedule

__all__ = [
    "Run",
    "batch_key",
    "build",
    "build_adjoint",
    "build_annealing",
    "build_damping",
    "build_gate",
    "build_loss",
    "build_network",
    "build_noise",
    "build_optimiser",
    "build_task",
    "evaluator",
    "initial_state",
    "learning_rate_schedule",
    "sharpness_schedule",
    "solve_readout",
    "step_settings",
]
