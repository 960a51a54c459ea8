"""Trajectories in the space of a population's activity."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Components(NamedTuple):
    """Principal components of a population's activity."""

    trajectories: Float[np.ndarray, "trials time k"]
    """The activity, projected."""
    directions: Float[np.ndarray, "k n"]
    explained: Float[np.ndarray, " k"]
    """Fraction of the variance along each direction."""


def principal_components(
    activity: Float[np.ndarray, "trials time n"], k: int = 3, mask: np.ndarray | None = None
) -> Components:
    """Principal components of the states of all trials and times (where `mask`, ``(trials, time)``, is
    True)."""
    states = activity.reshape(-1, activity.shape[-1]) if mask is None else activity[mask]
    mean = states.mean(axis=0)
    _, size, directions = np.linalg.svd(states - mean, full_matrices=False)
    directions = directions[:k]
    # The sign of a direction is arbitrary: its largest entry is made positive, so that figures do not flip.
    directions = (
        directions
        * np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)])[:, None]
    )
    return Components((activity - mean) @ directions.T, directions, size[:k] ** 2 / np.sum(size**2))


__all__ = ["Components", "principal_components"]
