"""Reading Braille letters with an artificial fingertip: real recordings, shipped with the package."""

from importlib import resources
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from ..encoders import delta_modulation, hold
from .base import Recordings, stratified

PERIOD = 25.0
"""Sampling period of the recordings, ms (40 Hz)."""
TAXELS = (1, 2, 6, 10)
"""The four of twelve taxels that carry signal."""


def load(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Pressure ``255 - x`` of the active taxels, ``(trials, 76, 4)``, the class of each trial, and the names
    of the classes.

    **Raises:** `ValueError` naming the file if it cannot be read, is empty, or holds non-finite values or
    unknown classes.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            x, y, letters = (file[name] for name in ("x", "y", "letters"))
    except Exception as error:  # zipfile, numpy and the file system each raise their own
        raise ValueError(
            f"{path} is not a Braille recording (an .npz file with x, y and letters): {error}"
        ) from error
    if x.ndim != 3 or x.shape[0] == 0 or len(x) != len(y):
        raise ValueError(
            f"{path}: `x` has shape {x.shape} and `y` {y.shape}; expected (trials, time, 12) and (trials,), not empty"
        )
    if x.shape[2] <= max(TAXELS):
        raise ValueError(f"{path}: `x` has {x.shape[2]} channels, expected 12 taxels")
    if not np.isfinite(np.asarray(x, float)).all():
        raise ValueError(f"{path}: `x` holds values that are not finite")
    if y.min() < 0 or y.max() >= len(letters):
        raise ValueError(
            f"{path}: `y` has classes from {y.min()} to {y.max()}, but there are {len(letters)} letters"
        )
    return 255.0 - x[:, :, list(TAXELS)].astype(float), y.astype(np.int32), tuple(map(str, letters))


def encode(pressure: np.ndarray, thresholds: tuple[float, ...], clock: float, dt: float) -> np.ndarray:
    """Delta-modulated spikes, ``(trials, time, 2 taxels x thresholds)``; each lasts one tick of the
    modulator's `clock` (ms), at any dt."""
    signal = hold(pressure, PERIOD, clock)
    events = np.concatenate([delta_modulation(signal, threshold) for threshold in thresholds], axis=-1)
    return hold(events, clock, dt)


def braille(
    dt: float,
    *,
    thresholds: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0),
    clock: float = 12.5,
    validation: float = 0.1,
    drop: float = 0.0,
    shift: float = 0.0,
    folder: Path | None = None,
    seed: int = 0,
) -> Recordings:
    """The Braille task: 27 letters, 32 spike channels, 1.9 s.

    **Arguments:** `dt` (ms), a divisor of `clock`; `thresholds` of the delta modulation, in taxel units;
    `clock`: its period (ms), a divisor of 25; `validation`: fraction of every class taken out of the training
    trials; `drop`, `shift` (ms): augmentation, see `Recordings`; `folder`: another place for
    ``braille_train.npz`` and ``braille_test.npz``; `seed`: of the validation split.

    **Reference:** Mueller-Cleve et al. 2022, arXiv:2205.15864; data CC BY 4.0, doi:10.5281/zenodo.6556273.
    """
    place = resources.files(__package__) / "data" if folder is None else Path(folder)
    x, y, letters = load(Path(str(place / "braille_train.npz")))
    x_test, y_test, test_letters = load(Path(str(place / "braille_test.npz")))
    if letters != test_letters:
        raise ValueError(f"{place}: the training and test recordings name different letters")
    kept, held = stratified(y, validation, seed)
    parts = {"train": (x[kept], y[kept]), "validation": (x[held], y[held]), "test": (x_test, y_test)}
    stimuli = {name: jnp.asarray(encode(x, thresholds, clock, dt)) for name, (x, _) in parts.items()}
    targets = {name: jnp.asarray(y) for name, (_, y) in parts.items()}
    return Recordings(stimuli, targets, labels=letters, drop=drop, shift=round(shift / dt))
