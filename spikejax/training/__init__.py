"""Training: a jitted step, a loop around it, checkpoints and logs."""

from .loop import Interrupted, Plan, TrainingStopped, train
from .step import Evaluation, TrainState, make_evaluate, make_train_step, start

__all__ = [
    "Evaluation",
    "Interrupted",
    "Plan",
    "TrainState",
    "TrainingStopped",
    "make_evaluate",
    "make_train_step",
    "start",
    "train",
]
