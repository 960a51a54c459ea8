"""From recorded signals to spikes."""

import numpy as np
from jaxtyping import Float, UInt8

from .stimulus import steps_in


def delta_modulation(
    signal: Float[np.ndarray, "trials time channels"], threshold: float
) -> UInt8[np.ndarray, "trials time events"]:
    """Delta modulation: a spike for every `threshold` that a signal moves.

    A reference follows the signal by one threshold a step: ``ON`` where ``signal - reference >= threshold``,
    ``OFF`` where ``<= -threshold``, and the reference moves by that threshold. A jump of the signal is so
    written as a burst, as long as the jump is high. The first sample is the first reference.

    **Arguments:** `signal`; `threshold` in its units, above 0.

    **Returns:** 0 or 1, ``(trials, time, 2 channels)``: ON channels first, then OFF.
    """
    if not threshold > 0:
        raise ValueError(f"`threshold` is {threshold}: give a step above 0")
    reference = signal[:, 0].astype(float)
    events = np.zeros((*signal.shape[:2], 2 * signal.shape[2]), np.uint8)
    for t in range(1, signal.shape[1]):
        distance = signal[:, t] - reference
        on, off = distance >= threshold, distance <= -threshold
        reference += threshold * (on.astype(float) - off)
        events[:, t] = np.concatenate([on, off], axis=-1)
    return events


def hold(samples: np.ndarray, period: float, step: float) -> np.ndarray:
    """Repeat every sample of `period` ms (axis 1) for ``period/step`` steps of `step` ms.

    **Raises:** `ValueError` if the step does not divide the period.
    """
    return np.repeat(samples, steps_held(period, step), axis=1)


def steps_held(period: float, step: float) -> int:
    """For how many steps of `step` ms a sample of `period` ms is held.

    **Raises:** `ValueError` if the step does not divide the period.
    """
    repeat = round(steps_in(period, step, "the data's period"))
    if repeat < 1 or abs(repeat * step - period) > 1e-6 * period:
        raise ValueError(
            f"a step (`dt`) of {step:g} ms does not divide the data's period of {period:g} ms: "
            f"use {period:g}/n ms"
        )
    return repeat


__all__ = ["delta_modulation", "hold", "steps_held"]
