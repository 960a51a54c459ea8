"""What can be read out of a population, and when."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


def decode(
    activity: Float[np.ndarray, "trials time n"],
    label: Int[np.ndarray, " trials"],
    *,
    ridge: float = 1e-2,
    folds: int = 5,
    train_at: int | None = None,
) -> Float[np.ndarray, " time"]:
    """Cross-validated accuracy of a linear decoder of `label` at every time.

    The decoder is the ridge regression of the one-hot labels on the activity, refitted at every time, or
    fitted at the time with the index `train_at` and used at all: a code that stays the same keeps its
    accuracy.

    **Arguments:** `ridge`: relative to the mean square of the activity; `folds`: each trial is decoded by
    a decoder that was not fitted to it.

    **Returns:** fraction of trials decoded correctly, ``(time,)``.

    **Raises:** `ValueError` with fewer trials than folds.
    """
    trials, steps = activity.shape[:2]
    if trials < folds:
        raise ValueError(f"there are {trials} trials for {folds} folds: give more trials or fewer folds")
    classes = np.unique(label)
    target = (label[:, None] == classes).astype(float)
    fold = np.random.default_rng(0).permutation(trials) % folds

    def right(f: int) -> Float[np.ndarray, " time"]:
        """How many trials of a fold are decoded correctly."""
        kept, held = fold != f, fold == f
        frozen = None if train_at is None else _Decoder.fit(activity[kept, train_at], target[kept], ridge)
        count = np.zeros(steps)
        for t in range(steps):
            decoder = frozen or _Decoder.fit(activity[kept, t], target[kept], ridge)
            guess = classes[np.argmax(decoder(activity[held, t]), axis=1)]
            count[t] = np.sum(guess == label[held])
        return count

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.sum(list(pool.map(right, range(folds))), axis=0) / trials


class _Decoder(NamedTuple):
    """The linear map ``(x - mean) w + offset``."""

    mean: Float[np.ndarray, " n"]
    weight: Float[np.ndarray, "n classes"]
    offset: Float[np.ndarray, " classes"]

    @classmethod
    def fit(
        cls, x: Float[np.ndarray, "trials n"], target: Float[np.ndarray, "trials classes"], ridge: float
    ) -> "_Decoder":
        """The ridge regression of the target on x."""
        mean, offset = x.mean(axis=0), target.mean(axis=0)
        x = x - mean
        square = x.T @ x
        penalty = ridge * max(np.trace(square) / len(square), 1e-12)
        weight = np.linalg.solve(square + penalty * np.eye(len(square)), x.T @ (target - offset))
        return cls(mean, weight, offset)

    def __call__(self, x: Float[np.ndarray, "trials n"]) -> Float[np.ndarray, "trials classes"]:
        return (x - self.mean) @ self.weight + self.offset


__all__ = ["decode"]
