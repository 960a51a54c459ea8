"""Training: a jitted step, a loop around it, checkpoints and logs."""

from .annealing import Annealing, Plateau
from .balance import balance, layer_gradients
from .calibrate import Calibration, calibrate
from .log import LOGGERS, Logger
from .loop import run_sessions, train
from .optimisers import scale_by_slayer_nadam, scale_by_tensor_adam, scale_groups
from .plan import Plan, Rollback, Stage
from .program import AbstractProgram, GroupProgram, Member, SingleProgram
from .readout import fit_readout
from .session import Action, Session
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
from .stopping import Interrupted, TrainingStopped

__all__ = [
    "LOGGERS",
    "AbstractProgram",
    "Action",
    "Annealing",
    "Calibration",
    "Evaluation",
    "GroupProgram",
    "Interrupted",
    "Logger",
    "Member",
    "Plan",
    "Plateau",
    "Rollback",
    "Session",
    "SingleProgram",
    "Stage",
    "TrainState",
    "TrainingStopped",
    "apply",
    "balance",
    "calibrate",
    "fit_readout",
    "gradient",
    "layer_gradients",
    "make_evaluate",
    "make_group_step",
    "make_train_step",
    "run_sessions",
    "run_trial",
    "scale_by_slayer_nadam",
    "scale_by_tensor_adam",
    "scale_groups",
    "start",
    "train",
    "update",
]
