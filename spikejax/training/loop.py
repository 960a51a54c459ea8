"""The training loop: batches, progress, checkpoints, and a clear stop when it makes no sense to go on."""

import math
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray, PyTree
from tqdm import tqdm

from ..network import Network
from ..parameters import as_parameter
from ..simulators import AbstractSimulator
from ..tasks import AbstractTask
from . import checkpoint, distributed
from .annealing import Plateau
from .log import MetricsLog
from .step import TrainState

EXPLODED = 20
"""Consecutive steps with a gradient above the limit after which training stops."""


SLOWEST = 1e-3
"""Factor of the learning rate below which no further rollback is made: training stops."""


class TrainingStopped(RuntimeError):
    """Training stopped for a reason that the message states with what to try; what was reached is on disk."""


class Interrupted(TrainingStopped):
    """Ctrl-C, or a request to terminate."""


class Stage(NamedTuple):
    """A stretch of training under one set of conditions."""

    tasks: tuple[AbstractTask, ...]
    """The task, and possibly the same at other time steps."""
    simulators: tuple[AbstractSimulator, ...]
    """What goes with each: the same gate and adjoint, at the task's time step."""
    update: Callable
    """The train step (`make_train_step`)."""
    sharpness_at: Callable[[int, int], Float[np.ndarray, "*layers"]]
    """The sharpness of the gate at a step of the stage, and at the number of plateaus of the loss so far: its
    schedule."""
    learning_rate_at: Callable[[int], float]
    """The factor of the update at a step of the stage: the schedule of the learning rate."""
    steps: int
    batch: int
    """Trials of an update."""
    choose: Callable[[int], int] = lambda step: 0
    """Number of the task that a step of the stage is trained on."""
    plateau: Plateau | None = None
    """What counts as a plateau of the loss; None: nothing does."""


class Rollback(NamedTuple):
    """Return to the best parameters so far, with a fresh optimiser, when training has lost its way."""

    tolerance: float
    """By how much the held-out score may lie below the best one."""
    patience: int
    """After how many evaluations in a row that are worse than that."""
    factor: float
    """What the learning rate is multiplied by from then on."""


class Plan(NamedTuple):
    """What a training run does, apart from the network: the arguments of `train`."""

    stages: tuple[Stage, ...]
    """One after the other."""
    evaluate: Callable[[Network], dict[str, float]]
    """Metrics on held-out trials, the same in all stages."""
    restart: Callable[[PyTree, int], TrainState]
    """A fresh training state from parameters and the number of updates made."""
    evaluate_every: int
    checkpoint_every: int
    score: str = "accuracy"
    """Metric by which the best checkpoint is kept; `accuracy` is maximised, anything else (`loss`, `error`)
    minimised."""
    rollback: Rollback | None = None
    gradient_limit: float = 1e8

    @property
    def steps(self) -> int:
        """Updates of all stages."""
        return sum(stage.steps for stage in self.stages)

    def number_at(self, step: int) -> tuple[int, int]:
        """The number of the stage that a step belongs to, and that of the step within it."""
        for number, stage in enumerate(self.stages):
            if step < stage.steps:
                return number, step
            step -= stage.steps
        raise IndexError(step)


class Progress:
    """The best parameters so far, and how training has gone since."""

    def __init__(self, params: PyTree):
        # A copy here and below: the next step donates the buffers of the state.
        self.best = jax.tree.map(jnp.copy, params)
        self.score: float | None = None
        self.loud = 0  # consecutive steps with an exploding gradient
        self.worse = 0  # consecutive evaluations far below the best
        self.scale = 1.0  # of the learning rate, after rollbacks
        self.stage = 0
        self.level = 0  # plateaus of the loss in this stage
        self.total, self.count = 0.0, 0  # sum of the loss in this window, and its updates
        self.lowest: float | None = None  # mean loss of a window since the last plateau

    def header(self) -> dict:
        """What a checkpoint's header keeps."""
        names = ("score", "loud", "worse", "scale", "stage", "level", "total", "count", "lowest")
        return {name: getattr(self, name) for name in names}

    def enter(self, stage: int) -> None:
        """Begin a stage, if it is another one: its schedule knows nothing of plateaus before it."""
        if stage != self.stage:
            self.stage, self.level, self.total, self.count, self.lowest = stage, 0, 0.0, 0, None

    def note(self, loss: float, plateau: Plateau | None) -> None:
        """Take note of an update's loss, and whether it completes a plateau. One that is not finite, which is
        skipped, says nothing."""
        if plateau is None or not math.isfinite(loss):
            return
        self.total, self.count = self.total + loss, self.count + 1
        if self.count < plateau.patience:
            return
        mean, self.total, self.count = self.total / self.count, 0.0, 0
        if self.lowest is None or mean < self.lowest - plateau.tolerance * abs(self.lowest):
            self.lowest = mean
        else:
            self.level, self.lowest = self.level + 1, None

    def judge(self, score: float, params: PyTree, rollback: Rollback | None) -> bool:
        """Take note of a held-out score; whether it is the best so far."""
        if math.isfinite(score) and (self.score is None or score >= self.score):
            self.best, self.score, self.worse = jax.tree.map(jnp.copy, params), score, 0
            return True
        if rollback and not (math.isfinite(score) and score >= (self.score or 0.0) - rollback.tolerance):
            self.worse += 1
        else:
            self.worse = 0
        return False

    def roll_back(self, plan: Plan) -> bool:
        """Whether training goes on from the best parameters, at a lower rate, which is taken note of."""
        if plan.rollback is None or self.scale * plan.rollback.factor <= SLOWEST:
            return False
        self.scale, self.worse, self.loud = self.scale * plan.rollback.factor, 0, 0
        return True


