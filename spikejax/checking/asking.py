"""How a check is written down: a question, what asks it, and what to do about a no."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..neurons import AbstractNeuron
from .trial import FINER, Motion, Setting

PLACE = "in the neuron's "
"""What a note of an error begins with that says where it was raised."""


class Finding(NamedTuple):
    """The answer to a question."""

    passed: bool
    note: str = ""
    measured: float | None = None
    bound: float | None = None


class Question(NamedTuple):
    """One check of a neuron."""

    name: str
    question: str
    ask: "Callable[[Case], Finding]"
    hint: str
    needs: tuple[str, ...] = ()
    """The checks that must have passed for this one to make sense."""


class Case:
    """A neuron in double precision, the trial it is checked in, and what it did there, found when it is asked
    for."""

    def __init__(self, trial: Setting, sets: tuple[str, ...], idle: tuple[str, ...]):
        self.trial = trial
        self.sets = sets
        """State variables that a spike is meant to set anew."""
        self.idle = idle
        """Parameters that are meant to be without effect."""
        self.searched = False
        """Whether the current was looked for, and not given."""
        self.gradients: dict[str, Any] = {}
        """By adjoint."""
        self.compiled: Callable[..., Any] | None = None
        """All functions of the neuron together."""

    @property
    def neuron(self) -> AbstractNeuron:
        return self.trial.neuron

    @functools.cached_property
    def series(self) -> dict[int, Motion]:
        """What the neurons did, at each of the steps ``dt/finer``."""
        return {finer: self.trial.run(finer) for finer in FINER}

    @functools.cached_property
    def current(self) -> np.ndarray:
        """Of every step of the trial, ``(time, *n)``."""
        return self.trial.currents()[: self.trial.steps]

    def moments(self, spiking: bool, most: int = 12) -> tuple[Any, jax.Array]:
        """States ``(most, ...)`` at the start of steps with or without spikes, and their currents."""
        count = self.series[1].count
        spiked = count.reshape(len(count), -1).any(axis=1)
        found = np.flatnonzero(spiked if spiking else ~spiked)
        found = found[np.linspace(0, len(found) - 1, min(most, len(found))).astype(int)]
        states = jax.tree.map(lambda x: jnp.asarray(x[found]), self.series[1].states)
        return states, jnp.asarray(self.current[found])


@contextlib.contextmanager
def named(what: str) -> Iterator[None]:
    """A context whose errors say where they were raised."""
    try:
        yield
    except Exception as error:
        error.add_note(PLACE + what)
        raise


def within(measured: float, bound: float, note: str = "") -> Finding:
    """What passes if it is a number of at most the bound."""
    return Finding(bool(measured <= bound), note, float(measured), bound)


def apart(found: Any, expected: Any) -> float:
    """Largest difference between two trees of arrays, relative to the largest entry of each expected leaf;
    infinite where shapes differ, or where a number is not finite in one alone."""
    worst = 0.0
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a, float), np.asarray(b, float)
        if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return float("inf")
        if a.size and (finite := np.isfinite(b)).any():
            size = float(np.abs(b[finite]).max())
            worst = max(worst, float(np.abs(a - b)[finite].max()) / (size or 1.0))
    return worst


def finite(tree: Any) -> bool:
    """Whether all numbers of a tree are finite."""
    return all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(tree) if eqx.is_inexact_array(x))


__all__ = ["PLACE", "Case", "Finding", "Question", "apart", "finite", "named", "within"]
