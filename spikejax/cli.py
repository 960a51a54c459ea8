"""The command line: ``spikejax COMMAND ...``; the commands are those in `spikejax.jobs.command.COMMANDS`.

argparse reads the options that a command's fields declare; the keys of the configuration are checked by the
schema that also checks the files, so that a wrong key gets the same one-line answer in both places.
"""

import argparse
import contextlib
import errno
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from . import __version__
from .configuration.load import import_plugins, read
from .errors import ConfigError, in_one_line, input_errors, said_by_program
from .fitting import command as _fit  # noqa: F401 (registers the command)
from .jobs import commands as _jobs  # noqa: F401 (registers the commands)
from .jobs.cache import use_compile_cache
from .jobs.command import COMMANDS, AbstractCommand, add_options
from .jobs.memory import out_of_memory
from .starting import INTERRUPTED, stop_ending
from .training import Interrupted, TrainingStopped
from .training.checkpoint import CheckpointError

BAD_INPUT = 2
"""Exit code for input that cannot be used, and for training that stopped early."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk, or a user's share of it, that is full."""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    keys: Callable[[], str] | None = None
    """Lists the keys of the configuration: they are many, and only the help text has them."""

    def error(self, message):
        self.exit(BAD_INPUT, f"spikejax: {message}; see spikejax --help\n")

    def format_help(self):
        self.epilog = None if self.keys is None else self.keys()
        return super().format_help()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="spikejax", description="Train spiking neural networks by exact gradients.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=__version__)
    listed = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, kind in sorted(COMMANDS.items()):
        text = kind.summary
        sub = listed.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.\n\nexample:\n  {kind.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.keys = kind.keys
        add_options(sub, kind)
    return parser


def key_values(words: list[str]) -> list[tuple[str, str]]:
    """``--a.b VALUE`` and ``--a.b=VALUE`` as pairs.

    **Raises:** `ConfigError` for words that are neither.
    """
    pairs, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ConfigError(f"unexpected argument {word!r}: options are written --key VALUE")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not rest:
                raise ConfigError(f"--{name} has no value")
            value = rest.pop(0)
        pairs.append((name, value))
    return pairs


def _command(kind: type[AbstractCommand], args: argparse.Namespace) -> AbstractCommand:
    """The command with its options, which are checked."""
    given = {name: value for name, value in vars(args).items() if name != "command"}
    options: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in given.items()}
    with input_errors():
        return kind(**options)


def _import_plugins_for_help(words: list[str]) -> None:
    """Import the plugins of the configuration that a call for help names, so that their keys are listed too.

    **Raises:** `ConfigError`.
    """
    if not {"-h", "--help"} & set(words):
        return
    for word in words[1:]:
        path = Path(word)
        if path.suffix == ".toml" or (path / "config.toml").exists():
            import_plugins(read(path).get("plugins", ()), word)


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, 2 for bad input and for training that stopped early, or 130
    after Ctrl-C."""
    kind: type[AbstractCommand] | None = None
    with _lines_for_warnings():
        try:
            stop_ending()
            _import_plugins_for_help(sys.argv[1:] if argv is None else argv)
            args, rest = _parser().parse_known_args(argv)
            kind = COMMANDS.find(args.command)
            command = _command(kind, args)
            use_compile_cache(command.compile_cache)
            command.execute(key_values(rest))
        except (Exception, KeyboardInterrupt) as error:
            line = _line(error, "" if kind is None else kind.after_interrupt)
            if line is None:
                raise
            print(f"spikejax: {line}", file=sys.stderr)
            return INTERRUPTED if isinstance(error, Interrupted | KeyboardInterrupt) else BAD_INPUT
    return 0


def _line(error: BaseException, after_interrupt: str) -> str | None:
    """What is said of an error that whoever gave the command can do something about; None for another one."""
    if isinstance(error, ConfigError | CheckpointError | TrainingStopped):
        return in_one_line(error)
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted; what was written stays{after_interrupt}"
    if isinstance(error, MemoryError | jax.errors.JaxRuntimeError):
        return out_of_memory(error)
    if isinstance(error, RuntimeError | AssertionError):
        return said_by_program(error) or _no_such_platform()
    if not isinstance(error, OSError):
        return None
    line = f"{error.filename or 'file'}: {error.strerror or error}"
    if error.errno in FULL:
        line += "; what was written stays whole: make room, and go on from there" + after_interrupt
    return line


def _no_such_platform() -> str | None:
    """What is said where JAX was told to use a device that it cannot use here; None if it can."""
    wanted = os.environ.get("JAX_PLATFORMS")
    try:
        jax.devices()
    except Exception:
        extras = " or ".join(f"pip install 'spikejax[{extra}]'" for extra in ("cuda", "tpu"))
        return f"JAX_PLATFORMS is {wanted}, which JAX cannot use here: {extras}, or unset it"
    return None


@contextlib.contextmanager
def _lines_for_warnings() -> Iterator[None]:
    """A context in which a warning is one line, without the place in the code."""

    def show(message, category, filename, lineno, file=None, line=None):
        print(f"spikejax: warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


__all__ = ["BAD_INPUT", "key_values", "main"]

if __name__ == "__main__":
    sys.exit(main())
