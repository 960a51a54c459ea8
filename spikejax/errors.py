"""Errors that whoever ran a command can put right."""

import contextlib
import importlib.util
from collections.abc import Iterator

LONGEST = 1000
"""Characters of the longest message that is shown whole."""


class ConfigError(ValueError):
    """Input that cannot be used: the message is one line that says why and what to do.

    Raised by configuration, jobs and command line only; the library that they use raises `ValueError`.
    """


@contextlib.contextmanager
def input_errors() -> Iterator[None]:
    """A context in which every `ValueError` is about what the user gave: it leaves as a `ConfigError`."""
    try:
        yield
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def check_extra(package: str, extra: str, what: str) -> None:
    """Raise `ConfigError`, which says what to install, unless a package that an extra has is there.

    **Arguments:** `what`: what needs it.
    """
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"{what} needs {package}: pip install 'spikejax[{extra}]'")


def said_by_program(error: BaseException) -> str | None:
    """What a compiled program says of the values in it (`equinox.error_if`), such as a simulator whose room
    for spikes is too small; None for any other error."""
    # The class is not public; the message stands between a traceback and a note on debugging.
    name = "EquinoxRuntimeError"
    if type(error).__name__ != name:
        return None
    said = str(error).partition("\n\n-------------------\n")[0]
    return " ".join(said.rpartition(f"{name}: ")[2].split())


def in_one_line(error: Exception) -> str:
    """The message of an error: a value in it may have lines of its own, or thousands of digits."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} [...] {text[-LONGEST // 2 :]}"


__all__ = ["ConfigError", "check_extra", "in_one_line", "input_errors", "said_by_program"]
