"""Encoders and tasks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejax.activity import rates, saturated_fraction, silent_fraction
from spikejax.encoders import delta_modulation, hold
from spikejax.metrics import confusion
from spikejax.tasks import Braille
from spikejax.tasks.splits import stratified


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.5, 20.0))
def test_delta_modulation_follows_the_signal(seed, threshold):
    signal = np.cumsum(np.random.default_rng(seed).normal(0, 3, (2, 40, 3)), axis=1)
    events = delta_modulation(signal, threshold)
    assert events.shape == (2, 40, 6)
    # The modulator sample by sample, written without arrays.
    for trial in range(2):
        for c in range(3):
            reference = signal[trial, 0, c]
            for t in range(1, 40):
                n = int(signal[trial, t, c] - reference >= threshold) - int(
                    reference - signal[trial, t, c] >= threshold
                )
                reference += n * threshold
                assert events[trial, t, c] == (n > 0)
                assert events[trial, t, c + 3] == (n < 0)


def test_hold():
    events = np.eye(3, dtype=np.uint8)[None]
    assert np.array_equal(hold(events, 25.0, 12.5)[0], np.repeat(np.eye(3), 2, axis=0))
    with pytest.raises(ValueError, match="does not divide"):
        hold(events, 25.0, 10.0)
    with pytest.raises(ValueError, match="does not divide"):
        hold(events, 25.0, 50.0)


def test_braille_is_all_there():
    task = Braille(25.0, clock=25.0, validation=0.1)
    sizes = {name: len(x) for name, x in task.targets.items()}
    assert sizes == {"train": 729, "validation": 81, "test": 270}
    assert task.outputs == 27
    assert task.channels == 32
    test = task.split("test")
    assert test.stimulus.shape == (270, 76, 32)
    assert set(np.unique(test.stimulus)) == {0.0, 1.0}
    assert np.array_equal(np.bincount(np.asarray(task.targets["validation"])), np.full(27, 3))


def test_an_epoch_shows_every_trial_once():
    task = Braille(25.0, clock=25.0, validation=0.1)
    key = jax.random.key(3)
    seen = [np.asarray(task.batch(key, jnp.asarray(i), 81).stimulus) for i in range(18)]
    order = [np.concatenate(seen[:9]), np.concatenate(seen[9:])]
    whole = np.asarray(task.stimuli["train"], float).reshape(729, -1)
    for epoch in order:
        assert np.array_equal(
            np.sort(epoch.reshape(729, -1) @ np.arange(whole.shape[1])),
            np.sort(whole @ np.arange(whole.shape[1])),
        )
    assert not np.array_equal(order[0], order[1])
    assert np.array_equal(np.asarray(task.batch(key, jnp.asarray(4), 81).stimulus), seen[4])


def test_augmentation():
    plain, task = Braille(25.0, clock=25.0), Braille(25.0, clock=25.0, drop=0.3, shift=50.0)
    key = jax.random.key(0)
    a, b = (t.batch(key, jnp.asarray(0), 81) for t in (plain, task))
    assert np.array_equal(a.target, b.target)
    assert 0.6 < float(b.stimulus.sum() / a.stimulus.sum()) < 0.8
    shifted = np.asarray(Braille(25.0, clock=25.0, shift=50.0).batch(key, jnp.asarray(0), 81).stimulus)
    for x, y in zip(np.asarray(a.stimulus), shifted, strict=True):
        candidates = [np.roll(np.pad(x, ((2, 2), (0, 0))), by, axis=0)[2:-2] for by in range(-2, 3)]
        assert any(np.array_equal(y, c) for c in candidates)


def test_stratified():
    labels = np.repeat(np.arange(4), 10)
    kept, held = stratified(labels, 0.2, 0)
    assert np.array_equal(np.sort(np.concatenate([kept, held])), np.arange(40))
    assert np.array_equal(np.bincount(labels[held]), [2, 2, 2, 2])


def test_metrics():
    counts = jnp.array([[0.0, 10.0, 400.0], [0.0, 30.0, 600.0]])
    rate = rates(counts, 1000.0)
    assert np.allclose(rate, [0, 20, 500])
    assert np.isclose(silent_fraction(rate), 1 / 3)
    assert np.isclose(saturated_fraction(rate, 2.0), 1 / 3)
    assert np.array_equal(confusion(np.array([0, 1, 1]), np.array([0, 0, 1]), 2), [[1, 0], [1, 1]])
    # -1 is no answer, and not the last class.
    found = confusion(np.array([0, 1, 1]), np.array([-1, 0, 1]), 2)
    assert np.array_equal(found, [[0, 0, 1], [1, 1, 0]])
    for target, label in (([0, 2], [0, 1]), ([0, -1], [0, 1]), ([0, 1], [0, 2]), ([0, 1], [0, -2])):
        with pytest.raises(ValueError, match="but there are 2 classes"):
            confusion(np.array(target), np.array(label), 2)
