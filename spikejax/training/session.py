"""One training run, apart from its updates: its best parameters, its log, and when it rolls back or stops."""

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..activity import complaints
from . import distributed
from .annealing import Plateau
from .checkpoint import CheckpointError
from .log import Logger, MakeLogger, MetricsLog
from .plan import Plan

MAX_LARGE_GRADIENTS = 20
"""Consecutive steps with a gradient above the limit after which a run stops or rolls back."""
MIN_LEARNING_RATE_SCALE = 1e-3
"""Factor of the learning rate below which no further rollback is made: the run stops."""
EARLIER_NAMES = {
    "score": "best_score",
    "loud": "large_gradients",
    "worse": "worse_evaluations",
    "scale": "learning_rate_scale",
    "level": "plateaus",
    "total": "window_sum",
    "count": "window_updates",
    "lowest": "lowest_loss",
}
"""What older checkpoints call the parts of a session, and their names now."""
ADDED = {"stopped": None, "best_step": None}
"""What older checkpoints may not say."""


def _whole(x: Any) -> bool:
    return type(x) is int and x >= 0


def _number(x: Any) -> bool:
    return type(x) in (int, float) and abs(x) < math.inf


SAVED: dict[str, Callable[[Any], bool]] = {
    "stage": _whole,
    "best_score": lambda x: x is None or _number(x),
    "large_gradients": _whole,
    "worse_evaluations": _whole,
    "learning_rate_scale": lambda x: _number(x) and 0 < x <= 1,
    "plateaus": _whole,
    "window_sum": _number,
    "window_updates": _whole,
    "lowest_loss": lambda x: x is None or _number(x),
    "stopped": lambda x: x is None or isinstance(x, str),
    "best_step": lambda x: x is None or _whole(x),
}
"""What a checkpoint holds of a session, beside arrays, and which values it can have."""


class Action(enum.Enum):
    """What follows an update."""

    CONTINUE = "continue"
    ROLL_BACK = "roll back"
    """Go on from the best parameters with a fresh optimiser, at a lower learning rate."""
    STOP = "stop"


