"""The study of a search, which all its workers share, and what it holds of each trial."""

import json
from pathlib import Path

import numpy as np

from ...configuration import build_loss
from ...errors import ConfigError
from .space import SearchPlan

try:
    import optuna
    from optuna.storages.journal import JournalFileBackend
except ImportError as error:
    raise ConfigError("spikejax search needs Optuna: pip install 'spikejax[search]'") from error

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

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
    return study


def _storage(where: str):
    if "://" in where:
        return where
    return optuna.storages.JournalStorage(JournalFileBackend(where))


def _pruner(kind: str, warmup: int) -> optuna.pruners.BasePruner:
    if kind == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=warmup)
    return optuna.pruners.NopPruner()


def queue_again(study: Study, number: int, deaths: int) -> None:
    """Queue a trial that ended without a result once more, after so many deaths of its workers."""
    old = next(trial for trial in study.get_trials(deepcopy=False) if trial.number == number)
    kept = {FOLDER: old.user_attrs.get(FOLDER, f"trials/{number}"), DEATHS: deaths}
    study.enqueue_trial(old.params, user_attrs=kept)


class NumberedSampler(optuna.samplers.BaseSampler):
    """Draws a trial from the seed and its number: one worker makes the same search every time, and no two
    workers draw the same."""

    def __init__(self, kind: str, seed: int):
        self._make = optuna.samplers.TPESampler if kind == "tpe" else optuna.samplers.RandomSampler
        self._seed = seed

    def before_trial(self, study, trial):
        seed = np.random.SeedSequence((self._seed, trial.number)).generate_state(1)[0]
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
    "is_made",
    "objective_label",
    "open_study",
    "queue_again",
]
