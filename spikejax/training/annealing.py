"""Annealing: how sharp the gate is at every update."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

Kind = Literal["constant", "linear", "geometric", "plateau"]


class Plateau(NamedTuple):
    """Sharpen whenever the training loss has stopped falling.

    The loss is averaged over windows of `patience` updates. A window that is not lower than the lowest one
    since the last rise by the fraction `tolerance` makes the gate sharper by `factor`; the next window is
    then the first to compare with, because a sharper gate has another loss.
    """

    patience: int
    tolerance: float
    factor: float


class Annealing(NamedTuple):
    """The sharpness of the gate over a stage of training, between `start` and `end`.

    ```
    linear:     a = start + (end - start) x
    geometric:  a = start (end/start)^x,             x = (part - hold)/(until - hold), clipped to [0, 1]
    plateau:    a = min(start factor^level, end)     level: how often the loss has stopped falling (`Plateau`)
    ```
    with `part` the fraction of the stage's updates that is over. `start`, `end`, `hold` and `until` are
    numbers, or have one value for every layer of the network.
    """

    kind: Kind
    start: Float[np.ndarray, "*layers"]
    end: Float[np.ndarray, "*layers"]
    hold: Float[np.ndarray, "*layers"]
    until: Float[np.ndarray, "*layers"]
    plateau: Plateau | None = None

    def at(
        self, step: int, steps: int, *, level: int = 0, stretch: float = 1.0
    ) -> Float[np.ndarray, "*layers"]:
        """The sharpness at update `step` of `steps`; `stretch` in [0, 1] takes only a part of the way
        (linear, geometric)."""
        if self.kind == "constant":
            return np.asarray(self.start)
        if self.kind == "plateau":
            return np.asarray(np.minimum(self.start * self.plateau.factor**level, self.end))
        # The last value is reached at the last update of the stretch, not after it.
        first, last = self.hold * steps, np.maximum(self.until * steps - 1, 1)
        x = stretch * np.clip((step - first) / np.maximum(last - first, 1), 0, 1)
        return np.asarray(
            self.start + (self.end - self.start) * x
            if self.kind == "linear"
            else self.start * (self.end / self.start) ** x
        )


__all__ = ["Annealing", "Kind", "Plateau"]
