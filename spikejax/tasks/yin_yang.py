"""Yin-Yang: points of a plane, in which of three regions each lies told by spike times."""

import functools
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..component import option
from ..encoders import time_coding
from ..reading import FileError, arrays_of, class_numbers
from .base import TASKS
from .encoded import AbstractEncoded, Encodable
from .options import seed_option, spikes_form_option
from .splits import SPLITS

RADIUS, DOT = 0.5, 0.1
"""Of the circle, around (1/2, 1/2), and of a dot."""


def region(points: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, " n"]:
    """In which region each point (x, y) lies: 0 yin, 1 yang, 2 dot."""
    x, y = points.T
    right, left = np.hypot(x - 0.75, y - 0.5), np.hypot(x - 0.25, y - 0.5)
    dot = (right < DOT) | (left < DOT)
    half = RADIUS / 2
    yang = (right <= DOT) | ((left > DOT) & (left <= half)) | ((y > 0.5) & (right > half))
    return np.where(dot, 2, np.where(yang, 1, 0))


def draw_points(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points ``(count, 4)``, (x, y, 1 - x, 1 - y), and their classes: first a class, each as likely, then
    points of the square until one is in the circle and of that class."""
    wanted = rng.integers(0, 3, count)
    points, left = np.zeros((count, 2)), np.arange(count)
    while len(left):
        drawn = rng.random((len(left), 2))
        inside = np.hypot(*(drawn - 0.5).T) <= RADIUS
        right = inside & (region(drawn) == wanted[left])
        points[left[right]] = drawn[right]
        left = left[~right]
    return np.concatenate([points, 1 - points], axis=1), wanted


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Points ``(n, 4)`` and their classes from an .npz file with x and y.

    **Raises:** `FileError` naming file and array if it cannot be read, is empty, or holds something else.
    """
    with arrays_of(path, "task.folder holds yinyang_train.npz, _validation.npz and _test.npz") as file:
        x, y = file.numbers("x", 2), file.numbers("y", 1)
    if x.shape[1] != 4 or len(x) != len(y) or not len(x):
        raise FileError(
            f"{path}: x has shape {x.shape} and y {y.shape}; expected (points, 4) and (points,), not empty"
        )
    if x.min() < 0 or x.max() > 1:
        raise FileError(f"{path}: x goes from {x.min():g} to {x.max():g}, but a coordinate from 0 to 1")
    return x, class_numbers(f"{path}: y", y, 3)


@TASKS.register("yin_yang")
class YinYang(AbstractEncoded):
    """Tell apart yin, yang and dots: points of a plane as the times of four spikes, and a fifth that is
    always there; drawn, or read from a folder.

    A coordinate x makes a spike at ``early + x (late - early)``; x, y, 1 - x and 1 - y have a channel each.
    The spike of the last channel comes at `bias` in every trial. No straight line parts the regions: a linear
    classifier is right in .64 of the points.

    **Arguments:** `duration` of a trial, `early`, `late`, `bias`, ms; `points`: how many are drawn for
    training, validation and test, by the run's `seed` (the test points are always the same); `folder`: with
    files to take their place, such as the published points: ``yinyang_train.npz``,
    ``yinyang_validation.npz``, ``yinyang_test.npz``, with x ``(n, 4)`` and y ``(n,)``; `form`: whether trials
    are spike times or arrays, with a row for every step of `dt` (ms).

    **Raises:** `ValueError` for spikes that come after the end of the trial; when trials are first asked for,
    for files that cannot be used (`load`).

    **Reference:** Kriener, Goltz & Petrovici 2022, arXiv:2102.08211.
    """

    channels: ClassVar[int] = 5
    labels: ClassVar[tuple[str, ...]] = ("yin", "yang", "dot")

    drop: ClassVar[float] = 0.0

    dt: float = option(1.0, unit="ms", doc="time step", above=0.0, in_table=False)
    duration: float = option(45.0, unit="ms", doc="length of a trial", above=0.0)
    early: float = option(1.0, unit="ms", doc="time of the spike of a coordinate of 0", at_least=0.0)
    late: float = option(16.0, unit="ms", doc="time of the spike of a coordinate of 1", above=0.0)
    bias: float = option(0.0, unit="ms", doc="time of the spike that is always there", at_least=0.0)
    points: tuple[int, ...] = option(
        (5000, 1000, 1000),
        doc="points that are drawn for training, validation and test",
        at_least=1,
        length=(3, 3),
        staged=False,
    )
    folder: Path | None = option(
        None, doc="folder with yinyang_train.npz, yinyang_validation.npz, yinyang_test.npz", staged=False
    )
    form: str = spikes_form_option()
    seed: int = seed_option()

    def __check_init__(self):
        super().__check_init__()
        if self.late <= self.early:
            raise ValueError(f"`late` is {self.late:g} ms, but must come after `early`, {self.early:g} ms")

    @property
    def last(self):
        return max(self.late, self.bias)

    @property
    def channel_label(self) -> str:
        return "coordinate"

    @property
    def _data(self) -> Encodable:
        if self.folder is None:
            return _drawn(self.points, self.seed)
        paths = tuple(self.folder / f"yinyang_{name}.npz" for name in SPLITS)
        return _read(paths, tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths))

    def times(self, numbers):
        return time_coding(numbers, early=self.early, late=self.late, bias=self.bias)


@functools.lru_cache(maxsize=8)
def _drawn(points: tuple[int, ...], seed: int) -> Encodable:
    # The test points know nothing of the seed.
    own = {"train": [seed, 0], "validation": [seed, 1], "test": [0, 2]}
    found = [draw_points(n, np.random.default_rng(own[name])) for name, n in zip(SPLITS, points, strict=True)]
    return _made(found)


@functools.lru_cache(maxsize=4)
def _read(paths: tuple[Path, ...], changed: tuple[int, ...]) -> Encodable:
    del changed  # part of what is remembered
    return _made([load(path) for path in paths])


def _made(parts: list[tuple[np.ndarray, np.ndarray]]) -> Encodable:
    x = {name: jnp.asarray(x, jnp.result_type(float)) for name, (x, _) in zip(SPLITS, parts, strict=True)}
    y = {name: jnp.asarray(y, jnp.int32) for name, (_, y) in zip(SPLITS, parts, strict=True)}
    return Encodable(x, y, YinYang.channels)


__all__ = ["YinYang", "draw_points", "load", "region"]