def train(
    plan: Plan,
    state: TrainState,
    fixed: Network,
    folder: Path,
    *,
    key: PRNGKeyArray,
    resume: bool = False,
    progress: bool = True,
    report: Callable[[int, float], None] | None = None,
) -> tuple[TrainState, Network]:
    """Train until ``plan.steps`` updates are made; returns the last state and the best network.

    Writes into `folder`: ``metrics.jsonl``; ``last.ckpt`` every `checkpoint_every` steps and on any orderly
    stop; ``best.ckpt``, the network with the best held-out score. With a rollback in the plan, training that
    loses its way, or meets a gradient that is not finite, goes on from the best parameters at a lower rate.
    All randomness is a function of `key` and the step, so a run that is killed and resumed ends bit for bit
    where it would have ended.

    With several processes (`spikejax.training.distributed`) each of them makes the same call; process 0 evaluates and
    writes.

    **Arguments:** `report`: called with the step and the score of every evaluation; a `TrainingStopped` from
    it ends training in order.

    **Raises:** `TrainingStopped` if loss or gradient stop being finite or the gradient explodes, naming the
    step, the parameter and what to try; `Interrupted` on Ctrl-C; `CheckpointError` if a checkpoint does not
    fit.
    """
    last, best_path = folder / "last.ckpt", folder / "best.ckpt"
    so_far = Progress(state.params)
    found = distributed.call(
        lambda: checkpoint.load(last, (state, state.params)) if resume and last.exists() else None
    )
    if found:
        (state, so_far.best), header = jax.tree.map(jnp.asarray, found[0]), found[1]
        if not so_far.header().keys() <= header.keys():
            raise checkpoint.CheckpointError(
                f"{last} was written by an earlier version: start anew with --out"
            )
        vars(so_far).update({name: header[name] for name in so_far.header()})
    first = int(state.step)
    log = MetricsLog(folder / "metrics.jsonl", resume_at=first if resume else None)
    warned: set[str] = set()

    def keep():
        checkpoint.save(
            last, (distributed.local(state), so_far.best), step=int(state.step), **so_far.header()
        )

    vote = distributed.Vote()
    hidden = None if progress and distributed.leads() else True  # None: shown on a terminal only
    bar = tqdm(
        range(first, plan.steps),
        initial=first,
        total=plan.steps,
        disable=hidden,
        unit="step",
        dynamic_ncols=True,
    )
    with Interrupt() as interrupt:
        try:
            for i in bar:
                number, within = plan.number_at(i)
                stage = plan.stages[number]
                so_far.enter(number)
                sharpness = as_parameter(stage.sharpness_at(within, so_far.level))
                lr = so_far.scale * stage.learning_rate_at(within)
                which = stage.choose(within)
                trials = stage.tasks[which].batch(key, i, stage.batch)
                state, metrics = stage.update(state, trials, stage.simulators[which].sharpen(sharpness), lr)
                metrics = {"sharpness": sharpness, "learning_rate": lr, **jax.device_get(metrics)}
                if (i + 1) % plan.evaluate_every == 0 or i + 1 == plan.steps:
                    judged = distributed.local(state.judged)
                    network = eqx.combine(judged, fixed)
                    held = distributed.call(lambda: plan.evaluate(network))
                    metrics |= {f"held_out/{name}": x for name, x in held.items()}
                    score = held[plan.score] if plan.score == "accuracy" else -held[plan.score]
                    if so_far.judge(score, judged, plan.rollback):
                        checkpoint.save(best_path, network, step=i + 1, score=score)
                so_far.note(float(metrics["loss"]), stage.plateau)
                reason = lost(metrics, so_far, plan)
                metrics["rollback"] = bool(reason and so_far.roll_back(plan))
                log.write(i + 1, metrics)
                bar.set_postfix(_shown(metrics), refresh=False)
                if metrics["rollback"]:
                    state = plan.restart(so_far.best, i + 1)
                    _say(
                        bar,
                        f"step {i + 1}: {reason}: back to the best parameters, learning rate times {so_far.scale:.3g}",
                    )
                elif reason:
                    raise TrainingStopped(f"stopped at step {i + 1}: {reason}. {REMEDY}")
                _warn(bar, i + 1, metrics, warned)
                if (i + 1) % plan.checkpoint_every == 0 or i + 1 == plan.steps:
                    keep()
                if report is not None and f"held_out/{plan.score}" in metrics:
                    report(i + 1, float(metrics[f"held_out/{plan.score}"]))
                if vote(i + 1, interrupt.requested):
                    raise Interrupted(
                        f"interrupted after step {i + 1} of {plan.steps}; saved: continue with --resume"
                    )
        except TrainingStopped:
            keep()
            raise
        finally:
            bar.close()
            log.close()
    return distributed.local(state), eqx.combine(so_far.best, fixed)


