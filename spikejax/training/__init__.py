"""Training: a jitted step, a loop around it, checkpoints and logs."""

from .annealing import Annealing, Plateau
from .loop import Interrupted, Plan, Rollback, Stage, TrainingStopped, train
from .optimisers import scale_by_tensor_adam, scale_groups
from .readout import fit_readout
from .step import Evaluation, TrainState, make_evaluate, make_group_step, make_train_step, start

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
    "fit_readout",
    "make_evaluate",
    "make_group_step",
    "make_train_step",
    "scale_by_tensor_adam",
    "scale_groups",
    "start",
    "train",
]
