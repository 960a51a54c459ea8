"""Predictive coding and delayed XOR: the trials are what the docstrings say."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import LIF, Exponential, Gate, Network, simulate
from spikejax.losses import ResponseError, SquaredError, Sum
from spikejax.penalties import ActivityCost, LogRate, LowVoltage, WholeCharge
from spikejax.simulate import Solution
from spikejax.state import Record
from spikejax.tasks import DelayedXOR, PredictiveCoding, Trial
from spikejax.tasks.delayed_xor import KINDS, PULSES, SIGNS


def test_signals_have_the_stated_power_and_spectrum():
    task = PredictiveCoding(dt=1.0, test_duration=20000.0, held_out=(4, 20), frequencies=(2.0, 6.0))
    x = np.asarray(task.split("test").stimulus)
    assert x.shape == (20, 20000, 2)
    assert abs(np.mean(x**2) - 1) < 0.02
    power = (np.abs(np.fft.rfft(x, axis=1)) ** 2).mean(axis=(0, 2))
    frequency = np.fft.rfftfreq(20000, 1e-3)
    inside = (frequency > 1.8) & (frequency < 6.2)
    assert power[inside].sum() > 0.99 * power.sum()


def test_lag_and_onset():
    late = PredictiveCoding(dt=0.5, duration=40.0, lag=10.0, onset=20.0)
    x, y = (np.asarray(part) for part in late.batch(jax.random.key(0), 0, 3)[:2])
    assert np.array_equal(y[:, 20:], x[:, :-20])
    assert not y[:, :20].any()
    plain = np.asarray(PredictiveCoding(dt=0.5, duration=40.0).batch(jax.random.key(0), 0, 3).stimulus)
    assert np.array_equal(plain[:, 40:], x[:, 40:])
    # Half way up the signal is half as large; its middle is between the steps 19 and 20.
    np.testing.assert_allclose((x[:, 19] / plain[:, 19] + x[:, 20] / plain[:, 20]) / 2, 0.5)
    assert abs(x[:, 0]).max() < 1e-3


def test_splits_and_batches_are_different_and_repeatable():
    task, key = (
        PredictiveCoding(dt=1.0, duration=50.0, test_duration=50.0, held_out=(4, 4)),
        jax.random.key(0),
    )
    parts = [task.split("validation"), task.split("test"), task.batch(key, 0, 4), task.batch(key, 1, 4)]
    for i, a in enumerate(parts):
        assert a.stimulus.shape == (4, 50, 2)
        assert np.array_equal(a.stimulus, a.target)
        for b in parts[:i]:
            assert not np.allclose(a.stimulus, b.stimulus)
    assert np.array_equal(parts[3].stimulus, task.batch(key, 1, 4).stimulus)


def test_a_signal_does_not_depend_on_dt():
    key = jax.random.key(4)
    coarse, fine = (PredictiveCoding(dt=dt).signal(key, 100.0) for dt in (1.0, 0.5))
    np.testing.assert_allclose(coarse, fine.reshape(100, 2, 2).mean(axis=1), atol=1e-3)


def events(row, dt):
    """Begins and ends (ms) of stretches where a channel is not 0."""
    on = np.concatenate([[0], (row != 0).astype(int), [0]])
    return np.flatnonzero(np.diff(on) > 0) * dt, np.flatnonzero(np.diff(on) < 0) * dt


@pytest.mark.parametrize("dt", [2.0, 1.0])
def test_xor_trials(dt):
    task = DelayedXOR(dt=dt, delays=(20.0, 120.0), held_out=(12, 60))
    trials = task.split("test")
    delays = []
    for i in range(60):
        x, y = np.asarray(trials.stimulus[i]), np.asarray(trials.target.signal[i, :, 0])
        mask, weight, template = (
            np.asarray(a[i]) for a in (trials.mask, trials.target.weight, trials.target.template)
        )
        pulses = PULSES[i % 6]
        begin, end = events(x[:, 0], dt)
        assert np.allclose(end - begin, 24.0)
        assert sorted(x[np.round(begin / dt).astype(int), 0]) == sorted(p for p in pulses if p)
        (cue,), (over,) = events(x[:, 1], dt)
        assert over - cue == 24.0
        if len(begin) == 2:
            assert begin[0] == 40.0
            delays += [begin[1] - end[0], cue - end[1]]
            # The answer is that of exclusive or.
            assert SIGNS[i % 6] == (1 if x[round(begin[0] / dt), 0] != x[round(begin[1] / dt), 0] else -1)
        window = slice(round((cue + 20) / dt), round((cue + 100) / dt))
        assert np.all(y[: window.start] == 0)
        assert np.all(y[window.stop :] == 0)
        assert np.sign(y[window].sum()) == SIGNS[i % 6] == int(trials.label[i]) - 1
        assert np.isclose(abs(y).max(), abs(SIGNS[i % 6]), atol=2e-2)
        assert np.isclose(template @ y, SIGNS[i % 6])
        assert np.isclose(weight.sum(), 1.4)
        assert np.isclose(weight[window].sum(), 1.0)
        assert np.isclose(weight[: window.start].sum(), 0.3)
        assert mask.sum() * dt == cue + 160
        assert not weight[~mask].any()
    assert min(delays) >= 20
    assert max(delays) <= 120
    assert np.std(delays) > 20


def test_xor_at_half_the_step_is_the_same_trial():
    coarse, fine = (
        DelayedXOR(dt=dt, delays=(20.0, 80.0), held_out=(6, 12)).split("test") for dt in (2.0, 1.0)
    )
    assert np.array_equal(np.repeat(coarse.stimulus, 2, axis=1), fine.stimulus)
    assert np.array_equal(coarse.label, fine.label)


def test_xor_batches_are_balanced_and_draw_their_length():
    task, key = (
        DelayedXOR(dt=2.0, buckets=(40.0, 80.0), odds=(1.0, 3.0), delays=(20.0, 80.0)),
        jax.random.key(1),
    )
    lengths = []
    for i in range(60):
        trials = task.batch(key, i, 12)
        lengths.append(trials.stimulus.shape[1])
        assert np.array_equal(np.bincount(np.asarray(trials.label)), [4, 4, 4])
    assert set(lengths) == {task.steps(40.0), task.steps(80.0)}
    assert 0.55 < np.mean(np.array(lengths) == task.steps(80.0)) < 0.92
    assert np.array_equal(task.batch(key, 7, 12).stimulus, task.batch(key, 7, 12).stimulus)


def test_xor_probe_is_aligned():
    task = DelayedXOR(dt=2.0)
    probe = task.probe(2.0, 36)
    x = np.asarray(probe.trials.stimulus)
    cue = round(probe.moments["cue"] / 2.0)
    assert np.all(x[:, cue, 1] == 1)
    assert np.all(x[:, cue - 1, 1] == 0)
    first = x[:, round(probe.moments["pulse 1"] / 2.0), 0]
    assert np.array_equal(first + 1, probe.groups["first pulse"])
    assert [KINDS[k] for k in probe.groups["kind"][:6]] == list(KINDS)


def test_bad_tasks_are_named():
    with pytest.raises(ValueError, match="`odds` has 3 entries, `buckets` 1"):
        DelayedXOR(dt=2.0, buckets=(100.0,))
    with pytest.raises(ValueError, match="`pulse` of 25 ms is not a whole number of steps"):
        DelayedXOR(dt=2.0, pulse=25.0)
    with pytest.raises(ValueError, match="above the longest delay of 80 ms"):
        DelayedXOR(dt=2.0, delays=(92.0, 700.0))
    with pytest.raises(ValueError, match="does not divide 4 ms"):
        DelayedXOR(dt=3.0)
    with pytest.raises(ValueError, match="multiples of 4 ms"):
        DelayedXOR(dt=2.0, delays=(21.0, 700.0))
    with pytest.raises(ValueError, match="all 0"):
        DelayedXOR(dt=2.0, odds=(0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="shorter than a step"):
        PredictiveCoding(dt=1.0, duration=0.4)
    with pytest.raises(ValueError, match="does not resolve"):
        PredictiveCoding(dt=100.0)
    with pytest.raises(ValueError, match="must not be below the lowest"):
        PredictiveCoding(dt=1.0, frequencies=(5.0, 2.0))
    with pytest.raises(ValueError, match="at least 0"):
        PredictiveCoding(dt=1.0, lag=-1.0)
    with pytest.raises(ValueError, match="as long as a trial"):
        PredictiveCoding(dt=1.0, lag=100.0)


def solution(readout, **record):
    readout = jnp.asarray(readout)
    counts, duration = (jnp.array([0.0, 2.0, -0.1]),), jnp.asarray(float(len(readout)))
    return Solution(readout, counts, (Record(**record),), None, duration)


def test_response_error():
    task = DelayedXOR(dt=2.0, delays=(20.0, 40.0), held_out=(6, 6))
    trial = jax.tree.map(lambda x: x[1], task.split("test"))  # +-: answer +
    loss = ResponseError(margin=0.2)
    shape = trial.target.signal
    for factor, label in ((1.0, 2), (0.6, 2), (0.4, 1), (-0.4, 1), (-0.6, 0)):
        value, scalars = loss(solution(factor * shape), trial)
        assert int(scalars["label"]) == label
        assert float(scalars["accuracy"]) == (label == 2)
        squared = float(trial.target.weight @ ((factor - 1) * shape[:, 0]) ** 2)
        assert np.isclose(scalars["squared"], squared)
        logits = 4 * np.array([-factor - 0.5, 0.0, factor - 0.5])
        assert np.isclose(value, squared / 2 - 0.2 * (logits[2] - np.log(np.exp(logits).sum())))


def test_costs():
    activation = jax.random.normal(jax.random.key(0), (4, 2, 3))
    v = jnp.array([[0.0, -2.0, -1.5]] * 4)
    record = solution(jnp.zeros((4, 1)), activation=activation, v=v)
    trial = Trial(jnp.zeros((4, 1)), jnp.zeros((4, 1)), jnp.arange(4) < 3)
    whole = trial._replace(mask=None)
    assert np.isclose(
        ActivityCost(weight=0.3)(record, trial)[0],
        0.15 * np.mean(np.sum(np.asarray(activation)[:3, 1] ** 2, axis=-1)),
    )
    assert np.isclose(LowVoltage(weight=0.5)(record, whole)[0], 0.25 * np.mean([0.0, 1.0, 0.25]))
    rates = np.array([0.0, 2 / 4e-3, 0.0])
    assert np.isclose(
        LogRate(weight=0.4, target=20.0)(record, whole)[0], 0.2 * np.mean((np.log1p(rates) - np.log(21)) ** 2)
    )
    assert Sum((SquaredError(), ActivityCost(weight=1.0), LowVoltage(weight=1.0))).series == {
        "activation",
        "v",
    }
    # One neuron releases half a spike and takes it back, one a whole spike, one a spike and a half.
    release = jnp.array([[0.5, 0.5, 1.0], [-0.5, 0.5, 0.25], [0.0, 0.0, 0.25], [0.0, 0.0, 0.0]])
    partial = WholeCharge(weight=2.0)(solution(jnp.zeros((4, 1)), release=release), whole)[0]
    assert np.isclose(partial, 2.0 * (1 + 1 + 0.75 + 1 + 1) / 12)


def test_lingering_in_the_zone_costs():
    # A neuron that comes to rest within the zone, and one that passes it again and again.
    network = Network.dense(
        1,
        (2,),
        1,
        neuron=LIF(),
        synapse=Exponential(5.0, rate_unit=1.0),
        key=jax.random.key(0),
        bias=(0.0, 0.0),
        recurrent_scale=0.5,
    )
    network = eqx.tree_at(lambda n: n.layers[0].recurrent.weight, network, replace_fn=jnp.zeros_like)
    trial = Trial(jnp.zeros((800, 1)), jnp.zeros((800, 1)))

    def cost(bias, sharpness):
        moved = eqx.tree_at(lambda n: n.layers[0].bias, network, jnp.full(2, bias))
        gate = Gate(width=0.5, sharpness=sharpness)
        solution = simulate(moved, trial.stimulus, gate=gate, dt=0.05, save="release")
        return WholeCharge(weight=1.0)(solution, trial)[0]

    cost, slope_of = jax.jit(cost), jax.jit(jax.grad(cost))
    assert cost(0.75, 1.0) > 0.4 > 0.3 > cost(3.0, 1.0) > 0
    # The sharper the gate, the less time a passage takes: proportional to the width of the zone.
    assert float(cost(3.0, 4.0) / cost(3.0, 2.0)) == pytest.approx(0.5, rel=0.1)
    slope = (cost(3.0 + 1e-5, 1.0) - cost(3.0 - 1e-5, 1.0)) / 2e-5
    assert float(slope_of(3.0, 1.0)) == pytest.approx(float(slope), rel=1e-4)
