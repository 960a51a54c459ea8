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
from jaxtyping import Array, PRNGKeyArray
from tqdm import tqdm

from ..gates import Gate
from ..network import Network
from ..tasks import AbstractTask
from . import checkpoint
from .log import MetricsLog
from .step import Evaluation, TrainState

EXPLODED = 20
"""Consecutive steps with a gradient above the limit after which training stops."""


class TrainingStopped(RuntimeError):
    """Training stopped for a reason that the message states with what to try; what was reached is on disk."""


class Interrupted(TrainingStopped):
    """Ctrl-C, or a request to terminate."""


class Plan(NamedTuple):
    """What a training run does, apart from the network: the arguments of `train`."""

    task: AbstractTask
    step: Callable
    """From `make_train_step`."""
    evaluate: Callable[[Network, Gate], Evaluation]
    """On held-out trials."""
    gate_at: Callable[[Array], Gate]
    """The gate at a step: the sharpness schedule."""
    judge_gate: Gate
    """The gate that `evaluate` is given when checkpoints are compared."""
    steps: int
    batch: int
    evaluate_every: int
    checkpoint_every: int
    score: str = "accuracy"
    """Metric by which the best checkpoint is kept; `loss` is minimised, anything else maximised."""
    gradient_limit: float = 1e8


def train(
    plan: Plan,
    state: TrainState,
    fixed: Network,
    folder: Path,
    *,
    key: PRNGKeyArray,
    resume: bool = False,
    progress: bool = True,
) -> tuple[TrainState, Network]:
    """Train until ``plan.steps`` updates are made; returns the last state and the best network.

    Writes into `folder`: ``metrics.jsonl``; ``last.ckpt`` every `checkpoint_every` steps and on any orderly stop; ``best.ckpt``,
    the network with the best held-out score. All randomness is a function of `key` and the step, so a run that is killed and
    resumed ends bit for bit where it would have ended.

    **Raises:** `TrainingStopped` if loss or gradient stop being finite or the gradient explodes, naming the step, the parameter
    and what to try; `Interrupted` on Ctrl-C; `CheckpointError` if a checkpoint does not fit.
    """
    last, best_path = folder / "last.ckpt", folder / "best.ckpt"
    # A copy here and below: the next step donates the buffers of `state`.
    best_params, best_score, loud = jax.tree.map(jnp.copy, state.params), None, 0
    if resume and last.exists():
        (state, best_params), header = checkpoint.load(last, (state, state.params))
        best_score, loud = header["best_score"], header["loud"]
    first = int(state.step)
    log = MetricsLog(folder / "metrics.jsonl", resume_at=first if resume else None)
    batch = eqx.filter_jit(lambda task, step: task.batch(key, step, plan.batch))
    warned: set[str] = set()

    def keep():
        checkpoint.save(last, (state, best_params), step=int(state.step), best_score=best_score, loud=loud)

    hidden = None if progress else True  # None: shown on a terminal only
    bar = tqdm(range(first, plan.steps), initial=first, total=plan.steps, disable=hidden, unit="step", dynamic_ncols=True)
    with _Interrupt() as interrupt:
        try:
            for i in bar:
                gate = plan.gate_at(jnp.asarray(i))
                state, metrics = plan.step(state, batch(plan.task, jnp.asarray(i)), gate)
                metrics = {"sharpness": gate.sharpness, **jax.device_get(metrics)}
                if (i + 1) % plan.evaluate_every == 0 or i + 1 == plan.steps:
                    network = eqx.combine(state.params, fixed)
                    held = plan.evaluate(network, plan.judge_gate).metrics
                    metrics |= {f"held_out/{name}": x for name, x in held.items()}
                    score = -held["loss"] if plan.score == "loss" else held[plan.score]
                    if math.isfinite(score) and (best_score is None or score >= best_score):
                        best_params, best_score = jax.tree.map(jnp.copy, state.params), score
                        checkpoint.save(best_path, network, step=i + 1, score=score)
                log.write(i + 1, metrics)
                bar.set_postfix(_shown(metrics), refresh=False)
                loud = loud + 1 if float(metrics["gradient"]) > plan.gradient_limit else 0
                _stop_if_senseless(i + 1, metrics, loud, plan.gradient_limit)
                _warn(bar, i + 1, metrics, warned)
                if (i + 1) % plan.checkpoint_every == 0 or i + 1 == plan.steps:
                    keep()
                if interrupt.requested:
                    raise Interrupted(f"interrupted after step {i + 1} of {plan.steps}; saved: continue with --resume")
        except TrainingStopped:
            keep()
            raise
        finally:
            bar.close()
            log.close()
    return state, eqx.combine(best_params, fixed)


class _Interrupt:
    """Turns Ctrl-C and SIGTERM into a flag that is read between two steps, so that no step is lost; a second Ctrl-C is immediate."""

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


def _shown(metrics: dict) -> dict[str, str]:
    names = ("loss", "accuracy", "error", "held_out/accuracy", "held_out/error", "gradient")
    return {name.replace("held_out/", "held-out "): f"{float(metrics[name]):.3g}" for name in names if name in metrics}


def _stop_if_senseless(step: int, metrics: dict, loud: int, limit: float) -> None:
    groups = {name.removeprefix("gradient/"): float(x) for name, x in metrics.items() if name.startswith("gradient/")}
    remedy = (
        "Try a costate damping (adjoint.damping, per ms) or clip (adjoint.clip), a smaller training.learning_rate or training.clip, "
        "a wider gate (gate.width, gate.sharpness) or gate.release surrogate."
    )
    if not bool(metrics["finite"]):
        bad = [name for name, x in groups.items() if not math.isfinite(x)]
        where = f"the gradient of {bad[0]}" if bad else "the loss"
        raise TrainingStopped(f"stopped at step {step}: {where} is not finite (loss {float(metrics['loss']):.3g}). {remedy}")
    if loud >= EXPLODED:
        worst = max(groups, key=groups.__getitem__)
        raise TrainingStopped(
            f"stopped at step {step}: the gradient exploded, above {limit:.0e} for {loud} steps, "
            f"most in {worst} ({groups[worst]:.1e}). {remedy}"
        )


def _warn(bar, step: int, metrics: dict, warned: set[str]) -> None:
    """One line, once per layer and kind, for populations that are mostly silent or saturated, and for a dt that is too long."""
    for name, x in metrics.items():
        kind, _, layer = name.partition("/")
        if kind in ("silent", "saturated") and float(x) > 0.5 and name not in warned:
            remedy = "a larger bias or input_scale" if kind == "silent" else "a smaller input_scale, bias or dt"
            bar.write(f"warning: step {step}: {float(x):.0%} of the neurons of layer {layer} are {kind}; try {remedy}")
            warned.add(name)
    crowded = float(metrics.get("held_out/crowded", 0))
    if crowded > 0.01 and "crowded" not in warned:
        bar.write(f"warning: step {step}: in {crowded:.1%} of steps a neuron spikes more than once, too often for dt: try a smaller one")
        warned.add("crowded")
