"""A `[search]` table, and the configuration at a point of the space that it describes."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from ...configuration import Config
from ...configuration.explain import dotted
from ...configuration.load import check, override, place, read, validate
from ...configuration.tables import Count, Finite, PositiveFloat, Table
from ...errors import ConfigError

Value = bool | int | float | str | list | dict


class SearchTable(Table):
    """The `[search]` table."""

    trials: Count = Field(description="networks that are trained, by all workers together")
    objective: Literal["smooth", "hard"] = Field(
        "smooth",
        description="gate with which trials are compared, by the held-out training.score of the best network",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="seed of the sampler")
    sampler: Literal["tpe", "random"] = Field(
        "tpe", description="tree-structured Parzen estimator, or random"
    )
    pruner: Literal["none", "median"] = Field(
        "none",
        description="median: stop a trial whose best score so far is below the median of others at that step",
    )
    warmup: int = Field(0, ge=0, description="updates in which no trial is stopped")
    storage: str = Field(
        "",
        description="journal file, or for workers without a common folder the URL of a database "
        "(postgresql://...); default: a file in the folder",
    )
    name: str = Field("spikejax", min_length=1, description="name of the study, in a database with several")
    grace: PositiveFloat = Field(
        120.0, description="seconds without a sign of life after which a worker's trial is given to another"
    )
    space: dict[str, dict[str, Any]] = Field(
        min_length=1,
        description="keys and their ranges, such as "
        '"training.learning_rate" = { low = 1e-3, high = 1e-1, log = true }',
    )


class SearchFile(Table):
    """What a search's file has beside the tables of a training run."""

    search: SearchTable


class SearchRange(Table):
    """What a key is drawn from: numbers between `low` and `high`, or `choices`."""

    low: Finite | None = Field(None, description="lowest value")
    high: Finite | None = Field(None, description="highest value")
    log: bool = Field(False, description="uniform in the logarithm")
    integer: bool = Field(False, description="whole numbers")
    choices: tuple[Value, ...] | None = Field(None, min_length=1, description="the values")

    @model_validator(mode="after")
    def _one_kind(self):
        if self.choices is not None:
            if (self.low, self.high) != (None, None) or self.log or self.integer:
                raise ValueError("choices stand alone: no low, high, log or integer")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0, but it is {self.low:g}")
        if self.integer and (self.low % 1 or self.high % 1):
            raise ValueError(
                f"integer needs whole numbers, but low and high are {self.low:g} and {self.high:g}"
            )
        return self

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values that must be valid for all others to be."""
        return self._bounds() if self.choices is None else self.choices

    def _bounds(self) -> tuple[int, int] | tuple[float, float]:
        """`low` and `high`, which are given where `choices` are not."""
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        return (int(self.low), int(self.high)) if self.integer else (self.low, self.high)

    def draw(self, trial, name: str) -> Value:
        """The value of the key `name` in an Optuna trial."""
        if self.choices is not None:
            # Optuna's choices are scalars.
            labels = [x if isinstance(x, bool | int | float | str) else json.dumps(x) for x in self.choices]
            return self.choices[labels.index(trial.suggest_categorical(name, labels))]
        low, high = self._bounds()
        return (trial.suggest_int if self.integer else trial.suggest_float)(name, low, high, log=self.log)


class SearchPlan(NamedTuple):
    """A search as its file describes it."""

    search: SearchTable
    space: dict[str, SearchRange]
    data: dict[str, Any]
    """The tables of the training run, unchecked."""
    source: str

    def at(self, values: dict[str, Value]) -> Config:
        """The configuration with these values of the keys.

        **Raises:** `ConfigError` if they do not fit together.
        """
        one = copy.deepcopy(self.data)
        for name, value in values.items():
            place(one, name, value, f"{self.source}: {dotted('search', 'space', name)}")
        return check(one, self.source)


def load_search(path: Path, overrides: Sequence[tuple[str, str]] = ()) -> SearchPlan:
    """The search of a file: that of a training run with a `[search]` table.

    **Raises:** `ConfigError` in one line, naming the first key that cannot be used, before anything is run:
    the ends of every range and all choices are tried.
    """
    data = override(read(path), overrides)
    table = data.pop("search", None)
    if not isinstance(table, dict):
        raise ConfigError(
            f"{path} has no [search] table: it says how many trials, and ranges of keys under [search.space]"
        )
    if "sweep" in data:
        raise ConfigError(f"{path} has a [sweep] and a [search] table: leave one of them out")
    search = validate({"search": table}, str(path), SearchFile).search
    space = {}
    for name, x in search.space.items():
        inner = next((key for key, value in x.items() if isinstance(value, dict)), None)
        if inner is not None:
            quoted = dotted("search", "space", f"{name}.{inner}")
            raise ConfigError(f"{path}: search.space.{name} is no range: write the key in quotes, {quoted}")
        space[name] = validate(x, f"{path}, {dotted('search', 'space', name)}", SearchRange)
    if "seed" in space:
        raise ConfigError(
            f"{path}: search.space.seed: the seed is no key to search: the best would be the luckiest"
        )
    plan = SearchPlan(search, space, data, str(path))
    first = {name: one.ends[0] for name, one in space.items()}
    for name, one in space.items():
        for value in one.ends:
            where = f"{path}, {dotted('search', 'space', name)} = {json.dumps(value)}"
            plan._replace(source=where).at(first | {name: value})
    return plan


__all__ = ["SearchPlan", "SearchRange", "SearchTable", "load_search"]
