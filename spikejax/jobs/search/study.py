"""The study of a search, which all its workers share, and what it holds of each trial."""

import json
import re
from pathlib import Path

import numpy as np
import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ...configuration import build_loss
from ...errors import ConfigError
from ..run import check_inside
from .journal import Journal
from .space import SearchPlan

ALIVE, DEATHS, FOLDER, LOST, MINUTES = "alive", "deaths", "folder", "lost", "minutes"
"""Attributes of a trial."""
STARTUP = 5
"""Trials before the pruner stops one."""


def count(trials: list[FrozenTrial], *states: TrialState) -> int:
    """How many of the trials are in one of the states."""
    return sum(trial.state in states for trial in trials)


def is_made(trial: FrozenTrial) -> bool:
    """Whether a trial is one of those that were asked for: it came to an end, and not by its worker's
    death."""
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    return trial.state in ended or (trial.state is TrialState.FAIL and LOST in trial.user_attrs)


def objective_label(plan: SearchPlan, study: Study) -> str:
    """Name of the objective."""
    return f"held-out {study.user_attrs['score']}, {plan.search.objective} gate"


def open_study(plan: SearchPlan, folder: Path) -> Study:
    """The study in its storage, new or with what other workers and earlier calls made.

    **Raises:** `ConfigError` if the storage cannot be used or holds another search.
    """
    search = plan.search
    check_inside(folder)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    config = plan.at({name: one.ends[0] for name, one in plan.space.items()})
    loss = build_loss(config)
    score = config.training.score or loss.score
    where = search.storage or str(folder / "study.journal")
    shown = where.rsplit("@", 1)[-1]  # without a password
    try:
        study = optuna.create_study(
            storage=_storage(where),
            study_name=search.name,
            direction="maximize" if loss.maximised(score) else "minimize",
            sampler=NumberedSampler(search.sampler, search.seed),
            pruner=_pruner(search.pruner, search.warmup),
            load_if_exists=True,
        )
    except ConfigError:
        raise
    except Exception as error:  # whatever the database's driver raises
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise ConfigError(f"the storage {shown} cannot be used: {reason}") from error
    ours = {
        "score": score,
        "search": search.model_dump(mode="json", exclude={"trials", "storage", "grace"}),
        "run": json.loads(json.dumps(plan.data, default=str)),
    }
    for name, value in ours.items():
        if name not in study.user_attrs:
            study.set_user_attr(name, value)
        elif study.user_attrs[name] != value:
            raise ConfigError(
                f"{shown} holds another search, {search.name}: "
                "choose another folder with --out, or search.name"
            )
    for trial in study.get_trials(deepcopy=False):
        _check_trial(trial, plan, shown)
    return study


def _check_trial(trial: FrozenTrial, plan: SearchPlan, shown: str) -> None:
    """Raise `ConfigError` for a trial that no worker of the search has written."""
    wrong = next((name for name in trial.params if name not in plan.space), None)
    if wrong is not None:
        problem = f"a value of {wrong}, which is no key of [search.space]"
    elif trial.state is TrialState.COMPLETE and set(trial.params) != set(plan.space):
        problem = f"no value of {min(set(plan.space) - set(trial.params))}"
    elif trial.state is TrialState.COMPLETE and not isinstance(trial.value, float):
        problem = "no result"
    elif FOLDER in trial.user_attrs and ordinal_in(trial) is None:
        problem = f"the folder {str(trial.user_attrs[FOLDER])[:80]!r}, which is none of the search"
    elif type(trial.user_attrs.get(DEATHS, 0)) is not int:
        problem = "deaths that are no number"
    else:
        return
    raise ConfigError(f"{shown}: trial {trial.number} has {problem}: choose another folder with --out")


def ordinal_in(trial: FrozenTrial) -> int | None:
    """The number in the folder that a trial says that it has; None if it says none, or one that no worker
    gives."""
    found = re.fullmatch(r"trials/([0-9]{1,9})", str(trial.user_attrs.get(FOLDER)))
    return None if found is None else int(found[1])


def ordinal(study: Study, number: int) -> int:
    """Which of the trials that were asked for a trial is. One that is made again, after its worker died, is
    the same: it has the folder of the first and draws the same values, so that a search that was killed ends
    where it would have ended."""
    last = -1
    for trial in sorted(study.get_trials(deepcopy=False), key=lambda one: one.number):
        known = ordinal_in(trial)
        own = last + 1 if known is None else known
        if trial.number == number:
            return own
        last = max(last, own)
    raise ValueError(f"there is no trial {number}")


def _storage(where: str):
    if "://" in where:
        return where
    return optuna.storages.JournalStorage(Journal(Path(where)))


def _pruner(kind: str, warmup: int) -> optuna.pruners.BasePruner:
    if kind == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=warmup)
    return optuna.pruners.NopPruner()


def queue_again(study: Study, number: int, deaths: int) -> None:
    """Queue a trial that ended without a result once more, after so many deaths of its workers."""
    old = next(trial for trial in study.get_trials(deepcopy=False) if trial.number == number)
    kept = {FOLDER: folder_name(ordinal(study, number)), DEATHS: deaths}
    # One that died while it drew draws again, in the same order.
    whole = set(old.params) == set(study.user_attrs["search"]["space"])
    study.enqueue_trial(old.params if whole else {}, user_attrs=kept)


def folder_name(number: int) -> str:
    """The folder of a trial, by its `ordinal`, in that of the search."""
    return f"trials/{number}"


class NumberedSampler(optuna.samplers.BaseSampler):
    """Draws a trial from the seed and its `ordinal`: one worker makes the same search every time, and no two
    workers draw the same."""

    def __init__(self, kind: str, seed: int):
        self._make = optuna.samplers.TPESampler if kind == "tpe" else optuna.samplers.RandomSampler
        self._seed = seed

    def before_trial(self, study, trial):
        seed = np.random.SeedSequence((self._seed, ordinal(study, trial.number))).generate_state(1)[0]
        self._inner = self._make(seed=int(seed))
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(self, study, trial):
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial, search_space):
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(self, study, trial, param_name, param_distribution):
        return self._inner.sample_independent(study, trial, param_name, param_distribution)


__all__ = [
    "ALIVE",
    "DEATHS",
    "FOLDER",
    "LOST",
    "MINUTES",
    "NumberedSampler",
    "count",
    "folder_name",
    "is_made",
    "objective_label",
    "open_study",
    "ordinal",
    "queue_again",
]