class Session:
    """The progress of one training run, and the decisions that follow from it.

    It makes no updates: `after` is told of each and answers whether to go on. Scores are signed such that a
    higher one is better.

    **Arguments:** `plan`: the run's; `params`: its initial parameters, the best so far; `name`: what messages
    call it; `folder`: where its log and best network are written (None: nowhere); `loggers`: what makes the
    loggers that are told of every update, beside that of ``metrics.jsonl`` (they need a folder).
    """

    def __init__(
        self,
        plan: Plan,
        params: PyTree,
        *,
        name: str = "",
        folder: Path | None = None,
        loggers: Sequence[MakeLogger] = (),
    ):
        self.plan, self.name, self.folder = plan, name, folder
        self.best = _copy(params)
        self.best_score: float | None = None
        self.best_step: int | None = None
        """The updates after which the best parameters were found."""
        self.improved = False
        """Whether the last update was followed by an evaluation with the best score so far."""
        self.stopped: str | None = None
        """The step after which the run stopped, and why."""
        self.learning_rate_scale = 1.0
        """Factor of the learning rate, after rollbacks."""
        self.stage = 0
        self.plateaus = 0
        """Plateaus of the loss in this stage."""
        self.large_gradients = 0
        """Consecutive steps with a gradient above the limit."""
        self.worse_evaluations = 0
        """Consecutive evaluations worse than the best by more than the tolerance."""
        self.window_sum, self.window_updates = 0.0, 0
        """Sum of the loss over the updates of this window, and their number."""
        self.lowest_loss: float | None = None
        """Lowest mean loss of a window since the last plateau."""
        self.entry: dict[str, Any] = {}
        """The metrics of the last update, as they are logged."""
        self.messages: list[str] = []
        """Lines for the user about the last update."""
        self._plateau: Plateau | None = None
        self._warned: set[str] = set()
        self._make_loggers, self._loggers = tuple(loggers), list[Logger]()

    def open_log(self, resume_at: int | None = None) -> None:
        """Open ``metrics.jsonl`` in the folder, see `MetricsLog`, and the loggers."""
        if self.folder is not None:
            self._loggers = [MetricsLog(self.folder / "metrics.jsonl", resume_at)]
            if distributed.leads():
                self._loggers += [make(self.folder, resume_at) for make in self._make_loggers]

    def close_log(self) -> None:
        """Close the loggers that are open."""
        while self._loggers:
            self._loggers.pop().close()

    def saved(self) -> dict[str, Any]:
        """What a checkpoint's header holds of the session; the best parameters are saved as arrays."""
        return {name: getattr(self, name) for name in SAVED}

    def restore(self, saved: Mapping[str, Any], best: PyTree) -> None:
        """Go on from what `saved` returned, now or under its earlier names.

        **Raises:** `CheckpointError` if something is missing, or has a value that no session has.
        """
        values = ADDED | {EARLIER_NAMES.get(name, name): x for name, x in saved.items()}
        for name, possible in SAVED.items():
            if name not in values:
                raise CheckpointError(
                    f"no {name} in the checkpoint of an earlier version: start anew with --out"
                )
            if not possible(values[name]):
                raise CheckpointError(
                    f"{name} is {str(values[name])[:40]!r}, which training does not write: "
                    "start anew with --out"
                )
        self.best = best
        vars(self).update({name: values[name] for name in SAVED})

    def enter(self, stage: int, plateau: Plateau | None = None) -> None:
        """Begin, or stay in, a stage; plateaus of its loss (see `plateau`) are counted from its start."""
        self._plateau = plateau
        if stage != self.stage:
            self.stage, self.plateaus = stage, 0
            self.window_sum, self.window_updates, self.lowest_loss = 0.0, 0, None

    def after(
        self,
        step: int,
        metrics: Mapping[str, Any],
        held_out: Mapping[str, float] | None = None,
        params: PyTree = None,
        not_finite: str | None = None,
    ) -> Action:
        """Take note of an update, log it, and decide what follows.

        **Arguments:** `step`: updates made so far; `metrics`: those of a train step (`make_train_step`);
        `held_out`: those of the evaluation, if one followed, and `params`: the parameters it is of;
        `not_finite`: what was the first not to be finite, where loss or gradient are not.

        **Returns:** what to do. For `Action.STOP` the reason is in `stopped`.
        """
        self.improved = held_out is not None and self._improves(dict(held_out), params)
        if self.improved:
            self.best_step = step
        self._note_loss(float(metrics["loss"]))
        problem, action = self._problem(metrics, not_finite), Action.CONTINUE
        if problem:
            action = Action.ROLL_BACK if self._lower_learning_rate() else Action.STOP
        evaluated = {f"held_out/{name}": x for name, x in (held_out or {}).items()}
        self.entry = {**metrics, **evaluated, "rollback": action is Action.ROLL_BACK}
        for logger in self._loggers:
            logger.write(step, self.entry)
        self.messages = self._warnings(step)
        if action is Action.ROLL_BACK:
            scale = f"learning rate times {self.learning_rate_scale:.3g}"
            self.messages.insert(0, f"step {step}: {problem}: back to the best parameters, {scale}")
        elif action is Action.STOP:
            self.stopped = f"step {step}: {problem}"
        return action

    def _improves(self, held_out: dict[str, float], params: PyTree) -> bool:
        """Take note of an evaluation; whether its score is the best so far."""
        score, rollback = self.plan.signed_score(held_out), self.plan.rollback
        finite = math.isfinite(score)
        if finite and (self.best_score is None or score >= self.best_score):
            self.best, self.best_score, self.worse_evaluations = _copy(params), score, 0
            return True
        # Here a finite score has a best one to compare with.
        near = finite and (rollback is None or score >= (self.best_score or 0.0) - rollback.tolerance)
        self.worse_evaluations = 0 if near or rollback is None else self.worse_evaluations + 1
        return False

    def _note_loss(self, loss: float) -> None:
        """Take note of an update's loss, and whether it completes a plateau. An update whose loss is not
        finite was not made, and is left out."""
        plateau = self._plateau
        if plateau is None or not math.isfinite(loss):
            return
        self.window_sum, self.window_updates = self.window_sum + loss, self.window_updates + 1
        if self.window_updates < plateau.patience:
            return
        mean, self.window_sum, self.window_updates = self.window_sum / self.window_updates, 0.0, 0
        if self.lowest_loss is None or mean < self.lowest_loss - plateau.tolerance * abs(self.lowest_loss):
            self.lowest_loss = mean
        else:
            # A sharper gate has another loss: the next window is the first to compare with.
            self.plateaus, self.lowest_loss = self.plateaus + 1, None

    def _problem(self, metrics: Mapping[str, Any], not_finite: str | None) -> str | None:
        """Why training cannot go on from here, or None."""
        plan = self.plan
        large = float(metrics["gradient"]) > plan.gradient_limit
        self.large_gradients = self.large_gradients + 1 if large else 0
        gradients = {
            name.removeprefix("gradient/"): float(x)
            for name, x in metrics.items()
            if name.startswith("gradient/")
        }
        if not bool(metrics["finite"]):
            if not_finite is None and math.isfinite(float(metrics["loss"])):
                bad = ", ".join(name for name, x in gradients.items() if not math.isfinite(x))
                not_finite = f"the gradient of {bad or 'all parameters together'}"
            return f"{not_finite or 'the loss'} is not finite (loss {float(metrics['loss']):.3g})"
        if self.large_gradients >= MAX_LARGE_GRADIENTS:
            worst = max(gradients, key=gradients.__getitem__)
            return (
                f"the gradient exploded, above {plan.gradient_limit:.0e} for {self.large_gradients} steps, "
                f"most in {worst} ({gradients[worst]:.1e})"
            )
        if plan.rollback and self.worse_evaluations >= plan.rollback.patience:
            return (
                f"the held-out {plan.score} has been worse than the best by more than "
                f"{plan.rollback.tolerance:g} {self.worse_evaluations} times"
            )
        return None

    def _lower_learning_rate(self) -> bool:
        """Lower the learning rate for a rollback; False if the plan has none, or it is too low already."""
        rollback = self.plan.rollback
        if rollback is None or self.learning_rate_scale * rollback.factor <= MIN_LEARNING_RATE_SCALE:
            return False
        self.learning_rate_scale *= rollback.factor
        self.worse_evaluations = self.large_gradients = 0
        return True

    def _warnings(self, step: int) -> list[str]:
        """A line for each layer that is mostly silent or saturated or runs away, and one for a dt that is too
        long; each once."""
        found = complaints(self.entry)
        multiple = float(self.entry.get("held_out/multiple_spikes", 0))
        if multiple > 0.01:
            found["multiple_spikes"] = (
                f"in {multiple:.1%} of steps a neuron spikes more than once, "
                "too often for dt: try a smaller one"
            )
        new = [name for name in found if name not in self._warned]
        self._warned.update(new)
        return [f"warning: step {step}: {found[name]}" for name in new]


def _copy(params: PyTree) -> PyTree:
    # The next train step takes the memory of the arrays in its state.
    return jax.tree.map(jnp.copy, params)


__all__ = ["MAX_LARGE_GRADIENTS", "MIN_LEARNING_RATE_SCALE", "Action", "Session"]
