"""From recorded signals to spikes."""

import numpy as np
from jaxtyping import Float, UInt8


def delta_modulation(signal: Float[np.ndarray, "trials time channels"], threshold: float) -> UInt8[np.ndarray, "trials time events"]:
    """Spikes where a signal has moved by `threshold` since the last spike of its channel (send-on-delta).

    A reference follows the signal: ``ON`` when ``signal - reference >= threshold``, ``OFF`` when ``<= -threshold``; the reference then moves by as
    many whole thresholds as the signal has. The first sample is the first reference.

    **Arguments:** `signal`; `threshold` in its units, above 0.

    **Returns:** 0 or 1, ``(trials, time, 2 channels)``: ON channels first, then OFF.
    """
    if not threshold > 0:
        raise ValueError(f"`threshold` is {threshold}: give a step above 0")
    reference = signal[:, 0].astype(float)
    events = np.zeros((*signal.shape[:2], 2 * signal.shape[2]), np.uint8)
    for t in range(1, signal.shape[1]):
        steps = np.trunc((signal[:, t] - reference) / threshold)
        reference += steps * threshold
        events[:, t] = np.concatenate([steps > 0, steps < 0], axis=-1)
    return events


def samples_to_steps(events: UInt8[np.ndarray, "trials samples channels"], period: float, dt: float) -> UInt8[np.ndarray, "trials time channels"]:
    """Hold every sample of `period` ms for ``period/dt`` steps, so that a spike drives the network for `period` ms at any dt.

    **Raises:** `ValueError` if dt does not divide the period.
    """
    repeat = round(period / dt)
    if repeat < 1 or abs(repeat * dt - period) > 1e-6 * period:
        raise ValueError(f"`dt` of {dt:g} ms does not divide the data's sampling period of {period:g} ms: use {period:g}/n ms")
    return np.repeat(events, repeat, axis=1)


__all__ = ["delta_modulation", "samples_to_steps"]
