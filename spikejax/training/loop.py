"""The training loop: updates, evaluations, checkpoints and progress of one or several sessions."""

import contextlib
import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import PRNGKeyArray

from ..component import components, declarations
from ..gates import Gate
from ..network import Network
from ..parameters import as_parameter
from ..progress import Progress
from . import checkpoint, distributed
from .log import MakeLogger
from .plan import Plan, Rollback, Stage
from .program import AbstractProgram, Position, SingleProgram
from .session import Action, Session
from .step import TrainState
from .stopping import Interrupt, Interrupted, TrainingStopped


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
    loggers: Sequence[MakeLogger] = (),
) -> tuple[TrainState, Network]:
    """Train until ``plan.steps`` updates are made; returns the last state and the best network.

    Writes into `folder`: ``metrics.jsonl``; ``last.ckpt`` every `checkpoint_every` steps and on any orderly
    stop; ``best.ckpt``, the network with the best held-out score. With a rollback in the plan, training that
    gets worse on held-out trials, or meets a gradient that is not finite, goes on from the best parameters at
    a lower learning rate. All randomness is a function of `key` and the step, so a run that is killed and
    resumed ends bit for bit where it would have ended.

    With several processes (`spikejax.training.distributed`) each of them makes the same call; process 0
    evaluates and writes.

    **Arguments:** `report`: called with the step and the score of every evaluation; a `TrainingStopped` from
    it ends training in order; `loggers`: what makes the loggers that are told of every update, from `folder`
    and, where training goes on, the step it goes on from (`spikejax.training.log.Logger`); the others are
    those of `SingleProgram` and `run_sessions`.

    **Raises:** `TrainingStopped` if loss or gradient stop being finite or the gradient explodes, naming the
    step, the parameter and what to try; `Interrupted` on Ctrl-C; `CheckpointError` if a checkpoint does not
    fit.
    """
    session = Session(plan, state.params, folder=folder, loggers=loggers)
    program = SingleProgram(plan, state, fixed, key)
    last = folder / "last.ckpt"
    if resume:
        restore(program, [session], last)
        session.stopped = None  # a run that stopped tries again
    run_sessions(
        program,
        [session],
        last,
        keep_log=resume,
        progress=progress,
        report=None if report is None else lambda step, _, score: report(step, score),
        how_to_resume="continue with --resume",
    )
    if session.stopped:
        raise TrainingStopped(f"stopped at {session.stopped}. Try {remedies(plan, session.stage)}.")
    return distributed.local(program.state), eqx.combine(session.best, fixed)


def run_sessions(
    program: AbstractProgram,
    sessions: Sequence[Session],
    path: Path,
    *,
    keep_log: bool = False,
    progress: bool = True,
    report: Callable[[int, Session, float], None] | None = None,
    how_to_resume: str,
) -> None:
    """The training loop: make the updates of `program` until all are made, or every session has stopped.

    Each session logs its metrics and writes ``best.ckpt``, the network with its best held-out score, into its
    folder. A session that stops keeps its best parameters, and the others go on.

    **Arguments:**

    - `sessions`: one for each network of the program; their plans have the same number of stages and updates,
      and evaluate and save at the same steps.
    - `path`: checkpoint of all of them, from which `restore` goes on.
    - `keep_log`: go on with logs that are there, without their lines after the program's step.
    - `report`: called with the step, the session and the score of every evaluation; a `TrainingStopped` from
      it ends training in order.
    - `how_to_resume`: the end of the message of an interruption.

    **Raises:** `Interrupted` on Ctrl-C, with everything saved.
    """
    plan, first = sessions[0].plan, program.step
    done = first
    vote, bar = distributed.Vote(), Progress(plan.steps, initial=first, shown=progress)
    with Interrupt() as interrupt:
        try:
            for session in sessions:
                session.open_log(first if keep_log else None)
            for step in range(first, plan.steps):
                if all(session.stopped for session in sessions):
                    break
                done = step + 1
                # What is compiled is new at the begin of a stage.
                begins = step == first or plan.number_at(step)[1] == 0
                bar.phase("compiling" if begins else "training")
                _advance(program, sessions, step, bar)
                for session in sessions:
                    for line in session.messages:
                        bar.line(f"{session.name}: {line}" if session.name else line)
                summary = _summary(sessions)
                bar.advance(**summary)
                if plan.evaluates_after(done):
                    shown = ", ".join(f"{name} {x}" for name, x in summary.items())
                    bar.result(f"step {done} of {plan.steps}: {shown}")
                if plan.saves_after(done) or all(session.stopped for session in sessions):
                    save(program, sessions, path, done)
                if report is not None and plan.evaluates_after(done):
                    for session in sessions:
                        if not session.stopped:
                            report(done, session, float(session.entry[f"held_out/{plan.score}"]))
                if vote(done, interrupt.requested):
                    raise Interrupted(
                        f"interrupted after step {done} of {plan.steps}; saved: {how_to_resume}"
                    )
        except TrainingStopped:
            save(program, sessions, path, done)
            raise
        finally:
            bar.close()
            for session in sessions:
                session.close_log()


