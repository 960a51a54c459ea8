"""Lags: spikes are where the docstring says, and nothing but their times tells the classes apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax.tasks import Lags


def times(x, dt):
    """Mean time of what every channel does, ms."""
    steps = np.arange(x.shape[-2])
    return dt * np.einsum("...tc,t->...c", x, steps) / x.sum(-2)


def test_a_spike_between_two_steps_by_hand():
    task = Lags(dt=0.5, duration=80.0, channels=3)
    x = np.asarray(task.pulses(jnp.array([10.0, 10.2, 79.4])))
    expected = np.zeros((160, 3))
    # An area of 1 ms; 10.2 ms is 20.4 steps, and 79.4 ms 158.8.
    expected[20, 0] = 2.0
    expected[20:22, 1] = 1.2, 0.8
    expected[158:160, 2] = 0.4, 1.6
    np.testing.assert_allclose(x, expected, atol=1e-12)


@pytest.mark.parametrize("permuted", [True, False])
def test_spikes_come_after_their_lags(permuted):
    task = Lags(dt=0.5, jitter=0.0, permuted=permuted, pattern=3, onset=(4.0, 9.0))
    trials = task.batch(jax.random.key(0), 2, 12)
    assert np.array_equal(trials.label, np.arange(12) % 4)
    found = times(np.asarray(trials.stimulus), 0.5) - task.lags[trials.label]
    # What is left is the onset, the same for all channels and another in every trial.
    np.testing.assert_allclose(found, found[:, :1] * np.ones(10), atol=1e-9)
    assert 4 <= found.min() < 6 < 7 < found.max() <= 9
    np.testing.assert_allclose(0.5 * trials.stimulus.sum(1), 1.0)


def test_jitter_moves_single_spikes():
    task = Lags(dt=0.5, jitter=1.5, onset=(5.0, 5.0))
    trials = task.batch(jax.random.key(0), 2, 400)
    moved = times(np.asarray(trials.stimulus), 0.5) - task.lags[trials.label] - 5
    assert abs(moved).max() < 4.5
    # A normal one that is cut at three standard deviations.
    assert abs(moved.std() / 1.5 - 0.987) < 0.03
    assert abs(moved.mean()) < 0.1


def test_several_spikes():
    task = Lags(dt=1.0, jitter=0.0, spikes=3, interval=12.0, duration=100.0, onset=(6.0, 6.0))
    x = np.asarray(task.split("test").stimulus[0])
    lag = task.lags[0]
    one = np.asarray(task.pulses(jnp.asarray(6.0 + lag)))
    late = lambda k: np.concatenate([np.zeros((k, 10)), one[: 100 - k]])
    np.testing.assert_allclose(x, one + late(12) + late(24), atol=1e-9)


def test_classes_differ_in_order_alone():
    task = Lags(dt=1.0, classes=6, channels=3, longest=30.0, jitter=0.0, onset=(5.0, 5.0))
    assert len({tuple(lag) for lag in task.lags}) == 6
    for lag in task.lags:
        assert sorted(lag) == [0.0, 15.0, 30.0]
    x = np.asarray(task.batch(jax.random.key(0), 0, 6).stimulus)
    # Neither how often a channel spikes nor how many spike at any time.
    np.testing.assert_allclose(x.sum(1), np.ones((6, 3)))
    np.testing.assert_allclose(x.sum(2), x.sum(2)[:1] * np.ones((6, 1)))
    assert not np.array_equal(Lags(dt=1.0, pattern=1).lags, Lags(dt=1.0).lags)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"onset": (9.0, 5.0)}, "`onset` is 9 to 5 ms"),
        ({"onset": (1.0, 5.0)}, r"`onset` begins at 1 ms, and `jitter` can take a spike 1.5 ms back"),
        ({"duration": 40.0}, "a spike may come at 48.5 ms, after the end of the trial: `duration` is 40 ms"),
        ({"classes": 7, "channels": 3}, "3 channels have 6 orders, fewer than the 7 `classes`"),
        ({"duration": 80.3}, "`duration` of 80.3 ms is not a whole number of steps of `dt` = 1 ms"),
    ],
)
def test_what_cannot_be(options, match):
    with pytest.raises(ValueError, match=match):
        Lags(dt=1.0, **options)
