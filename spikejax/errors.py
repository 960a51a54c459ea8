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


def in_one_line(error: Exception) -> str:
    """The message of an error: a value in it may have lines of its own, or thousands of digits."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} [...] {text[-LONGEST // 2 :]}"


__all__ = ["ConfigError", "check_extra", "in_one_line", "input_errors"]
