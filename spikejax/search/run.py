"""Running a search: any number of workers, each of which trains one trial after the other until all are made.

```
SEARCH/study.journal   the study, as Optuna keeps it (unless it is in a database)
SEARCH/trials/N/       a run folder for each trial: `spikejax evaluate` and `plot` work on it
SEARCH/table.csv       a line for each trial
SEARCH/figures/*.png
```

A worker is the same command once more. While it trains it counts up a number of its trial in the study; a
trial whose number stands still for `grace` seconds is taken from its worker, which must have died, and queued
again for whoever comes next, to go on from its checkpoint.
"""

import contextlib
import csv
import io
import json
import math
import threading
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..build import evaluator
from ..config import Config, ConfigError
from ..config.load import new_folder
from ..runs import finished_run, trained
from ..simulators import ClockDriven
from ..training import TrainingStopped
from ..training.checkpoint import CheckpointError, write_atomically
from ..training.loop import Interrupted
from .figures import search_figures
from .space import Plan

try:
    import optuna
except ImportError as error:
    raise ConfigError("spikejax search needs Optuna: pip install 'spikejax[search]'") from error

RUNNING, WAITING, COMPLETE, PRUNED, FAIL = (
    optuna.trial.TrialState[x] for x in ("RUNNING", "WAITING", "COMPLETE", "PRUNED", "FAIL")
)
RETRIES = 3
"""How often a trial whose worker died is queued again: it may be what kills them."""
ALIVE, DEATHS, FOLDER, LOST, MINUTES = "alive", "deaths", "folder", "lost", "minutes"
"""Attributes of a trial."""


class Pruned(TrainingStopped):
    """The pruner has seen enough."""


class TakenAway(TrainingStopped):
    """Another worker took this one for dead."""


def search_run(plan: Plan, folder: Path, *, progress: bool = True) -> "optuna.Study":
    """Train trials until all are made, with any other workers of the same search; then write the table and
    the figures.

    **Raises:** `ConfigError` if the storage cannot be used or holds another search; `Interrupted` on Ctrl-C,
    after which the same call goes on.
    """
    folder = Path(folder)
    new_folder(folder)
    study = open_study(plan, folder)
    watch = Watch(plan.search.grace)
    while True:
        trials = study.get_trials(deepcopy=False)
        if sum(map(_counts, trials)) >= plan.search.trials and not _in(trials, RUNNING, WAITING):
            break
        watch.take_from_the_dead(study, trials)
        if (
            not _in(trials, WAITING)
            and sum(map(_counts, trials)) + _in(trials, RUNNING) >= plan.search.trials
        ):
            # Others are at the last ones; they may die.
            time.sleep(min(1.0, plan.search.grace / 6))
            continue
        _one_trial(study, plan, folder, progress)
        write_table(study, plan, folder)
    write_table(study, plan, folder)
    if not _in(study.get_trials(deepcopy=False), COMPLETE):
        reasons = [t.user_attrs[LOST] for t in study.trials if LOST in t.user_attrs] or ["all were pruned"]
        raise TrainingStopped(
            f"none of the {plan.search.trials} trials came to an end, the first because: {reasons[0]}"
        )
    search_figures(folder / "figures", study, plan, label(plan, study))
    return study


def _in(trials, *states) -> int:
    return sum(t.state in states for t in trials)


def _counts(trial) -> bool:
    """Whether a trial is one of those that were asked for: it came to an end, and not by its worker's
    death."""
    return trial.state in (COMPLETE, PRUNED) or (trial.state is FAIL and LOST in trial.user_attrs)


def label(plan: Plan, study) -> str:
    """Name of the objective."""
    return f"held-out {study.user_attrs['score']}, {plan.search.objective} gate"


