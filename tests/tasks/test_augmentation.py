"""Augmentation of spike recordings: what each change does, and that it does no more."""

import numpy as np

from spikejax.tasks.augmentation import Augmentation, blended
from spikejax.tasks.spike_file import Spikes

SHAPE = 50, 700, 400.0


def spikes(size=50, each=400, seed=0):
    rng = np.random.default_rng(seed)
    n = size * each
    return Spikes(rng.uniform(100, 300, n), rng.integers(100, 500, n), np.repeat(np.arange(size), each))


def test_a_shift_moves_a_recording_as_a_whole():
    one, rng = spikes(), np.random.default_rng(1)
    times, units, row = Augmentation(channel_shift=20, shift=30.0).augmented(one, SHAPE, rng)
    assert np.array_equal(row, one[2])
    for moved, plain, largest in ((units, one[1], 20), (times, one[0], 30.0)):
        by = (moved - plain).reshape(50, -1)
        assert np.allclose(by, by[:, :1])
        assert np.abs(by).max() <= largest
        assert by[:, 0].min() < -largest / 2 < largest / 2 < by[:, 0].max()


def test_stretch_jitter_and_drop():
    one, rng = spikes(), np.random.default_rng(1)
    factor = (Augmentation(stretch=0.2).augmented(one, SHAPE, rng)[0] / one[0]).reshape(50, -1)
    assert np.allclose(factor, factor[:, :1])
    assert 0.8 <= factor.min() < 0.85 < 1.15 < factor.max() <= 1.2
    by = Augmentation(jitter=7.0).augmented(one, SHAPE, rng)[0] - one[0]
    assert abs(by.mean()) < 0.2
    assert abs(by.std() - 7.0) < 0.2
    kept = Augmentation(drop=0.3).augmented(one, SHAPE, rng)
    assert abs(len(kept[0]) / len(one[0]) - 0.7) < 0.02
    assert set(zip(*kept, strict=True)) <= set(zip(*one, strict=True))


def test_masks_silence_a_band_and_a_stretch():
    one = spikes(each=2000)
    for which, largest in (("units", 200), ("times", 150.0)):
        options = {"mask_units": largest} if which == "units" else {"mask_time": largest}
        kept = Augmentation(**options).augmented(one, SHAPE, np.random.default_rng(1))
        values, lost = getattr(one, which), ~np.isin(one.times, kept.times)
        assert lost.any()
        for i in range(50):
            own = values[lost & (one.row == i)]
            if len(own):
                assert np.ptp(own) <= largest
                # Nothing within it is left.
                left = values[~lost & (one.row == i)]
                assert not np.any((left > own.min()) & (left < own.max()))


def test_blending_mixes_halves_about_a_common_mean():
    one, other, rng = spikes(), spikes(seed=5), np.random.default_rng(1)
    other = Spikes(other.times + 150, other.units + 90, other.row)
    mixed = np.arange(50) % 2 == 0
    rows = np.flatnonzero(mixed)
    # The partners' rows are numbered by themselves.
    other = Spikes(*(x[np.isin(other.row, rows)] for x in other))
    times, units, row = blended(one, other._replace(row=other.row // 2), rows, 50, rng)
    counts = np.bincount(row, minlength=50)
    assert np.all(counts[~mixed] == 400)
    assert abs(counts[mixed].mean() - 400) < 15
    for i in (0, 1):
        mean = times[row == i].mean(), units[row == i].mean()
        assert np.allclose(mean, (one[0][one[2] == i].mean(), one[1][one[2] == i].mean()), rtol=0.05)
    own = np.isin(times[row == 0], one[0])
    assert 0.4 < own.mean() < 0.6
