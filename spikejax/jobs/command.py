"""A command of the command line: a class whose declared fields are its options.

```
@COMMANDS.register("plot")
class Plot(AbstractCommand):
    summary = "draw the figures of a run again"
    example = "spikejax plot runs/braille"
    run: Path = option(doc="folder of the run")

    def execute(self, overrides): ...
```
A field without a default is a positional argument, the others are options ``--name``; type, default, range
and help text are those of the field (`spikejax.component.option`). What the parser does not know, ``--any.key
VALUE``, is handed to `execute`.
"""

import abc
import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Union, get_args, get_origin

from ..component import Component, declarations, option
from ..configuration import Config, describe
from ..registry import Registry
from ..training import distributed

COMMANDS: Registry["AbstractCommand"] = Registry("command")

Overrides = Sequence[tuple[str, str]]
"""Keys of the configuration with their values as text."""
METAVARS = {int: "N", float: "X", Path: "PATH", str: "TEXT"}


class AbstractCommand(Component):
    """What one command of the command line does."""

    summary: ClassVar[str]
    """In a few words, for the list of commands."""
    example: ClassVar[str]
    """A call, for the help text."""
    after_interrupt: ClassVar[str] = ""
    """What to say of Ctrl-C beside that what was written stays."""

    compile_cache: bool = option(
        True, doc="keep compiled programs in the user's cache folder, so that the next start is fast"
    )

    @abc.abstractmethod
    def execute(self, overrides: Overrides) -> None:
        """Do it, and print what came of it.

        **Raises:** `ConfigError` for input that cannot be used.
        """

    @classmethod
    def keys(cls) -> str:
        """The keys of the configuration that the command takes, for its help text."""
        return (
            "keys of the configuration, with [defaults]; --network.layers.1... is the second layer:\n"
            + listed_keys(describe(Config))
        )


class AbstractProcessCommand(AbstractCommand):
    """A command that several processes can run together (docs/many_machines.md)."""

    distributed: bool = option(
        False, doc="one of several processes, started by Slurm, Open MPI or on a TPU pod"
    )
    coordinator: str | None = option(
        None, doc="one of several processes, started by hand: HOST:PORT of the first"
    )
    processes: int | None = option(None, doc="number of processes")
    process: int | None = option(None, doc="number of this process, from 0")

    def join(self) -> None:
        """Become one of several processes, if that is asked for.

        **Raises:** `ValueError` if the others cannot be found.
        """
        given = (self.coordinator, self.processes, self.process)
        if self.distributed or any(x is not None for x in given):
            distributed.join(*given)


def announce(*lines: object) -> None:
    """Print lines, from the first of several processes."""
    if distributed.leads():
        print(*lines, sep="\n", flush=True)


def listed_keys(keys: Iterable[tuple[str, str]]) -> str:
    """Lines of a help text for pairs of a key and what it is."""
    return "\n".join(f"  --{name}\n      {text}" for name, text in keys)


def add_options(parser: argparse.ArgumentParser, command: type[AbstractCommand]) -> None:
    """Give `parser` the options that the fields of a command declare. What is not given is left out of the
    parsed arguments: the defaults are those of the fields."""
    fields, declared = {field.name: field for field in dataclasses.fields(command)}, declarations(command)
    # Those of the command itself before those that it has from others.
    names = [
        name for base in command.__mro__ for name in vars(base).get("__annotations__", ()) if name in declared
    ]
    usage = parser.prog
    for name in dict.fromkeys(names):
        kind, several = _value_type(fields[name].type)
        default, text = fields[name].default, declared[name].text.replace("%", "%%")
        if default is dataclasses.MISSING:
            parser.add_argument(name, metavar=name.upper(), type=kind, help=text)
            usage += f" {name.upper()}"
            continue
        settings: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
        if kind is bool:
            settings["action"] = argparse.BooleanOptionalAction if default else "store_true"
        else:
            settings |= {"type": kind, "metavar": METAVARS[kind], "nargs": "+" if several else None}
            if default is not None:
                text += f" [{' '.join(map(str, default)) if several else default}]"
        dashed = name.replace("_", "-")
        parser.add_argument(f"--{dashed}", help=text, **settings)
        if dashed != name:  # underscores, as in the keys of a configuration, are right too
            parser.add_argument(f"--{name}", help=argparse.SUPPRESS, **settings)
    parser.usage = f"{usage} [options] [--any.key VALUE ...]"


def _value_type(hint: Any) -> tuple[type, bool]:
    """The type of one value of a field, and whether it holds several of them."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (one for one in get_args(hint) if one is not NoneType)
    if get_origin(hint) is tuple:
        return get_args(hint)[0], True
    return hint, False


__all__ = [
    "COMMANDS",
    "AbstractCommand",
    "AbstractProcessCommand",
    "Overrides",
    "add_options",
    "announce",
    "listed_keys",
]
