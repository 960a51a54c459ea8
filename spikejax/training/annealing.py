"""Annealing: how sharp the gate is at every update."""

import abc
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from ..component import Component, option, part
from ..registry import Registry

SCHEDULES: Registry["AbstractSchedule"] = Registry("schedule")
"""The schedules of the sharpness that a configuration can name."""

PerLayer = float | tuple[float, ...]
"""One value, or one for every layer of the network."""
Values = Float[np.ndarray, "*layers"]


class AbstractSchedule(Component):
    """How the sharpness goes from one value to another. What all of them share is in `Annealing`."""

    by_time: ClassVar[bool] = True
    """Whether it takes the same way whatever the loss does, so that updates can be drawn along that way."""

    @property
    def plateau(self) -> "Plateau | None":
        """What counts as a plateau of the loss; None: nothing does."""
        return None

    @abc.abstractmethod
    def at(self, start: Values, end: Values, x: Values, level: int) -> Values:
        """The sharpness.

        **Arguments:** `start`, `end`: first and last sharpness; `x`: part of the way that is over, in [0, 1];
        `level`: how often the loss has stopped falling in this stage.
        """

    def check(self, start: Values, end: Values | None) -> None:
        """Raise `ValueError` if it cannot go from `start` to `end` (None: no end is given)."""


@SCHEDULES.register("constant")
class Constant(AbstractSchedule):
    """``a = start``."""

    by_time: ClassVar[bool] = False

    def at(self, start, end, x, level):
        del end, x, level
        return start

    def check(self, start, end):
        del start
        if end is not None:
            raise ValueError("a constant `schedule` stays at `sharpness`: leave out `sharpness_end`")


@SCHEDULES.register("linear")
class Linear(AbstractSchedule):
    """``a = start + (end - start) x``."""

    def at(self, start, end, x, level):
        del level
        return start + (end - start) * x


@SCHEDULES.register("geometric")
class Geometric(AbstractSchedule):
    """``a = start (end/start)^x``."""

    def at(self, start, end, x, level):
        del level
        return start * (end / start) ** x


@SCHEDULES.register("plateau")
class Plateau(AbstractSchedule):
    """``a = min(start factor^level, end)``, level being how often the training loss has stopped falling.

    The loss is averaged over windows of `patience` updates. A window that is not lower than the lowest one
    since the last rise by the fraction `tolerance` makes the gate sharper by `factor`; the next window is
    then the first to compare with, because a sharper gate has another loss.
    """

    by_time: ClassVar[bool] = False

    patience: int = option(
        20, doc="updates over which the loss is averaged, to be compared with those before", at_least=1.0
    )
    tolerance: float = option(
        0.02, doc="by what fraction it has to fall, or else the gate gets sharper", at_least=0.0, at_most=1.0
    )
    factor: float = option(1.25, doc="by which it then gets sharper", above=1.0)

    @property
    def plateau(self):
        return self

    def at(self, start, end, x, level):
        del x
        return np.minimum(start * self.factor**level, end)

    def check(self, start, end):
        if end is None:
            raise ValueError("a plateau `schedule` sharpens up to `sharpness_end`: set it")
        if np.any(end < start):
            raise ValueError(
                "a plateau `schedule` only sharpens: `sharpness_end` must not be below `sharpness`"
            )