def open_study(plan: Plan, folder: Path) -> "optuna.Study":
    """The study in its storage, new or with what other workers and earlier calls made.

    **Raises:** `ConfigError`.
    """
    search = plan.search
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    config = plan.at({name: one.ends[0] for name, one in plan.space.items()})
    score = config.training.score or ("accuracy" if config.loss.kind == "cross_entropy" else "loss")
    where = search.storage or str(folder / "study.journal")
    warmup = {"n_startup_trials": 5, "n_warmup_steps": search.warmup}
    try:
        storage = (
            where
            if "://" in where
            else optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(where))
        )
        study = optuna.create_study(
            storage=storage,
            study_name=search.name,
            direction="maximize" if score == "accuracy" else "minimize",
            sampler=ByNumber(search.sampler, search.seed),
            pruner=optuna.pruners.MedianPruner(**warmup)
            if search.pruner == "median"
            else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
    except Exception as error:  # whatever the database's driver raises
        shown = where.rsplit("@", 1)[-1]  # without a password
        raise ConfigError(
            f"the storage {shown} cannot be used: {(str(error).splitlines() or [repr(error)])[0]}"
        ) from error
    kept = search.model_dump(mode="json", exclude={"trials", "storage", "grace"})
    for name, value in {
        "score": score,
        "search": kept,
        "run": json.loads(json.dumps(plan.data, default=str)),
    }.items():
        if name not in study.user_attrs:
            study.set_user_attr(name, value)
        elif study.user_attrs[name] != value:
            raise ConfigError(
                f"{where.rsplit('@', 1)[-1]} holds another search, {search.name}: choose another folder with --out, or search.name"
            )
    return study


def _one_trial(study, plan: Plan, folder: Path, progress: bool) -> None:
    trial = study.ask()
    # One that is made again goes on in the folder of the first.
    place = folder / trial.user_attrs.get(FOLDER, f"trials/{trial.number}")
    trial.set_user_attr(FOLDER, str(place.relative_to(folder)))
    outcome: dict[str, Any] = {"state": FAIL}
    begin = time.perf_counter()

    def report(step: int, score: float) -> None:
        if heart.stopped:
            raise TakenAway(
                f"trial {trial.number} was given to another worker, which did not hear of this one"
            )
        trial.report(score, step)
        if trial.should_prune():
            raise Pruned(f"pruned at step {step}")

    with Heart(trial, plan.search.grace / 6) as heart:
        try:
            config = plan.at({name: one.draw(trial, name) for name, one in plan.space.items()})
            finished_run(config, place, progress=progress, report=report, figures=False)
            value = judge(place, config, plan.search.objective)
            if not math.isfinite(value):
                raise TrainingStopped(f"the held-out score of the best network is {value}")
            outcome = {"state": COMPLETE, "values": value}
        except Interrupted:
            study.tell(trial, state=FAIL)
            _again(study, trial.number, trial.user_attrs.get(DEATHS, 0))
            raise Interrupted(
                f"interrupted in trial {trial.number}; saved: the same command goes on from there"
            ) from None
        except TakenAway:
            return
        except Pruned:
            outcome = {"state": PRUNED}
        except (ConfigError, CheckpointError, TrainingStopped, jax.errors.JaxRuntimeError) as error:
            # A network that is lost is a bad result; values that do not fit together, or a device too small
            # for them, are none.
            trial.set_user_attr(LOST, str(error).splitlines()[0])
            outcome = {"state": PRUNED if isinstance(error, TrainingStopped) else FAIL}
        trial.set_user_attr(MINUTES, round((time.perf_counter() - begin) / 60, 3))
    with contextlib.suppress(
        ValueError, optuna.exceptions.UpdateFinishedTrialError
    ):  # taken away at the last moment
        study.tell(trial, **outcome)
    if progress:
        result = (
            f"{label(plan, study)} {outcome['values']:.4g}"
            if "values" in outcome
            else outcome["state"].name.lower()
        )
        print(f"trial {trial.number}: {result}", flush=True)


def judge(place: Path, config: Config, gate: str) -> float:
    """The score of a run's best network on held-out trials, at the gate that training ended with or a hard
    threshold."""
    run, network, _ = trained(place)
    final = run.final_gate if gate == "smooth" else run.final_gate.hard()
    evaluate = evaluator(config.loss, config.noise)
    found = evaluate(network, run.task.parts("validation"), ClockDriven(final, config.dt))
    return found.metrics[run.plan.score]


def _again(study, number: int, deaths: int) -> None:
    """Queue a trial that ended without a result once more, after so many deaths of its workers."""
    old = next(t for t in study.get_trials(deepcopy=False) if t.number == number)
    study.enqueue_trial(
        old.params, user_attrs={FOLDER: old.user_attrs.get(FOLDER, f"trials/{number}"), DEATHS: deaths}
    )


class ByNumber(optuna.samplers.BaseSampler):
    """Draws a trial from the seed and its number: one worker makes the same search every time, and no two
    workers draw the same."""

    def __init__(self, kind: str, seed: int):
        self._make = optuna.samplers.TPESampler if kind == "tpe" else optuna.samplers.RandomSampler
        self._seed = seed

    def before_trial(self, study, trial):
        self._inner = self._make(
            seed=int(np.random.SeedSequence((self._seed, trial.number)).generate_state(1)[0])
        )
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(self, study, trial):
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial, search_space):
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(self, study, trial, param_name, param_distribution):
        return self._inner.sample_independent(study, trial, param_name, param_distribution)


