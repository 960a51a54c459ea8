"""Running a search: any number of workers, each of which trains one trial after the other until all are made.

```
SEARCH/study.journal   the study, as Optuna keeps it (unless it is in a database)
SEARCH/trials/N/       a run folder for each trial: `spikejax evaluate` and `plot` work on it
SEARCH/table.csv       a line for each trial
SEARCH/figures/*.png
```

A worker is the same command once more.
"""

import contextlib
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ...configuration.load import new_folder
from ...files import remove_leftovers, write_table
from ...locks import Lock
from ...training import TrainingStopped
from ...training.log import MakeLogger
from ..run import LOCK
from .space import SearchPlan
from .study import FOLDER, LOST, MINUTES, count, is_made, objective_label, open_study
from .worker import BEATS, DeadWorkers, train_trial


def search_run(
    plan: SearchPlan,
    folder: Path,
    *,
    progress: bool = True,
    formats: Sequence[str] = ("png",),
    loggers: Sequence[MakeLogger] = (),
) -> Study:
    """Train trials until all are made, with any other workers of the same search; then write the table and
    the figures.

    **Arguments:** `formats`: of the figures; `loggers`: of each trial, see `spikejax.training.train`.

    **Raises:** `ConfigError` if the storage cannot be used or holds another search; `Interrupted` on Ctrl-C,
    after which the same call goes on; `TrainingStopped` if no trial came to an end.
    """
    folder = Path(folder)
    new_folder(folder)
    study = open_study(plan, folder)
    dead, wanted = DeadWorkers(plan.search.grace), plan.search.trials
    while True:
        trials = study.get_trials(deepcopy=False)
        made, running = sum(map(is_made, trials)), count(trials, TrialState.RUNNING)
        waiting = count(trials, TrialState.WAITING)
        if made >= wanted and not running and not waiting:
            break
        dead.queue_their_trials(study, trials)
        if not waiting and made + running >= wanted:
            # Others are at the last ones; they may die.
            time.sleep(min(1.0, plan.search.grace / BEATS))
            continue
        train_trial(study, plan, folder, progress, loggers)
        _write_table(study, plan, folder)
    _write_table(study, plan, folder)
    if not count(study.get_trials(deepcopy=False), TrialState.COMPLETE):
        reasons = [t.user_attrs[LOST] for t in study.trials if LOST in t.user_attrs] or ["all were pruned"]
        raise TrainingStopped(f"none of the {wanted} trials came to an end, the first because: {reasons[0]}")
    with _alone(folder):
        _draw(study, plan, folder / "figures", formats)
    return study


def _write_table(study: Study, plan: SearchPlan, folder: Path) -> None:
    """A line for each trial that ended, the keys as they were drawn."""
    with _alone(folder):
        _write(study, plan, folder)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """A context in which no other worker writes the table or the figures."""
    with Lock(folder / LOCK):
        remove_leftovers(folder)
        remove_leftovers(folder / "figures")
        yield


def _write(study: Study, plan: SearchPlan, folder: Path) -> None:
    ended = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    rows = [_row(trial, plan, objective_label(plan, study)) for trial in ended]
    write_table(folder / "table.csv", rows, None if rows else ["trial"])


def _row(trial: FrozenTrial, plan: SearchPlan, label: str) -> dict[str, Any]:
    died = trial.state is TrialState.FAIL and LOST not in trial.user_attrs
    return {
        "trial": trial.number,
        "folder": trial.user_attrs.get(FOLDER),
        "state": "no result" if died else trial.state.name.lower(),
        label: trial.value if trial.state is TrialState.COMPLETE else None,
        **{name: trial.params.get(name) for name in plan.space},
        "minutes": trial.user_attrs.get(MINUTES),
        "lost": trial.user_attrs.get(LOST),
    }


def _draw(study: Study, plan: SearchPlan, folder: Path, formats: Sequence[str]) -> None:
    # Here for start-up time: Matplotlib is slow to import.
    from ...plotting import save_figures
    from ...plotting.search import SearchedKey, SearchResult, search_figures

    trials = [t for t in study.get_trials(deepcopy=False) if t.state is TrialState.COMPLETE]
    keys = []
    for name, one in plan.space.items():
        values = [trial.params[name] for trial in trials]
        keys.append(SearchedKey(name, values if one.choices is None else list(map(str, values)), one.log))
    found = SearchResult(
        numbers=[trial.number for trial in trials],
        objective=np.array([trial.value for trial in trials], float),
        label=objective_label(plan, study),
        maximised=study.direction is StudyDirection.MAXIMIZE,
        keys=keys,
        importance=_importance(study),
    )
    save_figures(folder, search_figures(found), formats)


def _importance(study: Study) -> dict[str, float]:
    """How much each key matters for being among the best tenth of the trials; empty where too few came to an
    end to say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            return optuna.importance.get_param_importances(study, evaluator=evaluator)
        except (ValueError, RuntimeError):
            return {}


__all__ = ["search_run"]
