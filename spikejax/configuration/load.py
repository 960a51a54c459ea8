"""From TOML and command-line overrides to a checked `Config`, with errors in one line.

In this order: plugins are imported, so that what they register counts; old keys are refused by name; names
and types are checked by the schema; and whatever is quick to make is made once, so that what a class refuses
is known now. A run's folder is read in the same way, after its old keys were given their new names.
"""

import importlib
import json
import os
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ValidationError

from ..errors import ConfigError
from .assemble_parts import try_parts
from .explain import explain
from .fit import FITS, CurrentClampFit, SoundFit
from .fit import RENAMED as FIT_RENAMED
from .schema import Config
from .tables import read as read_table
from .upgrade import old_keys, upgrade

TEXT = ("data.recording", "data.file", "data.test_file")
"""Keys whose values on the command line are text, whatever they look like."""
LARGEST = 1_000_000
"""Bytes of the largest configuration file: none that is written by hand comes near it."""
DEEPEST = 50
"""Tables and lists within each other: a configuration has a tenth of them."""
DOTTED = re.compile(r"""(?<![\w.-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){50}""")
"""A key of too many parts, on which the parser spends the square of their number."""
Schema = TypeVar("Schema", bound=BaseModel)


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
    for old, new in old_keys(data, FIT_RENAMED):
        raise ConfigError(f"{path}: {old} is now called {new}")
    return validate(data, str(path), FITS[kind])


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, or of the one in a run's folder with its old keys renamed, unchecked.

    **Raises:** `ConfigError`.
    """
    path = Path(path)
    if path.suffix == ".ckpt" and path.is_file():
        raise ConfigError(
            f"{path} is a checkpoint: name a configuration file (TOML), or the folder of its run"
        )
    run = path.is_dir()
    if run:
        for inner, of in (("points", "a sweep"), ("trials", "a search")):
            if (path / inner).is_dir() and not (path / "config.toml").exists():
                raise ConfigError(f"{path} is the folder of {of}: its runs are in {path / inner}, name one")
        if not (path / "config.toml").exists():
            raise ConfigError(f"{path} is not a run folder: it has no config.toml")
        path = path / "config.toml"
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ConfigError(f"{path} is no configuration: it is larger than {LARGEST} bytes")
        data = parse(content.decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration file {path} (it comes first, then --key VALUE)"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    if not run:
        return data
    return upgrade(data, FIT_RENAMED if data.get("kind") in FITS else None)


def parse(text: str) -> dict[str, Any]:
    """The tables of a text.

    **Raises:** `tomllib.TOMLDecodeError` in one line, also for what the parser itself cannot take: tables
    without end in each other, numbers of thousands of digits.
    """
    deep = f"tables or lists stand more than {DEEPEST} deep in each other"
    if DOTTED.search(text):
        raise tomllib.TOMLDecodeError(deep)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise tomllib.TOMLDecodeError(deep) from None
    except Exception as error:  # what int, float and datetime raise
        reason = (str(error).splitlines() or [""])[0].split(";")[0]
        raise tomllib.TOMLDecodeError(f"a value cannot be read: {reason}") from None
    level: list[Any] = [data]
    for _ in range(DEEPEST):
        level = [x for one in level for x in (one.values() if isinstance(one, dict) else one)]
        level = [x for x in level if isinstance(x, dict | list)]
    if level:
        raise tomllib.TOMLDecodeError(deep)
    return data


def override(data: dict[str, Any], overrides: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """`data` with ``("a.b", text)`` set, the text read as a TOML value, else as a string.

    **Raises:** `ConfigError`.
    """
    for name, text in overrides:
        try:
            found = parse(f"x = {text}")
            # A text with a line of its own would be more than a value.
            value = found["x"] if found.keys() == {"x"} else text
        except tomllib.TOMLDecodeError:
            value = text
        place(data, name, value)
    return data


def check(data: dict[str, Any], source: str = "configuration") -> Config:
    """Validate a nested dictionary.

    **Raises:** `ConfigError` naming the first offending key.
    """
    import_plugins(data.get("plugins", ()), source)
    for old, new in old_keys(data):
        raise ConfigError(f"{source}: {old} is now called {new}")
    config = validate(data, source, Config)
    try:
        for part in config.parts:
            try_parts(part)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error
    return config


def import_plugins(names: Any, source: str) -> None:
    """Import the modules that register a user's own components; those in the current folder are found too.

    **Raises:** `ConfigError` if one cannot be imported.
    """
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return  # which the schema reports
    if names and "" not in sys.path and os.getcwd() not in sys.path:
        # At the end: what is installed comes first.
        sys.path.append(os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever goes wrong in a user's module
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(f"{source}: the plugin {name!r} cannot be imported: {reason}") from error


def validate(data: dict[str, Any], source: str, schema: type[Schema]) -> Schema:
    """`data` as the table that `schema` describes.

    **Raises:** `ConfigError` naming the first offending key.
    """
    try:
        return read_table(schema, data)
    except ValidationError as error:
        raise ConfigError(f"{source}: {explain(error, data, schema)}") from error


def dump(config: BaseModel) -> str:
    """The configuration as TOML, every value written out; a component without keys is its bare word."""
    return tomli_w.dumps(_short(config.model_dump(mode="json", exclude_none=True, exclude_unset=False)))


def _short(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_short(x) for x in tree]
    if not isinstance(tree, dict):
        return tree
    return tree["kind"] if tree.keys() == {"kind"} else {name: _short(x) for name, x in tree.items()}


def place(data: dict[str, Any], name: str, value: Any, source: str = "") -> None:
    """Set ``data["a"]["b"]`` for the name ``a.b`` (list items by number); a component that is a bare word
    becomes a table of that kind.

    **Arguments:** `source`: where the name was given; default: as an option of the command line.

    **Raises:** `ConfigError` where there is no such place.
    """
    source = source or f"--{name}"
    if name.startswith("network.layers.0.") and isinstance(data.get("network", {}), dict):
        # The schema's default is one layer.
        data.setdefault("network", {}).setdefault("layers", [{}])
    *tables, last = name.split(".")
    if len(tables) > DEEPEST:
        raise ConfigError(f"--{name[:60]}...: no key has more than {DEEPEST} parts")
    here: Any = data
    for i, part in enumerate(tables):
        if isinstance(here, list):
            # No more digits than a list has entries: int refuses thousands of them.
            if not (part.isdecimal() and len(part) < 9) or int(part) >= len(here):
                raise ConfigError(
                    f"{source}: {'.'.join(tables[:i])} has {len(here)} item(s), numbered from 0; there is no "
                    f"{part!r}"
                )
            here = here[int(part)]
        else:
            if i and isinstance(here.get(part), str):
                here[part] = {"kind": here[part]}
            elif here.get(part) is True:
                here[part] = {}
            here = here.setdefault(part, {})
        if not isinstance(here, dict | list):
            raise ConfigError(f"{source}: {'.'.join(tables[: i + 1])} is a value, not a table")
    if isinstance(here, list):
        raise ConfigError(f"{source}: name a field of one item, such as --{'.'.join(tables)}.0.FIELD")
    here[last] = value


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


__all__ = [
    "check",
    "dump",
    "import_plugins",
    "load",
    "load_fit",
    "new_folder",
    "override",
    "parse",
    "place",
    "read",
    "validate",
]
