"""Loss and gradient of a contestant beside those of the base."""

from typing import NamedTuple

import numpy as np

LOSS, GRADIENT = 1e-5, 1e-2
"""Relative differences up to which two are the same: of the loss, and of the gradient of a weight by its
norm. A spike that rounding moves by a step, of which there are a few in long trials, is allowed for."""
LONG, MOVED = 5000, 1e-4
"""In trials of more steps than this, single precision moves spikes whoever computes: of the loop by hand a
decay that is 2e-7 off changes the loss by 3e-5, the gradient by 7e-3. There the loss may differ by more."""


class Difference(NamedTuple):
    """How far a contestant is from the base."""

    loss: float
    """Relative."""
    gradient: float
    """Norm of the difference by the norm, of the weight where that is largest."""

    def same(self, steps: int = 0) -> bool:
        """Whether both are those of the same model, of trials of so many steps."""
        return self.loss <= (MOVED if steps > LONG else LOSS) and self.gradient <= GRADIENT


def difference(
    loss: float, gradients: dict[str, np.ndarray], true_loss: float, true: dict[str, np.ndarray]
) -> Difference:
    """The difference of a loss and the gradients of all weights from the true ones.

    **Raises:** `ValueError` unless there is a gradient of the right shape for every weight.
    """
    shapes = [{name: g.shape for name, g in found.items()} for found in (gradients, true)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"gradients of the shapes {shapes[0]}, where they are {shapes[1]}")
    apart = [np.linalg.norm(gradients[name] - g) / np.linalg.norm(g) for name, g in true.items()]
    return Difference(abs(loss - true_loss) / abs(true_loss), float(max(apart)))


__all__ = ["Difference", "difference"]
