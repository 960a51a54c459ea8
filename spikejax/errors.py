"""Errors that whoever ran a command can put right."""

import contextlib
from collections.abc import Iterator


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


__all__ = ["ConfigError", "input_errors"]
