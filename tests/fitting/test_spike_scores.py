"""Scores of predicted spikes, and the baselines that they are compared with."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejax.fitting import (
    bits_per_spike,
    coincidence_factor,
    fit_glm,
    interpolate,
    mean_scores,
    spike_scores,
)
from spikejax.fitting.clamp.job import split
from spikejax.fitting.scores import coincidences


def test_coincidence_factor_by_hand():
    recorded, predicted = np.array([10.0, 50.0, 90.0]), np.array([12.0, 60.0])
    chance = 2 * 4.0 * 2 / 1000
    expected = (1 - chance * 3) / 2.5 / (1 - chance)
    assert coincidence_factor(recorded, predicted, 1000.0) == pytest.approx(expected)
    assert coincidence_factor(recorded, recorded, 1000.0) == pytest.approx(1.0)
    assert np.isnan(coincidence_factor(np.array([]), np.array([]), 1000.0))
    assert coincidence_factor(recorded, np.array([]), 1000.0) == 0.0
    assert np.isnan(coincidence_factor(recorded, np.arange(0.0, 100.0, 5.0), 100.0))


def test_coincidences_by_chance_are_subtracted():
    rng = np.random.default_rng(0)
    duration, gammas = 20000.0, []
    for _ in range(40):
        a, b = (np.sort(rng.uniform(0, duration, 200)) for _ in range(2))
        gammas.append(coincidence_factor(a, b, duration))
    assert abs(np.mean(gammas)) < 4 * np.std(gammas) / np.sqrt(40) + 0.01


times = st.lists(st.floats(0, 50), max_size=6).map(lambda x: np.array(x, float))


@given(times, times)
@settings(max_examples=60, deadline=None)
def test_greedy_pairs_are_the_most(a, b):
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    near = np.abs(a[:, None] - b[None]) <= 4.0
    best = (maximum_bipartite_matching(csr_array(near), perm_type="column") >= 0).sum() if near.size else 0
    assert coincidences(a, b, 4.0) == best


def test_spike_scores():
    recorded = (np.array([10.0, 20.0]), np.array([]), np.array([5.0, 100.0, 200.0]))
    score = spike_scores(recorded, (recorded[0], np.array([3.0]), np.array([5.0])), 1000.0)
    assert (score.recorded, score.predicted) == ((2, 0, 3), (2.0, 1.0, 1.0))
    assert score.count_error == pytest.approx(1.0)
    assert score.within_one == pytest.approx(2 / 3)
    assert score.gamma == pytest.approx(np.mean([score.gammas[0], score.gammas[2]]))


def test_scores_of_several_runs_are_those_of_their_mean():
    recorded = (np.array([10.0, 20.0]), np.array([]))
    runs = [spike_scores(recorded, own, 1000.0) for own in (recorded, (np.array([10.0]), np.array([5.0])))]
    mean = mean_scores(runs)
    assert mean.predicted == (1.5, 0.5)
    assert (mean.count_error, mean.within_one) == (0.5, 1.0)
    assert mean.gammas[0] == pytest.approx((1 + runs[1].gammas[0]) / 2)
    assert mean.gamma == mean.gammas[0]  # of sweeps with recorded spikes alone
    assert mean_scores(runs[:1])[:5] == runs[0][:5]


def test_interpolation():
    amount = np.array([0.0, 1.0, 4.0, 9.0])
    spikes = (np.array([10.0]), np.array([]), np.array([6.0, 20.0, 30.0]), np.array([1.0, 2.0]))
    counts, times = interpolate(amount, spikes, np.array([1, 3]), np.array([0, 2]))
    assert counts == (1.5, 3.0)  # linear in the current; past the last sweep that was kept, its count
    np.testing.assert_allclose(
        times[0], [9.0, 20.0]
    )  # a quarter of the way from 10 to 6; the second spike has one neighbour alone
    np.testing.assert_allclose(times[1], spikes[2])


def test_bits_per_spike():
    y = np.array([[0.0, 1.0, 0.0, 0.0]])
    assert bits_per_spike(np.full_like(y, 0.25), y) == pytest.approx(0.0)
    p = np.array([[0.1, 0.8, 0.1, 0.1]])
    expected = np.log2(0.8) + 3 * np.log2(0.9) - np.log2(0.25) - 3 * np.log2(0.75)
    assert bits_per_spike(p, y) == pytest.approx(expected)
    assert bits_per_spike(np.full_like(y, 0.4), y) < 0
    with pytest.raises(ValueError, match="bins with a spike"):
        bits_per_spike(p, np.zeros_like(y))


def test_left_out_sweeps_are_inside():
    left_out, kept = split(11, 2, 4)
    assert left_out.tolist() == [2, 6]  # never the last, beyond which nothing could be interpolated
    assert sorted([*left_out, *kept]) == list(range(11))


def test_glm_finds_its_own_filters():
    rng = np.random.default_rng(1)
    n, f, h = 40000, np.array([0.0, 1.2, 0.6]), np.array([-3.0, -1.0])
    x = rng.normal(size=n)
    drive = np.convolve(x, f)[:n] - 1.5
    y = np.zeros(n)
    for k in range(n):
        past = sum(h[j] * y[k - 1 - j] for j in range(2) if k > j)
        y[k] = rng.uniform() < 1 / (1 + np.exp(-drive[k] - past))
    glm = fit_glm(x[None], y[None], 30000, stimulus_lags=3, history_lags=2)
    np.testing.assert_allclose(glm.stimulus / glm.scale, f, atol=0.1)
    np.testing.assert_allclose(glm.history, h, atol=0.35)
    alone = fit_glm(x[None], y[None], 30000, stimulus_lags=3, history_lags=0)
    test = slice(30000, None)
    bits = [bits_per_spike(m.probability(x[None], y[None])[:, test], y[None, test]) for m in (alone, glm)]
    assert 0 < bits[0] < bits[1]
    # A later spike cannot change an earlier probability.
    later = y.copy()
    later[20000] = 1 - later[20000]
    a, b = (glm.probability(x[None], z[None])[0] for z in (y, later))
    np.testing.assert_array_equal(a[:20001], b[:20001])
    assert not np.allclose(a[20001:20003], b[20001:20003])
