"""A `[sweep]` table and the configurations that it stands for."""

import copy
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from ...configuration import Config
from ...configuration.explain import dotted
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


class SweepFile(Table):
    """What a sweep's file has beside the tables of a training run."""

    sweep: SweepTable


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
    _check_quoted(path, table)
    sweep = validate({"sweep": table}, str(path), SweepFile).sweep
    _check_values(path, sweep)
    points, names = [], set()
    grid = [dict(zip(sweep.grid, values, strict=True)) for values in itertools.product(*sweep.grid.values())]
    for (i, listed), crossed, seed in itertools.product(enumerate(sweep.list), grid, sweep.seeds):
        values, one = listed | crossed, copy.deepcopy(data)
        whole = {key: dotted("sweep", "list", i, key) for key in listed if key != "name"}
        whole |= {key: dotted("sweep", "grid", key) for key in crossed}
        for key, where in whole.items():
            place(one, key, values[key], f"{path}: {where}")
        shown = {"name": listed["name"]} | crossed if "name" in listed else values
        name = _name(shown | {"seed": seed})
        if name in names:
            raise ConfigError(f"{path}: the sweep has the point {name} twice")
        names.add(name)
        set_by = ", ".join(f"{where} = {json.dumps(values[key])}" for key, where in whole.items())
        source = f"{path}, point {name}" + (f" ({set_by})" if set_by else "")
        points.append(Point(name, values | {"seed": seed}, check(one | {"seed": seed}, source)))
    return points


def _check_quoted(path: Path, table: dict[str, Any]) -> None:
    """Raise `ConfigError` for a key of the grid that TOML has taken for a table."""
    grid = table.get("grid")
    for name, values in grid.items() if isinstance(grid, dict) else ():
        if isinstance(values, dict) and values:
            quoted = dotted("sweep", "grid", f"{name}.{min(values)}")
            raise ConfigError(
                f"{path}: sweep.grid.{name} is a table: write the whole key in quotes, {quoted}"
            )


def _check_values(path: Path, sweep: SweepTable) -> None:
    """Raise `ConfigError` for a sweep that contradicts itself."""
    listed = {key: i for i, one in enumerate(sweep.list) for key in one}
    for name, values in sweep.grid.items():
        where = dotted("sweep", "grid", name)
        if not values:
            raise ConfigError(f"{path}: {where} is empty: give at least one value")
        if name == "seed":
            raise ConfigError(f"{path}: {where}: list the seeds in sweep.seeds")
        if name in listed:
            raise ConfigError(
                f"{path}: {where} is in grid and in list ({dotted('sweep', 'list', listed[name], name)}): "
                "set it in one of them"
            )
    if "seed" in listed:
        raise ConfigError(f"{path}: sweep.list.{listed['seed']}.seed: list the seeds in sweep.seeds")
    for i, one in enumerate(sweep.list):
        if not isinstance(one.get("name", ""), str):
            raise ConfigError(f"{path}: sweep.list.{i}.name is {one['name']!r}, but a name is text")


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
