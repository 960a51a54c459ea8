"""From TOML and command-line overrides to a checked `Config`, with errors in one line."""

import difflib
import json
import os
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import tomli_w
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ..errors import ConfigError
from .fit import FITS, RENAMED, CurrentClampFit, SoundFit
from .schema import Config

TEXT = ("data.recording", "data.file", "data.test_file")
"""Keys whose values on the command line are text, whatever they look like."""
Schema = TypeVar("Schema", bound=BaseModel)
TAGGED = ("task", "neuron", "synapse")
"""Tables of several kinds: where an error is reported, the kind follows the key."""


def load(path: Path, overrides: Sequence[tuple[str, str]] = ()) -> Config:
    """Read a TOML file (or the folder of a finished run), apply overrides ``("training.steps", "10")``, and
    check everything.

    **Raises:** `ConfigError`.
    """
    data = override(read(path), overrides)
    if "sweep" in data:
        raise ConfigError(f"{path} has a [sweep] table: run it with spikejax sweep")
    if "search" in data:
        raise ConfigError(f"{path} has a [search] table: run it with spikejax search")
    return check(data, str(path))


def load_fit(path: Path, overrides: Sequence[tuple[str, str]] = ()) -> CurrentClampFit | SoundFit:
    """The same as `load` for the configuration of a fit; its key `kind` says which.

    **Raises:** `ConfigError`.
    """
    # A recording may be called 18713001, or 171116_0018, which TOML reads as numbers.
    quoted = [
        (name, json.dumps(x) if name in TEXT and x[:1] not in ("'", '"') else x) for name, x in overrides
    ]
    data = override(read(path), quoted)
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in FITS:
        raise ConfigError(
            f"{path}: kind says what to fit and is one of {', '.join(FITS)}, but it is {kind!r}"
        )
    return validate(data, str(path), FITS[kind])


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, or of the one in a run's folder, unchecked.

    **Raises:** `ConfigError`.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / "config.toml").exists():
            raise ConfigError(f"{path} is not a run folder: it has no config.toml")
        path = path / "config.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration file {path} (it comes first, then --key VALUE)"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def override(data: dict[str, Any], overrides: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """`data` with ``("a.b", text)`` set, the text read as a TOML value, else as a string.

    **Raises:** `ConfigError`.
    """
    for name, text in overrides:
        try:
            value = tomllib.loads(f"x = {text}")["x"]
        except tomllib.TOMLDecodeError:
            value = text
        place(data, name, value)
    return data


def check(data: dict[str, Any], source: str = "configuration") -> Config:
    """Validate a nested dictionary.

    **Raises:** `ConfigError` naming the first offending key.
    """
    if isinstance(data.get("task"), dict):
        data = data | {"task": {"kind": "braille"} | data["task"]}
    return validate(_with_kinds(data), source, Config)


def validate(data: dict[str, Any], source: str, schema: type[Schema]) -> Schema:
    """`data` as the table that `schema` describes.

    **Raises:** `ConfigError` naming the first offending key.
    """
    try:
        # Through JSON: strict mode in Python refuses TOML's lists where the schema has tuples.
        return schema.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise ConfigError(f"{source}: {_explain(error, schema)}") from error


def _with_kinds(data: dict[str, Any]) -> dict[str, Any]:
    """`data` with the default kind of neuron and synapse where a layer's table says none."""
    layers = data.get("network", {}).get("layers") if isinstance(data.get("network", {}), dict) else None
    if not isinstance(layers, list):
        return data
    defaults = {"neuron": {"kind": "lif"}, "synapse": {"kind": "exponential"}}

    def full(layer):
        if not isinstance(layer, dict):
            return layer
        return layer | {
            name: kind | layer[name] for name, kind in defaults.items() if isinstance(layer.get(name), dict)
        }

    return data | {"network": data["network"] | {"layers": [full(layer) for layer in layers]}}


def dump(config: BaseModel) -> str:
    """The configuration as TOML, every value written out."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True, exclude_unset=False))


def place(data: dict[str, Any], name: str, value: Any) -> None:
    """Set ``data["a"]["b"]`` for the name ``a.b`` (list items by number).

    **Raises:** `ConfigError` where there is no such place.
    """
    if name.startswith("network.layers.0.") and isinstance(data.get("network", {}), dict):
        # The schema's default is one layer.
        data.setdefault("network", {}).setdefault("layers", [{}])
    *tables, last = name.split(".")
    here: Any = data
    for i, part in enumerate(tables):
        try:
            here = (
                here[range(len(here))[int(part)]]
                if isinstance(here, list) and "-" not in part
                else here.setdefault(part, {})
            )
        except (ValueError, IndexError, AttributeError):
            raise ConfigError(
                f"--{name}: {'.'.join(tables[:i])} has {len(here)} item(s), numbered from 0; there is no {part!r}"
            ) from None
        if not isinstance(here, dict | list):
            raise ConfigError(f"--{name}: {'.'.join(tables[: i + 1])} is a value, not a table")
    if isinstance(here, list):
        raise ConfigError(f"--{name}: name a field of one item, such as --{'.'.join(tables)}.0.FIELD")
    here[last] = value


def _explain(error: ValidationError, schema: type[BaseModel]) -> str:
    # A tuple with a bad item is also reported as too short.
    problems = [e for e in error.errors() if e["type"] != "too_short"] or error.errors()
    problem = problems[0]
    name = ".".join(str(part) for part in _plain(problem["loc"]))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if problem["type"] == "extra_forbidden" and name in RENAMED:
        return f"unknown key {name}: it is {RENAMED[name]} now{more}"
    if problem["type"] == "extra_forbidden":
        known = _fields_at(problem["loc"][:-1], schema)
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        # A key that is right elsewhere is the other common slip.
        elsewhere = [n for n, _ in describe(schema) if n.split(".")[-1] == str(problem["loc"][-1])]
        if not near and elsewhere and elsewhere[0] != name:
            hint = f"did you mean {elsewhere[0]}?"
        return f"unknown key {name}: {hint}{more}"
    if problem["type"] == "union_tag_invalid":
        return f"{name}.kind: input should be one of {problem['ctx']['expected_tags']}, but it is {problem['ctx']['tag']!r}{more}"
    message = problem["msg"].removeprefix("Value error, ")
    given = problem.get("input")
    shown = "" if isinstance(given, dict) else f", but it is {given!r}"
    return f"{name}{': ' if name else ''}{message[0].lower()}{message[1:]}{shown}{more}"


def _models(field: FieldInfo) -> list[type[BaseModel]]:
    """The tables that a field can hold: itself, as the items of a tuple, or as one of several kinds."""
    kind = field.annotation
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]


def _plain(location: tuple) -> tuple:
    """An error's location without the tags of unions, which are no keys."""
    return tuple(part for i, part in enumerate(location) if i == 0 or location[i - 1] not in TAGGED)


def _fields_at(location: tuple, schema: type[BaseModel]) -> list[str]:
    models: list[type[BaseModel]] = [schema]
    for i, part in enumerate(location):
        if i and location[i - 1] in TAGGED:
            models = [model for model in models if model.model_fields["kind"].default == part]
        elif isinstance(part, str):
            models = _models(models[0].model_fields[part]) or models
    return list(models[0].model_fields)


def describe(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every key of the schema with its default and description, for ``--help``."""
    for name, field in model.model_fields.items():
        tables = _models(field)
        if not tables:
            default = field.get_default()
            shown = (
                "required"
                if field.is_required()
                else "none"
                if default is None
                else json.dumps(default, default=str)
            )
            yield f"{prefix}{name}", f"{field.description} [{shown}]"
        else:
            item = ".0" if get_origin(field.annotation) is tuple else ""
            for table in tables:
                # One key, as many lines as kinds have it.
                of = f"{table.model_fields['kind'].default}: " if len(tables) > 1 else ""
                yield from ((key, of + text) for key, text in describe(table, f"{prefix}{name}{item}."))


def new_folder(path: Path) -> None:
    """Create the folder of a run and make sure it can be written to.

    **Raises:** `ConfigError`.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the output folder {path} cannot be created: {error.strerror}") from error
    if not os.access(path, os.W_OK):
        raise ConfigError(f"the output folder {path} cannot be written to: choose another with --out")
