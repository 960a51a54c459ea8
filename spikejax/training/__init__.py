"""Training: a jitted step, a loop around it, checkpoints and logs."""

from .annealing import Annealing, Plateau
from .loop import Interrupted, Plan, Rollback, Stage, TrainingStopped, train
from .optimisers import scale_by_tensor_adam, scale_groups
from .readout import fit_readout
from .step import (
    Evaluation,
    TrainState,
    apply,
    gradient,
    make_evaluate,
    make_group_step,
    make_train_step,
    run_trial,
    start,
    update,
)

__all__ = [
    "Annealing",
    "Evaluation",
    "Interrupted",
    "Plan",
    "Plateau",
    "Rollback",
    "Stage",
    "TrainState",
    "TrainingStopped",
    "apply",
    "fit_readout",
    "gradient",
    "make_evaluate",
    "make_group_step",
    "make_train_step",
    "run_trial",
    "scale_by_tensor_adam",
    "scale_groups",
    "start",
    "train",
    "update",
]