def _advance(program: AbstractProgram, sessions: Sequence[Session], step: int, bar: Progress) -> None:
    """One update of every network, and what follows from it."""
    done = step + 1
    number, within = sessions[0].plan.number_at(step)
    for session in sessions:
        session.enter(number, session.plan.stages[number].plateau)
        session.messages = []
    stages = [session.plan.stages[number] for session in sessions]
    pairs = list(zip(sessions, stages, strict=True))
    sharpness = [as_parameter(stage.sharpness_at(within, session.plateaus)) for session, stage in pairs]
    learning_rates = [
        session.learning_rate_scale * stage.learning_rate_at(within) for session, stage in pairs
    ]
    at = Position(step, number, within)
    metrics = program.update(at, sharpness, learning_rates)
    running = [k for k, session in enumerate(sessions) if not session.stopped]
    evaluated, held_out = {}, {}
    if sessions[0].plan.evaluates_after(done):
        bar.phase("evaluating")
        networks = program.evaluated()
        evaluated = {k: networks[k] for k in running}
        results = distributed.each([partial(sessions[k].plan.evaluate, networks[k][1]) for k in running])
        held_out = dict(zip(running, results, strict=True))
    for k in running:
        session, (params, network) = sessions[k], evaluated.get(k, (None, None))
        entry = {"sharpness": sharpness[k], "learning_rate": learning_rates[k], **metrics[k]}
        bad = None if bool(metrics[k]["finite"]) else program.not_finite(k, at, sharpness[k])
        action = session.after(done, entry, held_out.get(k), params, bad)
        if session.improved and network is not None:
            _save_best(session, network)
        if action is Action.ROLL_BACK:
            program.restart(k, session.plan.restart(session.best, done))
        elif action is Action.STOP and len(sessions) > 1:
            session.messages.append(f"stopped at {session.stopped}")


def save(program: AbstractProgram, sessions: Sequence[Session], path: Path, step: int) -> None:
    """Write the checkpoint of a program and its sessions after `step` updates.

    Collective: every process must call this.
    """
    arrays = program.saved([session.best for session in sessions])
    checkpoint.save(path, arrays, step=step, sessions=[session.saved() for session in sessions])


def restore(program: AbstractProgram, sessions: Sequence[Session], path: Path) -> bool:
    """Go on from the checkpoint `path`, if it is there; whether it is.

    Collective: every process must call this.

    A ``best.ckpt`` that was lost or damaged is written again from what the checkpoint holds.

    **Raises:** `CheckpointError` in one line if it does not fit.
    """
    like = program.saved([session.best for session in sessions])
    found = distributed.call(lambda: checkpoint.load(path, like) if path.exists() else None)
    if found is None:
        return False
    arrays, header = found
    try:
        parts = _parts(header)
        for session, best, part in zip(sessions, program.restore(arrays), parts, strict=True):
            session.restore(part, best)
        _check_step(program.step, header.get("step"), sessions)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error) if isinstance(error, ValueError) else "its header is not that of a training"
        raise checkpoint.CheckpointError(f"{path}: {reason}") from None
    for session, network in zip(sessions, program.networks([s.best for s in sessions]), strict=True):
        if distributed.leads() and session.folder is not None and session.best_score is not None:
            best = session.folder / "best.ckpt"
            try:
                checkpoint.load(best, network)
            except checkpoint.CheckpointError as error:
                _save_best(session, network)
                warnings.warn(f"{error}: written again from {path}", stacklevel=2)
    return True