class Interrupt:
    """Turns Ctrl-C and SIGTERM into a flag that is read between two steps, so that no step is lost; a second
    Ctrl-C is immediate."""

    def __enter__(self):
        self.requested = False
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            for name in (signal.SIGINT, signal.SIGTERM):
                self._previous[name] = signal.signal(name, self._request)
        return self

    def _request(self, signum, frame):
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, *_):
        for name, handler in self._previous.items():
            signal.signal(name, handler)


def _say(bar, line: str) -> None:
    if distributed.leads():
        bar.write(line)


def _shown(metrics: dict) -> dict[str, str]:
    names = ("loss", "accuracy", "error", "held_out/accuracy", "held_out/error", "gradient")
    return {
        name.replace("held_out/", "held-out "): f"{float(metrics[name]):.3g}"
        for name in names
        if name in metrics
    }


REMEDY = (
    "Try a costate damping (adjoint.damping, per ms) or clip (adjoint.clip), a smaller training.learning_rate or training.clip, "
    "a wider gate (gate.width, gate.sharpness), gate.release surrogate, or training.rollback."
)


def lost(metrics: dict, so_far: Progress, plan: Plan) -> str | None:
    """Take note of a step's metrics; why it makes no sense to go on from here, if it makes none."""
    so_far.loud = so_far.loud + 1 if float(metrics["gradient"]) > plan.gradient_limit else 0
    groups = {
        name.removeprefix("gradient/"): float(x)
        for name, x in metrics.items()
        if name.startswith("gradient/")
    }
    if not bool(metrics["finite"]):
        bad = [name for name, x in groups.items() if not math.isfinite(x)]
        where = f"the gradient of {bad[0]}" if bad else "the loss"
        return f"{where} is not finite (loss {float(metrics['loss']):.3g})"
    if so_far.loud >= EXPLODED:
        worst = max(groups, key=groups.__getitem__)
        return f"the gradient exploded, above {plan.gradient_limit:.0e} for {so_far.loud} steps, most in {worst} ({groups[worst]:.1e})"
    if plan.rollback and so_far.worse >= plan.rollback.patience:
        return f"the held-out {plan.score} has been worse than the best by more than {plan.rollback.tolerance:g} {so_far.worse} times"
    return None


def _warn(bar, step: int, metrics: dict, warned: set[str]) -> None:
    """One line, once per layer and kind, for populations that are mostly silent or saturated, and for a dt
    that is too long."""
    for name, x in metrics.items():
        kind, _, layer = name.partition("/")
        if kind in ("silent", "saturated") and float(x) > 0.5 and name not in warned:
            remedy = (
                "a larger bias or input_scale" if kind == "silent" else "a smaller input_scale, bias or dt"
            )
            _say(
                bar,
                f"warning: step {step}: {float(x):.0%} of the neurons of layer {layer} are {kind}; try {remedy}",
            )
            warned.add(name)
    crowded = float(metrics.get("held_out/crowded", 0))
    if crowded > 0.01 and "crowded" not in warned:
        _say(
            bar,
            f"warning: step {step}: in {crowded:.1%} of steps a neuron spikes more than once, too often for dt: try a smaller one",
        )
        warned.add("crowded")
