"""A `[sweep]` table and the configurations that it stands for."""

import copy
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, model_validator

from ...configuration import Config
from ...configuration.load import check, override, place, read, validate
from ...configuration.tables import Table
from ...errors import ConfigError

Value = bool | int | float | str | list | dict


class SweepTable(Table):
    """The `[sweep]` table: every point of `list`, times every combination of `grid`, times every seed."""

    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = Field(
        (0,), min_length=1, description="seeds of every point"
    )
    grid: dict[str, tuple[Value, ...]] = Field(
        {}, description='keys and their values, such as "gate.sharpness" = [1, 2, 4]'
    )
    list: tuple[dict[str, Value], ...] = Field(
        ({},),
        min_length=1,
        description="tables of keys and values, each with a name for folder, table and figures if it likes",
    )

    @model_validator(mode="after")
    def _says_something(self):
        for name, values in self.grid.items():
            if not values:
                raise ValueError(f"grid.{name} is empty: give at least one value")
        twice = self.grid.keys() & set().union(*self.list)
        if twice:
            raise ValueError(f"{min(twice)} is in grid and in list: set it in one of them")
        if not all(isinstance(one.get("name", ""), str) for one in self.list):
            raise ValueError("list: a name is text")
        if "seed" in self.grid.keys() | set().union(*self.list):
            raise ValueError("seed: list the seeds in seeds")
        return self


class Point(NamedTuple):
    """One configuration of a sweep."""

    name: str
    """Name of its run folder."""
    values: dict[str, Any]
    """The keys that the sweep sets, and the seed."""
    config: Config


def load_sweep(path: Path, overrides: Sequence[tuple[str, str]] = ()) -> list[Point]:
    """The points of a sweep's file: that of a training run with a `[sweep]` table; `overrides` are of all
    points (``sweep.seeds`` is one).

    **Raises:** `ConfigError` in one line, naming the first key that cannot be used, before anything is run.
    """
    data = override(read(path), overrides)
    table = data.pop("sweep", None)
    if not isinstance(table, dict):
        raise ConfigError(
            f"{path} has no [sweep] table: it lists seeds, and values of keys under [sweep.grid]"
        )
    sweep = validate(table, f"{path}, [sweep]", SweepTable)
    points, names = [], set()
    grid = [dict(zip(sweep.grid, values, strict=True)) for values in itertools.product(*sweep.grid.values())]
    for listed, crossed, seed in itertools.product(sweep.list, grid, sweep.seeds):
        values = listed | crossed
        one = copy.deepcopy(data)
        for key, value in values.items():
            if key != "name":
                place(one, key, value)
        shown = {"name": listed["name"]} | crossed if "name" in listed else values
        name = _name(shown | {"seed": seed})
        if name in names:
            raise ConfigError(f"{path}: the sweep has the point {name} twice")
        names.add(name)
        points.append(Point(name, values | {"seed": seed}, check(one | {"seed": seed}, f"{path}, {name}")))
    return points


def _name(values: dict[str, Any]) -> str:
    """``sharpness=2,kernel=boxcar,seed=0``: keys by their last part where that is enough."""
    last = [key.split(".")[-1] for key in values]
    parts = []
    for key, short in zip(values, last, strict=True):
        text = values[key] if isinstance(values[key], str) else json.dumps(values[key], separators=(",", ":"))
        shown = short if last.count(short) == 1 else key
        parts.append(f"{shown}={''.join(c if c.isalnum() or c in '._-+' else '_' for c in str(text))}")
    return ",".join(parts)


__all__ = ["Point", "SweepTable", "load_sweep"]