def _check_step(step: int, written: Any, sessions: Sequence[Session]) -> None:
    """Raise `ValueError` unless training can be after so many updates, which the header of its checkpoint
    says too."""
    plan = sessions[0].plan
    if type(written) is not int or written != step:
        raise ValueError(f"its arrays are of step {step}, its header of {written}: start anew with --out")
    if not 0 <= step <= plan.steps:
        raise ValueError(f"it is of step {step} of {plan.steps}: start anew with --out")
    if any(session.stage >= len(plan.stages) for session in sessions):
        raise ValueError("it is in a stage that the configuration has not: start anew with --out")


def remedies(plan: Plan, stage: int = 0) -> str:
    """What to try where the gradient explodes, as keys of a configuration: what is not done already."""
    simulator = plan.stages[stage].simulators[0]
    found = []
    damped = {"damping": "adjoint.damping (per ms)", "clip": "adjoint.clip"}
    for one in components(simulator):
        if damped.keys() <= declarations(type(one)).keys():
            found += [key for name, key in damped.items() if getattr(one, name) is None]
    gate = next((one for one in components(simulator) if isinstance(one, Gate)), None)
    if gate is not None and gate.release.exact:
        found.append("gate.release surrogate")
    if gate is not None and gate.release.needs_support:
        found.append("a wider gate (gate.width, gate.sharpness)")
    if plan.rollback is None:
        found.append("training.rollback")
    return ", ".join([*found, "a smaller training.learning_rate or training.clip"])


def lost_best(folder: Path, state: TrainState, fixed: Network) -> Network:
    """The best network of a run whose ``best.ckpt`` was lost or damaged, from its ``last.ckpt``; the file is
    written again.

    **Arguments:** `state`, `fixed`: of an untrained network, as in `train`.

    **Raises:** `CheckpointError` if it cannot be found there.
    """
    path = folder / "last.ckpt"
    (_, best), header = checkpoint.load(path, (state, state.params))
    try:
        (part,) = _parts(header)
        score, step = part.get("best_score", part.get("score")), part.get("best_step")
    except (ValueError, KeyError, TypeError, AttributeError):
        score, step = None, None
    if score is None:
        raise checkpoint.CheckpointError(f"{path} is of a training that was not evaluated yet")
    network = eqx.combine(best, fixed)
    with contextlib.suppress(OSError):  # a folder that can only be read
        checkpoint.save(folder / "best.ckpt", network, step=step, score=score)
    return network


def _save_best(session: Session, network: Network) -> None:
    """Write a session's best network into its folder, if it has one."""
    if session.folder is not None:
        checkpoint.save(
            session.folder / "best.ckpt", network, step=session.best_step, score=session.best_score
        )


def _parts(header: dict) -> list[dict]:
    """What a checkpoint's header says of each session. Older checkpoints of groups and of single runs have a
    list `members`, or the values in the header itself."""
    if "sessions" in header:
        return header["sessions"]
    if "members" in header:
        pairs = zip(header["members"], header["reasons"], strict=True)
        return [member | {"stopped": reason} for member, reason in pairs]
    return [header]


def _summary(sessions: Sequence[Session]) -> dict[str, str | int]:
    """What the progress bar shows after an update: a network's metrics, or of several the median loss."""
    if len(sessions) > 1:
        losses = [float(session.entry["loss"]) for session in sessions if not session.stopped]
        finite = [loss for loss in losses if math.isfinite(loss)]
        median = f"{np.median(finite):.3g}" if finite else "nan"
        return {"loss": median, "stopped": len(sessions) - len(losses)}
    entry = sessions[0].entry
    names = ("loss", "accuracy", "error", "held_out/accuracy", "held_out/error", "gradient")
    return {
        name.replace("held_out/", "held-out "): f"{float(entry[name]):.3g}" for name in names if name in entry
    }


__all__ = [
    "Interrupted",
    "Plan",
    "Rollback",
    "Stage",
    "TrainingStopped",
    "lost_best",
    "remedies",
    "restore",
    "run_sessions",
    "save",
    "train",
]
