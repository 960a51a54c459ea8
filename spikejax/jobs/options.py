"""Options that several commands share."""

from ..component import Component, option
from ..errors import check_extra, input_errors
from ..training.log import LOGGERS, MakeLogger

FORMATS = ("png", "pdf", "svg")
"""Of figures: pictures of dots, and two vector formats."""


class FigureOptions(Component):
    """How figures are written."""

    format: tuple[str, ...] = option(
        ("png",),
        doc=f"formats of the figures: one or several of {', '.join(FORMATS)}",
        length=(1, None),
    )

    def __check_init__(self):
        for name in self.format:
            if name not in FORMATS:
                raise ValueError(f"--format is {name!r}, but must be one of {', '.join(FORMATS)}")


class LogOptions(Component):
    """Where metrics go beside ``metrics.jsonl``."""

    log: tuple[str, ...] | None = option(
        None, doc="loggers beside metrics.jsonl, such as tensorboard", length=(1, None)
    )

    def loggers(self) -> tuple[MakeLogger, ...]:
        """What makes the loggers of a run.

        **Raises:** `ConfigError` for a logger that there is not, and for one whose extra is not installed.
        """
        with input_errors():
            found = tuple(LOGGERS.find(name) for name in self.log or ())
        for name, kind in zip(self.log or (), found, strict=True):
            needs = getattr(kind, "needs", None)
            if needs is not None:
                package, extra = needs
                check_extra(package, extra, f"--log {name}")
        return found


__all__ = ["FORMATS", "FigureOptions", "LogOptions"]
