"""What tasks on recordings in files have in common."""

import abc
from typing import TYPE_CHECKING, Any

from ..stimulus import steps_in
from .recordings import AbstractRecordings

if TYPE_CHECKING:  # no field of the constructor: a class may have a property in its place
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


class AbstractReadRecordings(AbstractRecordings):
    """Recordings that are read when they are first asked for, with a shift in training in ms."""

    dt: AbstractVar[float]
    """Time step, ms."""
    shift: AbstractVar[float]
    """Largest shift of a training trial in time, ms."""

    def __check_init__(self):
        super().__check_init__()
        steps_in(self.shift, self.dt, "`shift`")

    @property
    @abc.abstractmethod
    def _data(self) -> Any:
        """What was read, with `stimuli`, `targets` and `labels`: the same as long as no file changes."""

    @property
    def stimuli(self):
        return self._data.stimuli

    @property
    def targets(self):
        return self._data.targets

    @property
    def lengths(self):
        return self._data.lengths

    @property
    def labels(self):
        return self._data.labels

    @property
    def shift_steps(self):
        return round(steps_in(self.shift, self.dt, "`shift`"))


__all__ = ["AbstractReadRecordings"]
