"""Reading Braille letters with an artificial fingertip: real recordings, shipped with the package."""

import functools
from importlib import resources
from pathlib import Path
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

from ..component import option
from ..encoders import delta_modulation, hold, steps_held
from ..reading import FileError, arrays_of, class_numbers
from .base import TASKS
from .options import drop_option, fraction_option, seed_option, shift_option
from .read_recordings import AbstractReadRecordings
from .splits import stratified

PERIOD = 25.0
"""Sampling period of the recordings, ms (40 Hz)."""
FULL = 255.0
"""Reading of a taxel that nothing presses."""
TAXELS = (1, 2, 6, 10)
"""The four of twelve taxels that carry signal."""


def load(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Pressure ``255 - x`` of the active taxels, ``(trials, 76, 4)``, the class of each trial, and the names
    of the classes.

    **Raises:** `ValueError` naming file and array if it cannot be read, is empty, or holds pressures outside
    0 to 255 or unknown classes.
    """
    advice = "task.folder is of Braille recordings, .npz files with x, y and letters"
    with arrays_of(path, advice) as file:
        x, y, letters = file.numbers("x", 3), file.get("y", 1), file.text("letters")
    if 0 in x.shape or len(x) != len(y):
        raise FileError(
            f"{path}: x has shape {x.shape} and y {y.shape}; expected (trials, time, 12) and (trials,), "
            "not empty"
        )
    if x.shape[2] <= max(TAXELS):
        raise FileError(f"{path}: x has {x.shape[2]} channels, expected 12 taxels")
    if x.min() < 0 or x.max() > FULL:
        raise FileError(f"{path}: x goes from {x.min():g} to {x.max():g}, but a taxel from 0 to {FULL:g}")
    return FULL - x[:, :, list(TAXELS)].astype(float), class_numbers(f"{path}: y", y, len(letters)), letters


def encode(pressure: np.ndarray, thresholds: tuple[float, ...], clock: float, dt: float) -> np.ndarray:
    """Delta-modulated spikes, ``(trials, time, 2 taxels x thresholds)``; each lasts one tick of the
    modulator's `clock` (ms), at any dt."""
    signal = hold(pressure, PERIOD, clock)
    events = np.concatenate([delta_modulation(signal, threshold) for threshold in thresholds], axis=-1)
    return hold(events, clock, dt)


class _Data(NamedTuple):
    stimuli: dict[str, UInt8[Array, "trials time channels"]]
    targets: dict[str, Int[Array, " trials"]]
    labels: tuple[str, ...]
    lengths: None = None
    """All trials are equally long."""


@TASKS.register("braille")
class Braille(AbstractReadRecordings):
    """Braille letters read by an artificial fingertip: 27 classes, real recordings shipped with the package.

    32 spike channels, 1.9 s.

    **Arguments:** `dt` (ms), a divisor of `clock`; `thresholds` of the delta modulation, in taxel units;
    `clock`: its period (ms), a divisor of 25; `validation`: fraction of every class taken out of the training
    trials; `drop`: probability that a spike is deleted in training; `shift`: largest shift of a whole
    training trial in time, ms; `folder`: another place for ``braille_train.npz`` and ``braille_test.npz``;
    `seed`: of the validation split.

    **Raises:** `ValueError` for periods that do not divide each other; when trials are first asked for, for
    files that cannot be used (`load`).

    **Reference:** Mueller-Cleve et al. 2022, arXiv:2205.15864; data CC BY 4.0, doi:10.5281/zenodo.6556273.
    """

    target: ClassVar[str] = "class"
    form: ClassVar[str] = "dense"

    dt: float = option(unit="ms", doc="time step", above=0.0, in_table=False, kw_only=False)
    thresholds: tuple[float, ...] = option(
        (1.0, 2.0, 5.0, 10.0),
        unit="taxel units",
        doc="steps of the delta modulation",
        above=0.0,
        length=(1, None),
    )
    clock: float = option(
        12.5, unit="ms", doc="period of the delta modulation; dt divides it, and it divides 25", above=0.0
    )
    validation: float = fraction_option(0.1, "fraction of the training trials held out")
    drop: float = drop_option("an input spike")
    shift: float = shift_option()
    folder: Path | None = option(
        None, doc="folder with other braille_train.npz and braille_test.npz", staged=False
    )
    seed: int = seed_option()

    def __check_init__(self):
        super().__check_init__()
        steps_held(PERIOD, self.clock)  # whether one divides the other
        steps_held(self.clock, self.dt)

    @property
    def _data(self) -> _Data:
        folder = Path(str(resources.files("spikejax.tasks") / "data")) if self.folder is None else self.folder
        paths = folder / "braille_train.npz", folder / "braille_test.npz"
        changed = tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)
        return _encoded(paths, changed, self.thresholds, self.clock, self.dt, self.validation, self.seed)


@functools.lru_cache(maxsize=4)
def _encoded(
    paths: tuple[Path, Path],
    changed: tuple[int, ...],
    thresholds: tuple[float, ...],
    clock: float,
    dt: float,
    validation: float,
    seed: int,
) -> _Data:
    """The recordings as spikes, by split: read once, and again when a file has changed."""
    del changed  # part of what is remembered
    x, y, letters = load(paths[0])
    x_test, y_test, test_letters = load(paths[1])
    if letters != test_letters:
        raise ValueError(f"{paths[0].parent}: the training and test recordings name different letters")
    kept, held = stratified(y, validation, seed)
    parts = {"train": (x[kept], y[kept]), "validation": (x[held], y[held]), "test": (x_test, y_test)}
    stimuli = {name: jnp.asarray(encode(x, thresholds, clock, dt)) for name, (x, _) in parts.items()}
    return _Data(stimuli, {name: jnp.asarray(y) for name, (_, y) in parts.items()}, letters)


__all__ = ["PERIOD", "TAXELS", "Braille", "encode", "load"]
