"""Encoders: the equations of their docstrings, compiled and vmapped as eager."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax.encoders import (
    bin_events,
    delta_modulation,
    latency_coding,
    latency_times,
    population_coding,
    rate_coding,
    spike_list,
    step_of,
    time_coding,
)
from spikejax.tasks import augmentation
from spikejax.tasks.spike_file import Spikes

KEY = jax.random.key(0)


def test_binning_counts_the_events_of_a_step():
    rng = np.random.default_rng(0)
    times, units, trial = rng.uniform(-5, 25, 400), rng.integers(-1, 5, 400), rng.integers(0, 4, 400)
    times[::50] = np.nan
    found = bin_events(times, units, trial, dt=2.5, steps=8, channels=4, trials=3)
    expected = np.zeros((3, 8, 4))
    for t, u, k in zip(times, units, trial, strict=True):
        if 0 <= t < 20 and 0 <= u < 4 and k < 3:
            expected[k, int(t // 2.5), u] += 1
    assert expected.max() > 1
    assert np.array_equal(found, expected)
    one = trial == 1
    assert np.array_equal(bin_events(times[one], units[one], dt=2.5, steps=8, channels=4), expected[1])
    # Lists that are filled up by NaN, side by side.
    lists = np.full((2, 300, 2), np.nan)
    for k in range(2):
        lists[k, : (trial == k).sum()] = np.stack([times[trial == k], units[trial == k]], axis=1)
    together = jax.jit(jax.vmap(lambda x: bin_events(x[:, 0], x[:, 1], dt=2.5, steps=8, channels=4)))
    assert np.array_equal(together(jnp.asarray(lists)), expected[:2])
    # As the spoken digits are binned, which sum neighbours in bands.
    spikes = Spikes(*(x[~np.isnan(times)] for x in (times, units, trial)))
    kept = Spikes(*(x[spikes.row < 3] for x in spikes))
    assert np.array_equal(augmentation.binned(kept, (3, 8, 4), 2.5, 4), expected)


@pytest.mark.parametrize("dt", [0.1, 0.3, 1.0, 12.5])
def test_a_border_belongs_to_the_step_that_begins_there(dt):
    k = np.arange(1, 3000)
    for times in (k * dt, (k * dt * 1e-3) * 1e3, np.float32(1e3) * (1e-3 * k * dt).astype(np.float32)):
        assert np.array_equal(step_of(times, dt), k)
        # And what is before it, if only by a thousandth of a step, to the one before.
        before = step_of(times.astype(float) - 1e-3 * dt, dt)
        assert np.array_equal(before, k - 1) or times.dtype == np.float32


def test_latency_is_that_of_the_equation():
    x = np.array([[1.0, 0.75], [0.3, 0.2]])
    found = latency_coding(x, dt=0.5, steps=40, threshold=0.2)
    assert found.shape == (40, 2, 2)
    assert found[:, 1, 1].sum() == 0  # at the threshold
    assert [int(found[:, i, j].argmax()) for i, j in ((0, 0), (0, 1), (1, 0))] == [0, 12, 35]
    # A leaky neuron under that current reaches the threshold when the code has its spike.
    tau, theta = 20.0, 0.2
    found = np.asarray(latency_coding(x, dt=0.01, steps=10_000, threshold=theta, tau=tau))
    for i, j in ((0, 0), (0, 1), (1, 0)):
        t = found[:, i, j].argmax() * 0.01
        v = x[i, j] * (1 - np.exp(-np.array([t, t + 0.01]) / tau))
        assert v[0] <= theta + 1e-9 <= v[1] + 2e-9
    code = lambda y: latency_coding(y, dt=0.5, steps=40, threshold=0.2)
    assert np.array_equal(jax.jit(jax.vmap(code))(jnp.asarray(x)), np.stack([code(y) for y in x]))


def test_exact_latencies_are_those_of_the_equation():
    x = np.array([1.2, 1.0, 0.75, 0.3, 0.2, 0.0])
    found = latency_times(x, duration=20.0, threshold=0.2)
    np.testing.assert_allclose(found, [0.0, 0.0, 6.25, 17.5, np.inf, np.inf], rtol=1e-12)
    # The voltage of a leaky neuron under that current is the threshold then.
    found = np.asarray(latency_times(x, duration=100.0, threshold=0.2, tau=20.0))
    np.testing.assert_allclose((x * (1 - np.exp(-found / 20)))[:4], 0.2, rtol=1e-12)
    assert np.isinf(latency_times(x, duration=20.0, threshold=0.2, tau=20.0)[3])  # at 21.97 ms
    # All of a binary image at once, with a derivative of 0 where there is no spike.
    assert latency_times(np.array([1.0, 0.0, 1.0]), duration=5.0).tolist() == [0.0, np.inf, 0.0]
    code = lambda y: latency_times(y, duration=100.0, threshold=0.2, tau=20.0)
    slope = jax.vmap(jax.grad(code))(jnp.asarray(x))
    np.testing.assert_allclose(slope[4:], 0.0)
    assert bool((slope[:4] < 0).all())


def test_numbers_as_times():
    x = np.array([[0.0, 0.5, 1.0], [0.25, 0.75, 1.0]])
    np.testing.assert_allclose(time_coding(x, early=2.0, late=12.0), 2 + 10 * x, rtol=1e-12)
    found = time_coding(x, early=2.0, late=12.0, bias=1.0)
    np.testing.assert_allclose(found[:, 3], 1.0)
    np.testing.assert_allclose(found[:, :3], 2 + 10 * x, rtol=1e-12)


def test_times_as_a_list_of_spikes():
    times = np.array([[3.0, np.inf, 1.0, 9.0], [2.0, 2.0, 11.0, -1.0]])
    found = spike_list(times, duration=10.0)
    assert found.time.tolist() == [[1.0, 3.0, 9.0, 10.0], [2.0, 2.0, 10.0, 10.0]]
    assert found.value.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]
    assert np.asarray(found.channel)[found.value > 0].tolist() == [2, 0, 3, 0, 1]
    short = spike_list(times, duration=10.0, most=3, channels=(2, 2))
    assert short.shape == (2, 3, 2, 2)
    assert short.time.tolist() == [[1.0, 3.0, 9.0], [2.0, 2.0, 10.0]]
    # None is left out in silence.
    made = jax.jit(lambda x: spike_list(x, duration=10.0, most=2).time)(times)
    assert np.isnan(made[0]).all()
    assert made[1].tolist() == [2.0, 2.0]


@pytest.mark.parametrize("dt", [0.5, 5.0])
def test_a_rate_is_that_of_the_events_at_any_step(dt):
    steps = round(20_000 / dt)
    found = np.asarray(rate_coding(KEY, [0.0, 20.0, 150.0], dt=dt, steps=steps))
    assert found.shape == (steps, 3)
    np.testing.assert_allclose(found.sum(axis=0) / 20.0, [0.0, 20.0, 150.0], rtol=0.1)
    # Poisson: the variance of a count is its mean.
    counts = found[:, 2].reshape(-1, round(100 / dt)).sum(axis=1)
    assert 0.7 < counts.var() / counts.mean() < 1.4
    # A rate that changes, compiled, of several trials.
    rate = jnp.zeros((2, steps, 1)).at[1, steps // 2 :].set(50.0)
    both = jax.jit(jax.vmap(lambda k, r: rate_coding(k, r, dt=dt)))(jax.random.split(KEY), rate)
    assert both[0].sum() == both[1, : steps // 2].sum() == 0
    assert 400 < both[1].sum() < 600


def test_population_is_a_row_of_tuning_curves():
    x = np.array([-1.0, 0.1])
    found = population_coding(x, low=-1.0, high=1.0, size=5, width=0.3)
    expected = [[np.exp(-((y - c) ** 2) / (2 * 0.3**2)) for c in (-1, -0.5, 0, 0.5, 1)] for y in x]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    default = population_coding(0.0, low=-1.0, high=1.0, size=5)
    assert float(default[1]) == pytest.approx(np.exp(-0.5 * 1.5**2))
    slope = jax.grad(lambda y: population_coding(y, low=-1.0, high=1.0, size=5)[2])(0.1)
    assert float(slope) == pytest.approx(-0.1 / (1 / 3) ** 2 * float(np.exp(-0.5 * (0.1 * 3) ** 2)))


def test_delta_modulation_is_the_same_in_both_libraries():
    signal = np.cumsum(np.random.default_rng(0).normal(0, 3, (4, 30, 2)), axis=1)
    expected = delta_modulation(signal, 1.5)
    assert np.array_equal(jax.jit(delta_modulation)(jnp.asarray(signal), 1.5), expected)
    assert np.array_equal(jax.vmap(lambda x: delta_modulation(x, 1.5))(jnp.asarray(signal)), expected)
    assert np.array_equal(delta_modulation(signal[0], 1.5), expected[0])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: bin_events([1.0], [0, 1], dt=1.0, steps=2, channels=2), r"`units` \(2,\)"),
        (lambda: bin_events([1.0], [0], [0], dt=1.0, steps=2, channels=2), "`trial` and `trials` go"),
        (lambda: latency_coding([0.5], dt=1.0, steps=5, threshold=1.0), "`threshold` is 1.0, but must be"),
        (lambda: latency_coding([0.5], dt=1.0, steps=5, tau=5.0), "above 0 where `tau` is given"),
        (lambda: latency_coding([0.5], dt=1.0, steps=5, tau=-1.0, threshold=0.1), "`tau` is -1.0, but must"),
        (lambda: latency_times([0.5], duration=0.0), "`duration` is 0.0, but must be above 0 ms"),
        (lambda: time_coding([0.5], early=3.0, late=3.0), "`late` is 3.0, but must be above `early`, 3.0"),
        (lambda: time_coding([0.5], early=-1.0, late=3.0), "`early` is -1.0, but must be at least 0"),
        (lambda: spike_list([1.0, 2.0], duration=9.0, most=1), "`most` is 1, but a trial has 2 spikes"),
        (lambda: rate_coding(KEY, [-1.0, 2.0], dt=1.0, steps=5), "`rate` goes from -1 to 2, but must be"),
        (lambda: population_coding(0.5, low=0.0, high=1.0, size=1), "`size` is 1"),
        (lambda: population_coding(0.5, low=1.0, high=1.0, size=3), "`high` is 1.0, but must be above"),
        (lambda: population_coding(0.5, low=0.0, high=1.0, size=3, width=0.0), "`width` is 0.0, but must"),
        (lambda: delta_modulation(np.zeros((1, 2, 1)), 0.0), "`threshold` is 0.0, but must be above 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_encoded_is_refused(make, match):
    with pytest.raises(ValueError, match=match) as caught:
        make()
    assert "\n" not in str(caught.value)
