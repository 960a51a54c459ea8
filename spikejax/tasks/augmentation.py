"""Changes of spike recordings in training, and the bins that they are counted in."""

import numpy as np
from jaxtyping import Bool, Float, Int

from ..component import Component, option
from .spike_file import Spikes


class Augmentation(Component):
    """Changes of a training recording, drawn anew each time it is seen.

    In this order: with probability `blend` a recording is mixed with another one of its class, whose spikes
    are moved by the difference of the two mean times and the two mean units, and half of the spikes of each
    are kept at random; time is stretched about 0 by a factor of ``1 +- stretch``; the recording moves by up
    to `shift` ms and by up to `channel_shift` units; every spike moves by normal noise of `jitter` ms; every
    spike is deleted with probability `drop`, and all of them in a band of up to `mask_units` units and in a
    stretch of up to `mask_time` ms. Spikes that leave the window or the range of units are lost.

    **Reference:** Cramer et al. 2020, doi:10.1109/TNNLS.2020.3044364 (jitter, channel noise); Nowotny et al.
    2022, arXiv:2212.01232 (channel shifts, blending); Park et al. 2019, arXiv:1904.08779 (masks).
    """

    blend: float = option(
        0.0,
        doc="probability that a training recording is mixed with another one of its class",
        at_least=0.0,
        at_most=1.0,
    )
    stretch: float = option(
        0.0, doc="largest relative stretch of a training recording in time", at_least=0.0, below=1.0
    )
    shift: float = option(0.0, unit="ms", doc="largest shift of a training recording in time", at_least=0.0)
    channel_shift: int = option(0, doc="largest shift of a training recording along its units", at_least=0.0)
    jitter: float = option(
        0.0, unit="ms", doc="standard deviation of noise on every spike's time in training", at_least=0.0
    )
    drop: float = option(
        0.0, doc="probability that an input spike is deleted in training", at_least=0.0, below=1.0
    )
    mask_units: int = option(
        0, doc="a band of up to so many units is silenced in a training recording", at_least=0.0
    )
    mask_time: float = option(
        0.0, unit="ms", doc="a stretch of up to so long is silenced in a training recording", at_least=0.0
    )

    def augmented(self, spikes: Spikes, shape: tuple[int, int, float], rng: np.random.Generator) -> Spikes:
        """The spikes, changed (blending apart); `shape`: number of recordings, units and the window, ms."""
        size, limit, window = shape
        times, units, row = spikes
        if self.stretch:
            times = times * rng.uniform(1 - self.stretch, 1 + self.stretch, size).astype(np.float32)[row]
        if self.shift:
            times = times + rng.uniform(-self.shift, self.shift, size).astype(np.float32)[row]
        if self.channel_shift:
            units = units + rng.integers(-self.channel_shift, self.channel_shift + 1, size, np.int32)[row]
        if self.jitter:
            times = times + np.float32(self.jitter) * rng.standard_normal(len(times), np.float32)
        kept = rng.random(len(times), np.float32) >= self.drop if self.drop else np.ones(len(times), bool)
        for values, largest, end in ((units, self.mask_units, limit), (times, self.mask_time, window)):
            if largest:
                width = rng.uniform(0, largest, size).astype(np.float32)
                begin = (rng.uniform(0, 1, size) * (end - width)).astype(np.float32)
                kept &= (values < begin[row]) | (values >= (begin + width)[row])
        return Spikes(*(x if kept.all() else x[kept] for x in (times, units, row)))


def blended(
    one: Spikes, other: Spikes, rows: Int[np.ndarray, " mixed"], size: int, rng: np.random.Generator
) -> Spikes:
    """`one`, of `size` rows, with half of the spikes of each of `rows` exchanged for half of those of a row
    of `other`, aligned with it."""
    mixed = np.isin(np.arange(size), rows)
    kept = ~mixed[one.row] | _half(len(one.row), rng)
    new = Spikes(other.times, other.units, rows.astype(np.int32)[other.row])

    def means(spikes, values):
        return np.bincount(spikes.row, values, size) / np.maximum(np.bincount(spikes.row, minlength=size), 1)

    half = _half(len(new.row), rng)
    later, higher = (means(one, a) - means(new, b) for a, b in zip(one[:2], new[:2], strict=True))
    times, units, row = (x[half] for x in new)
    moved = times + later.astype(np.float32)[row], units + np.rint(higher).astype(np.int32)[row], row
    return Spikes(*(np.concatenate([a[kept], b]) for a, b in zip(one, moved, strict=True)))


def _half(count: int, rng: np.random.Generator) -> Bool[np.ndarray, " n"]:
    """True with probability 1/2."""
    return np.unpackbits(np.frombuffer(rng.bytes(count // 8 + 1), np.uint8), count=count).astype(bool)


def binned(
    spikes: Spikes, shape: tuple[int, int, int], width: float, units: int
) -> Float[np.ndarray, "trials bins bands"]:
    """Spike counts: a spike at t is in bin ``floor(t/width)`` of `width` ms, unit u in band ``u //
    (units/bands)``; others are left out."""
    (times, number, row), (_, bins, bands) = spikes, shape
    at = np.floor(times / np.float32(width)).astype(np.int32)
    inside = (at >= 0) & (at < bins) & (number >= 0) & (number < units)
    place = (row[inside].astype(np.int64) * bins + at[inside]) * bands + number[inside] // (units // bands)
    return np.bincount(place, minlength=int(np.prod(shape))).reshape(shape).astype(np.float32)


__all__ = ["Augmentation", "binned", "blended"]
