"""One worker of a search: it trains one trial after the other, shows that it is alive, and takes over the
trials of workers that died.

While a worker trains it counts up a number of its trial in the study; a trial whose number stands still for
`grace` seconds is taken from its worker, which must have died, and queued again for whoever comes next, to go
on from its checkpoint.
"""

import contextlib
import math
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from ...configuration import Config, evaluator
from ...errors import ConfigError, said_by_program
from ...training import Interrupted, TrainingStopped
from ...training.checkpoint import CheckpointError
from ...training.log import MakeLogger
from ..memory import out_of_memory
from ..run import FolderInUse, trained
from ..train import finished_run
from .space import SearchPlan
from .study import (
    ALIVE,
    DEATHS,
    FOLDER,
    LOST,
    MINUTES,
    folder_name,
    objective_label,
    ordinal,
    queue_again,
)

RETRIES = 3
"""How often a trial whose worker died is queued again: it may be what kills them."""
BEATS = 6
"""How often a worker shows that it is alive in the time after which it is taken for dead."""


class Pruned(TrainingStopped):
    """The pruner has seen enough."""


class TakenAway(TrainingStopped):
    """Another worker took this one for dead."""


def train_trial(
    study: Study, plan: SearchPlan, folder: Path, progress: bool, loggers: Sequence[MakeLogger] = ()
) -> None:
    """Train the network of the next trial and tell the study what came of it.

    **Raises:** `Interrupted` on Ctrl-C, with the trial queued again.
    """
    trial = study.ask()
    # One that is made again goes on in the folder of the first.
    name = folder_name(ordinal(study, trial.number))
    place = folder / name
    trial.set_user_attr(FOLDER, name)
    begin = time.perf_counter()
    with Heartbeat(trial, plan.search.grace / BEATS) as heartbeat:
        try:
            outcome = _outcome(trial, plan, place, heartbeat, progress, loggers)
        except TakenAway:
            return
        except FolderInUse:
            # The worker from which it was taken has not noticed yet.
            study.tell(trial, state=TrialState.FAIL)
            deaths = trial.user_attrs.get(DEATHS, 0) + 1
            if deaths <= RETRIES:
                queue_again(study, trial.number, deaths)
            return
        except Interrupted:
            study.tell(trial, state=TrialState.FAIL)
            queue_again(study, trial.number, trial.user_attrs.get(DEATHS, 0))
            raise Interrupted(
                f"interrupted in trial {trial.number}; saved: the same command goes on from there"
            ) from None
        trial.set_user_attr(MINUTES, round((time.perf_counter() - begin) / 60, 3))
    with contextlib.suppress(ValueError, UpdateFinishedTrialError):  # taken away at the last moment
        study.tell(trial, **outcome)
    if progress:
        value = outcome.get("values")
        state = outcome["state"].name.lower()
        result = state if value is None else f"{objective_label(plan, study)} {value:.4g}"
        print(f"trial {trial.number}: {result}", flush=True)


def _outcome(
    trial: Trial,
    plan: SearchPlan,
    place: Path,
    heartbeat: "Heartbeat",
    progress: bool,
    loggers: Sequence[MakeLogger],
) -> dict[str, Any]:
    """Train a trial: its final state, and its value if it has one. Why it has none is kept in the trial."""

    def report(step: int, score: float) -> None:
        if heartbeat.stopped:
            raise TakenAway(
                f"trial {trial.number} was given to another worker, which did not hear of this one"
            )
        trial.report(score, step)
        if trial.should_prune():
            raise Pruned(f"pruned at step {step}")

    try:
        config = plan.at({name: one.draw(trial, name) for name, one in plan.space.items()})
        options = {"progress": progress, "report": report, "figures": False, "loggers": loggers}
        finished_run(config, place, wait=plan.search.grace, **options)
        value = held_out_score(place, config, plan.search.objective)
        if not math.isfinite(value):
            raise TrainingStopped(f"the held-out score of the best network is {value}")
        return {"state": TrialState.COMPLETE, "values": value}
    except (Interrupted, TakenAway, FolderInUse):
        raise
    except Pruned:
        return {"state": TrialState.PRUNED}
    except (ConfigError, CheckpointError, TrainingStopped, MemoryError, jax.errors.JaxRuntimeError) as error:
        # A network that is lost is a bad result; values that do not fit together, or a device too small for
        # them, are none.
        trial.set_user_attr(LOST, out_of_memory(error) or str(error).splitlines()[0])
        lost = isinstance(error, TrainingStopped)
        return {"state": TrialState.PRUNED if lost else TrialState.FAIL}
    except RuntimeError as error:
        said = said_by_program(error)
        if said is None:
            raise
        trial.set_user_attr(LOST, said)
        return {"state": TrialState.PRUNED}


def held_out_score(place: Path, config: Config, gate: str) -> float:
    """The score of a run's best network on held-out trials, at the gate that training ended with
    (``"smooth"``) or a hard threshold."""
    run, network, _ = trained(place)
    final = run.simulator if gate == "smooth" else run.simulator.hard()
    evaluate = evaluator(config)
    found = evaluate(network, run.task.parts("validation"), final)
    return found.metrics[run.plan.score]


class Heartbeat:
    """Counts up an attribute of a trial every `pause` seconds, in a thread, until the trial ends or is taken
    away."""

    def __init__(self, trial: Trial, pause: float):
        self._trial, self._pause = trial, pause
        self._end = threading.Event()
        self.stopped = False
        """Whether the trial was taken away."""

    def _beat(self) -> None:
        beats = 0
        while not self._end.is_set():
            try:
                self._trial.set_user_attr(ALIVE, beats)
            except UpdateFinishedTrialError:
                self.stopped = True
                return
            except OSError:
                pass  # a full disk, which the training itself meets: perhaps there is room for the next one
            beats += 1
            self._end.wait(self._pause)

    def __enter__(self):
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


class DeadWorkers:
    """Finds trials whose worker died, by the heartbeats that this worker has seen of the others. Their clocks
    are not compared with its own.

    **Arguments:** `grace`: seconds without a heartbeat after which a worker is taken for dead.
    """

    def __init__(self, grace: float):
        self._grace = grace
        self._seen: dict[int, tuple[int | None, float]] = {}  # heartbeats, and when that was news

    def queue_their_trials(self, study: Study, trials: list[FrozenTrial]) -> None:
        """Queue the trials of workers that died again."""
        now = time.monotonic()
        for trial in trials:
            if trial.state is not TrialState.RUNNING:
                continue
            beats = trial.user_attrs.get(ALIVE)
            seen = self._seen.get(trial.number)
            if seen is None or seen[0] != beats:
                self._seen[trial.number] = beats, now
            elif now - seen[1] > self._grace:
                # Another worker may be faster.
                with contextlib.suppress(ValueError, UpdateFinishedTrialError):
                    study.tell(trial.number, state=TrialState.FAIL)
                    deaths = trial.user_attrs.get(DEATHS, 0) + 1
                    if deaths <= RETRIES:
                        queue_again(study, trial.number, deaths)


__all__ = ["DeadWorkers", "Heartbeat", "Pruned", "TakenAway", "held_out_score", "train_trial"]