class Heart:
    """Counts up an attribute of a trial every few seconds, in a thread, until the trial ends or is taken
    away."""

    def __init__(self, trial, pause: float):
        self._trial, self._pause = trial, pause
        self._end = threading.Event()
        self.stopped = False
        """Whether the trial was taken away."""

    def _beat(self) -> None:
        count = 0
        while not self._end.is_set():
            try:
                self._trial.set_user_attr(ALIVE, count)
            except optuna.exceptions.UpdateFinishedTrialError:
                self.stopped = True
                return
            count += 1
            self._end.wait(self._pause)

    def __enter__(self):
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


class Watch:
    """What this worker has seen of the others' hearts. Their clocks are not compared with its own."""

    def __init__(self, grace: float):
        self._grace = grace
        self._seen: dict[int, tuple[int | None, float]] = {}  # count and when it was new

    def take_from_the_dead(self, study, trials) -> None:
        """Queue the trials of workers that died again."""
        now = time.monotonic()
        for trial in trials:
            if trial.state is not RUNNING:
                continue
            count, since = self._seen.get(trial.number, ("none", now))
            if trial.user_attrs.get(ALIVE) != count:
                self._seen[trial.number] = trial.user_attrs.get(ALIVE), now
            elif now - since > self._grace:
                with contextlib.suppress(
                    ValueError, optuna.exceptions.UpdateFinishedTrialError
                ):  # another worker was faster
                    study.tell(trial.number, state=FAIL)
                    deaths = trial.user_attrs.get(DEATHS, 0) + 1
                    if deaths <= RETRIES:
                        _again(study, trial.number, deaths)


def write_table(study, plan: Plan, folder: Path) -> None:
    """A line for each trial that ended, the keys as they were drawn."""
    rows = []
    for trial in study.get_trials(deepcopy=False):
        if not trial.state.is_finished():
            continue
        died = trial.state is FAIL and LOST not in trial.user_attrs
        row = {
            "trial": trial.number,
            "folder": trial.user_attrs.get(FOLDER),
            "state": "no result" if died else trial.state.name.lower(),
        }
        row |= {label(plan, study): trial.value if trial.state is COMPLETE else None} | {
            name: trial.params.get(name) for name in plan.space
        }
        rows.append(row | {"minutes": trial.user_attrs.get(MINUTES), "lost": trial.user_attrs.get(LOST)})
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0] if rows else ["trial"])
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder / "table.csv", lambda file: file.write(text.getvalue().encode()))
