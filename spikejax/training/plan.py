"""What a training run does, apart from the network: its stages, evaluation, checkpoints and rollback."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, PyTree

from ..component import Component, option
from ..network import Network
from ..simulators import AbstractSimulator
from ..tasks import AbstractTask
from .annealing import Plateau
from .finite import Objective
from .step import TrainState


class Position(NamedTuple):
    """Where training is."""

    step: int
    """Updates made before this one, of all stages."""
    stage: int
    within: int
    """The step of the stage."""


def _first(step: int) -> int:
    return 0


class Stage(NamedTuple):
    """A stretch of training under one set of conditions."""

    tasks: tuple[AbstractTask, ...]
    """The task, and possibly the same task at other time steps."""
    simulators: tuple[AbstractSimulator, ...]
    """One for each entry of `tasks`: the same gate and adjoint, at the task's time step."""
    update: Callable
    """The train step (`make_train_step`)."""
    sharpness_at: Callable[[int, int], Float[np.ndarray, "*layers"]]
    """Sharpness of the gate, from the step of the stage and the number of plateaus of the loss so far."""
    learning_rate_at: Callable[[int], float]
    """Factor of the update at a step of the stage: the learning-rate schedule."""
    steps: int
    """Updates of the stage."""
    batch: int
    """Trials of an update."""
    objective: Objective | None = None
    """What `update` differentiates, to say where it was not finite; None: only what is simulated is looked
    at."""
    choose: Callable[[int], int] = _first
    """Which entry of `tasks` a step of the stage is trained on."""
    plateau: Plateau | None = None
    """What counts as a plateau of the loss; None: nothing does."""


class Rollback(Component):
    """Return to the best parameters so far, with a fresh optimiser, when training gets worse or diverges."""

    patience: int = option(
        doc="evaluations in a row that may be worse than the tolerance", at_least=1, staged=False
    )
    tolerance: float = option(
        0.05, doc="by how much the held-out score may be worse than the best one", at_least=0.0, staged=False
    )
    factor: float = option(
        0.5, doc="factor of the learning rate from then on", above=0.0, at_most=1.0, staged=False
    )


class Plan(NamedTuple):
    """What a training run does, apart from the network: the arguments of `train`."""

    stages: tuple[Stage, ...]
    """One after the other."""
    evaluate: Callable[[Network], dict[str, float]]
    """Metrics on held-out trials, the same in all stages."""
    restart: Callable[[PyTree, int], TrainState]
    """A fresh training state from parameters and the number of updates made."""
    evaluate_every: int
    """Steps between evaluations; the last step is always followed by one."""
    checkpoint_every: int
    """Steps between checkpoints; the last step is always followed by one."""
    score: str = "accuracy"
    """Metric of `evaluate` that selects the best network."""
    rollback: Rollback | None = None
    """When to return to the best parameters; None: never."""
    gradient_limit: float = 1e8
    """Norm of the gradient above which it counts as exploding."""
    maximise: bool | None = None
    """Whether a higher score is better; None: for ``"accuracy"`` only."""

    @property
    def steps(self) -> int:
        """Updates of all stages."""
        return sum(stage.steps for stage in self.stages)

    def number_at(self, step: int) -> tuple[int, int]:
        """The number of the stage that a step belongs to, and the number of the step within it.

        **Raises:** `IndexError` for a step after the last stage.
        """
        for number, stage in enumerate(self.stages):
            if step < stage.steps:
                return number, step
            step -= stage.steps
        raise IndexError(step)

    def after(self, at: Position) -> Position | None:
        """The position after this one, None after the last."""
        step = at.step + 1
        return Position(step, *self.number_at(step)) if step < self.steps else None

    def signed_score(self, held_out: dict[str, float]) -> float:
        """The score of an evaluation, with its sign such that a higher one is better."""
        maximise = self.score == "accuracy" if self.maximise is None else self.maximise
        return held_out[self.score] if maximise else -held_out[self.score]

    def evaluates_after(self, step: int) -> bool:
        """Whether the network is evaluated after `step` updates."""
        return step % self.evaluate_every == 0 or step == self.steps

    def saves_after(self, step: int) -> bool:
        """Whether a checkpoint is written after `step` updates."""
        return step % self.checkpoint_every == 0 or step == self.steps


__all__ = ["Plan", "Position", "Rollback", "Stage"]