class Annealing(Component):
    """The sharpness of the gate over a stage of training, from `sharpness` to `sharpness_end`.

    With `part` the fraction of the stage's updates that is over, a `schedule` has gone
    ```
    x = (part - hold)/(anneal - hold), clipped to [0, 1]
    ```
    of its way. `sharpness`, `sharpness_end`, `hold` and `anneal` are numbers, or have one value for every
    layer of the network. Without `sharpness_end` the gate stays as it is.

    **Arguments:** `mixture`: fractions of the updates that are made at the first and at the annealed
    sharpness; the others are drawn from the way between. None: all are made at the annealed one.

    **Raises:** `ValueError` for a hold that is not below anneal, numbers of values that differ, a mixture
    that cannot be drawn, and what the schedule refuses.
    """

    sharpness: PerLayer = option(
        1.0, doc="sharpness at the start of training; a list: one a layer", above=0.0, length=(1, None)
    )
    sharpness_end: PerLayer | None = option(
        None,
        doc="sharpness at the end of annealing; a list: one a layer; default: no annealing",
        above=0.0,
        length=(1, None),
    )
    schedule: AbstractSchedule = part(
        SCHEDULES,
        "geometric",
        doc="how the sharpness goes from one to the other; plateau: whenever the loss stops falling",
    )
    hold: PerLayer = option(
        0.0,
        doc="fraction of training at the first sharpness, before annealing; a list: one a layer",
        at_least=0.0,
        below=1.0,
        length=(1, None),
    )
    anneal: PerLayer = option(
        1.0,
        doc="fraction of training at which the last sharpness is reached; a list: one a layer",
        above=0.0,
        at_most=1.0,
        length=(1, None),
    )
    mixture: tuple[float, float] | None = option(
        None,
        doc="fractions of the updates at the first and at the annealed sharpness, the others log-uniform "
        "between; default: [0, 1]",
        at_least=0.0,
        at_most=1.0,
        length=(2, 2),
    )

    def __check_init__(self):
        super().__check_init__()
        counts = {len(x) for x in self._values if isinstance(x, tuple)}
        if len(counts) > 1:
            raise ValueError(
                "`sharpness`, `sharpness_end`, `hold` and `anneal` have lists of "
                f"{' and '.join(map(str, sorted(counts)))} values: give one value a layer"
            )
        self.schedule.check(self.start, None if self.sharpness_end is None else self.end)
        if np.any(np.asarray(self.hold) >= np.asarray(self.anneal)):
            raise ValueError("`hold` must be below `anneal`: annealing begins before it ends")
        if self.mixture is None:
            return
        if sum(self.mixture) > 1:
            raise ValueError(
                f"`mixture` is {list(self.mixture)}, but must be two fractions whose sum is at most 1"
            )
        if self.sharpness_end is None:
            raise ValueError("`mixture` draws between `sharpness` and `sharpness_end`: set `sharpness_end`")
        if not self.schedule.by_time:
            raise ValueError(
                "`mixture` draws up to a sharpness that grows with time: a "
                f"{SCHEDULES.name_of(self.schedule)} `schedule` has none"
            )

    @property
    def _values(self):
        return self.sharpness, self.sharpness_end, self.hold, self.anneal

    @property
    def layers(self) -> int | None:
        """Number of values a layer; None if all are plain numbers."""
        return next((len(x) for x in self._values if isinstance(x, tuple)), None)

    def _spread(self, value: PerLayer | None) -> Values:
        shape = () if self.layers is None else (self.layers,)
        return np.broadcast_to(np.asarray(self.sharpness if value is None else value, float), shape)

    @property
    def start(self) -> Values:
        """The first sharpness."""
        return self._spread(self.sharpness)

    @property
    def end(self) -> Values:
        """The last sharpness."""
        return self._spread(self.sharpness_end)

    @property
    def plateau(self) -> Plateau | None:
        """What counts as a plateau of the loss; None: nothing does."""
        return self.schedule.plateau

    def at(self, step: int, steps: int, *, level: int = 0, stretch: float = 1.0) -> Values:
        """The sharpness at update `step` of `steps`, after `level` plateaus of the loss; `stretch` in [0, 1]
        takes only a part of the way (see `stretch`)."""
        if self.sharpness_end is None:
            return self.start
        # The last value is reached at the last update of the way, not after it.
        first, last = self._spread(self.hold) * steps, np.maximum(self._spread(self.anneal) * steps - 1, 1)
        x = stretch * np.clip((step - first) / np.maximum(last - first, 1), 0, 1)
        return np.asarray(self.schedule.at(self.start, self.end, x, level))

    def stretch(self, draw: float) -> float:
        """The part of the way for one update of the mixture.

        **Arguments:** `draw`: uniform in [0, 1).
        """
        if self.mixture is None:
            return 1.0
        first, last = self.mixture
        return min(max(draw - first, 0.0) / max(1 - first - last, 1e-9), 1.0)


__all__ = ["SCHEDULES", "AbstractSchedule", "Annealing", "Constant", "Geometric", "Linear", "Plateau"]
