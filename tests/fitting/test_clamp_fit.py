"""Neurons fitted to a current-clamped one: ranges, screening, losses and their gradients, recovery of known
parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejax import Gate
from spikejax.fitting import (
    MODELS,
    ClampPlan,
    Descent,
    Weights,
    clamp_standard_errors,
    fit_clamp,
    predict_deterministic,
    read_current_clamp,
    spike_scores,
    step_current_clamp,
    sweeps_to_fit,
)
from spikejax.fitting.clamp.fit import screening
from spikejax.fitting.clamp.loss import deterministic_loss, run_free, stochastic_loss
from spikejax.fitting.clamp.models import at_sweeps
from spikejax.fitting.evolve import search
from spikejax.fitting.ranges import physical, random_starts, unbounded
from spikejax.fitting.recordings import CurrentClamp

from .real_neurons import CLAMP, R, ramp

KEY = jax.random.key(0)


# Ranges


@given(st.floats(0.02, 0.98))
@settings(max_examples=20, deadline=None)
def test_ranges_go_back_and_forth(part):
    ranges = MODELS["glif"].ranges
    values = {
        name: r.low * (r.high / r.low) ** part if r.log else r.low + part * (r.high - r.low)
        for name, r in ranges.items()
    }
    back = physical(ranges, unbounded(ranges, values))
    for name, value in values.items():
        assert float(back[name]) == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_ranges_hold():
    ranges = MODELS["adex"].ranges
    starts = random_starts(ranges, 50, key=KEY)
    for scale in (1.0, 1e3):
        for name, value in physical(ranges, {name: scale * u for name, u in starts.items()}).items():
            assert float(value.min()) >= ranges[name].low * (1 - 1e-12) - 1e-9
            assert float(value.max()) <= ranges[name].high * (1 + 1e-12) + 1e-9
    with pytest.raises(ValueError, match=r"`C` of 5.0 pF"):
        unbounded(ranges, {"C": 5.0})


# Current clamp


TRUE = {
    "E_L": -65.0,
    "R": 200.0,
    "tau_mem": 15.0,
    "v_th": -45.0,
    "drop": 12.0,
    "tau_ref": 3.0,
    "R_s": 5.0,
    "escape": 1.0,
    "drift": -1.0,
    "bend": 0.0,
}


def synthetic(
    kind="lif",
    values=TRUE,
    amplitudes=(-60.0, 40.0, 90.0, 110.0, 140.0, 180.0, 230.0),
    duration=300.0,
    noise=0.2,
):
    """A recording of a known model: steps of current, its voltage with noise, and its spikes drawn on it."""
    model, sample = MODELS[kind], 0.5
    steps = round(duration / sample) + 1
    current = np.zeros((len(amplitudes), steps))
    current[:, 60:-60] = np.array(amplitudes)[:, None]
    empty = tuple(np.array([]) for _ in amplitudes)
    start = np.full_like(current, values["E_L"])
    recording = CurrentClamp("known", sample, current, start, np.arange(len(amplitudes)), empty)
    p = {name: values[name] for name in model.ranges}
    stepped = step_current_clamp(recording, sample, "refuse")
    run = predict_deterministic(model, p, stepped, np.arange(len(amplitudes)), Gate(width=5.0))
    voltage = np.concatenate([start[:, :1], run.voltage], axis=1)
    voltage += noise * np.random.default_rng(0).normal(size=voltage.shape)
    spikes = tuple(np.round((times + 0.5 * sample) / sample) * sample for times in run.spikes)
    return recording._replace(voltage=voltage, spikes=spikes)


@pytest.mark.parametrize("steps", [0, pytest.param(60, marks=pytest.mark.slow)])
def test_fit_finds_known_parameters(steps):
    recording = synthetic()
    stepped = step_current_clamp(recording, 0.5, "refuse")
    counts = [len(times) for times in recording.spikes]
    assert counts[0] == counts[1] == 0
    assert max(counts) > 10
    data = sweeps_to_fit(stepped, np.array([0, 1, 2, 4, 6]))
    weights = Weights(anchor=0.1, sigma=0.5)
    plan = ClampPlan(
        draws=2048 if steps else 32, starts=6, keep=2, deterministic=Descent(steps, 0.003), weights=weights
    )
    fits = fit_clamp(MODELS["lif"], data, Gate(width=1.5), 0.5, plan, key=KEY)
    assert (fits.deterministic is None) == (steps == 0)
    # The stochastic fit says what the parameters are; the deterministic one is for predicting, and moves
    # along what spikes do not hold.
    fit = fits.stochastic
    assert fit is not None
    assert fit.loss == min(fit.losses)
    errors = clamp_standard_errors(MODELS["lif"], fit, data, 0.5, weights)
    for name in ("v_th", "tau_mem", "drop"):
        # Of some 60 spikes; the true value is within a few standard errors.
        assert 0.01 < errors[name] < 3.0, name
        assert abs(fit.values[name] - TRUE[name]) < 4 * errors[name] + 0.3, name
    # A series resistance of 5 MOhm is 1 mV at most here: it shows in the sum with R alone.
    assert fit.values["R"] + fit.values["R_s"] == pytest.approx(TRUE["R"] + TRUE["R_s"], rel=0.04)
    for name, tolerance in (("tau_mem", 1.0), ("v_th", 1.0), ("drop", 1.5), ("tau_ref", 0.7)):
        assert fit.values[name] == pytest.approx(TRUE[name], abs=tolerance), name
    resting = lambda p: at_sweeps(
        {name: jnp.asarray(p[name]) for name in ("E_L", "drift", "bend")}, jnp.arange(7.0)
    )["E_L"]
    own, true = resting(fit.values), resting(TRUE)
    # 0.3 mV, and 0.5 mV of drift in ten sweeps.
    np.testing.assert_array_less(np.abs(own - true), 0.3 + 0.05 * np.arange(7))
    left_out = np.array([3, 5])
    predicted = predict_deterministic(
        MODELS["lif"], (fits.deterministic or fit).values, stepped, left_out, Gate(width=5.0)
    )
    score = spike_scores(tuple(recording.spikes[i] for i in left_out), predicted.spikes, 300.0)
    # Counts within 1 take the deterministic fit.
    assert score.count_error <= (1.0 if steps else 2.5)
    assert score.gamma > (0.6 if steps else 0.0)


def test_search_keeps_families_apart_and_never_loses():
    # Two families in a plane with a minimum at 0: each comes nearer, none leaves its side for the other's
    # start.
    raw = {"x": jnp.array([3.0, -3.0]), "y": jnp.zeros(2)}
    loss = lambda raw: np.abs(np.asarray(raw["x"])) + np.abs(np.asarray(raw["y"]))
    seen = []
    found, value = search(
        raw, loss(raw), loss, rounds=6, draws=64, step=0.3, key=KEY, report=lambda i, best: seen.append(best)
    )
    assert seen == sorted(seen, reverse=True)
    np.testing.assert_allclose(value, loss(found))
    assert np.all(value < 2.5)
    assert np.sign(found["x"]).tolist() == [1.0, -1.0]
    same, unchanged = search(
        raw,
        loss(raw),
        lambda raw: loss(raw) + 10,
        rounds=2,
        draws=8,
        step=0.3,
        key=KEY,
        report=lambda *_: None,
    )
    np.testing.assert_array_equal(same["x"], raw["x"])
    np.testing.assert_array_equal(unchanged, [3.0, 3.0])


def test_gradient_of_the_deterministic_loss_is_that_of_differences(quick_jit):
    recording = synthetic(amplitudes=(110.0, 180.0), duration=120.0)
    stepped = step_current_clamp(recording, 0.5, "refuse")
    data, model, gate = sweeps_to_fit(stepped, np.arange(2)), MODELS["lif"], Gate(width=5.0)
    raw = unbounded(model.ranges, TRUE | {"v_th": -46.0, "R": 210.0})
    names = ("R", "v_th", "tau_ref")

    def loss(shift):
        moved = raw | {name: raw[name] + shift[k] for k, name in enumerate(names)}
        return deterministic_loss(model, moved, data, jnp.full_like(data.spikes, 0.05), gate, 0.5, Weights())[
            0
        ]

    exact = quick_jit(jax.grad(loss))(jnp.zeros(3))
    value = quick_jit(loss)
    for k, name in enumerate(names):
        step = 1e-6 * jnp.eye(3)[k]
        secant = (value(step) - value(-step)) / 2e-6
        assert abs(float(exact[k])) > 1e-3, name
        assert float(exact[k]) == pytest.approx(float(secant), rel=1e-4), name


def test_screening_finds_the_start_that_fires_as_recorded():
    recording = synthetic(amplitudes=(40.0, 110.0, 180.0), duration=120.0)
    data, model = sweeps_to_fit(step_current_clamp(recording, 0.5, "refuse"), np.arange(3)), MODELS["lif"]
    silent, restless, near, lost = (
        {"v_th": -10.0},
        {"v_th": -59.0, "E_L": -58.5},
        {"v_th": -45.5},
        {"R": float("nan")},
    )
    starts = [unbounded(model.ranges, TRUE | other) for other in (silent, restless, near)]
    starts.append(starts[0] | {name: jnp.asarray(x) for name, x in lost.items()})
    raw = {name: jnp.stack([start[name] for start in starts]) for name in model.ranges}
    value = screening(model, data, Gate(width=5.0), 0.5, Weights())(raw)
    assert value.argmin() == 2
    assert value[2] < 0.5 * min(value[0], value[1])
    assert value[3] == np.inf


def test_damping_makes_the_gradient_forget(quick_jit):
    recording = synthetic(amplitudes=(110.0, 180.0), duration=120.0)
    data, gate = sweeps_to_fit(step_current_clamp(recording, 0.5, "refuse"), np.arange(2)), Gate(width=5.0)
    raw, target = unbounded(MODELS["lif"].ranges, TRUE), jnp.zeros_like(data.spikes)

    @quick_jit
    def slope(damping):
        model, weights = MODELS["lif"]._replace(damping=damping), Weights(anchor=0.0)
        return jax.grad(lambda raw: deterministic_loss(model, raw, data, target, gate, 0.5, weights)[0])(raw)[
            "tau_mem"
        ]

    exact, damped, none = (abs(float(slope(damping))) for damping in (0.0, 0.05, 100.0))
    assert exact > damped > 10 * none


@pytest.mark.parametrize("kind", list(MODELS))
def test_every_model_runs(kind, quick_jit):
    model = MODELS[kind]
    recording = read_current_clamp(CLAMP, R)
    stepped = step_current_clamp(recording, 0.5, "average")
    data = sweeps_to_fit(stepped, np.array([0, 3]), (0.0, 100.0))
    p = physical(model.ranges, {name: jnp.asarray(0.0) for name in model.ranges})
    record = quick_jit(lambda p: run_free(model, p, data, Gate(width=5.0).hard(), 0.5, 10.0))(p)
    assert record.v.shape == data.current.shape == (200, 2)
    assert bool(jnp.all(jnp.isfinite(record.v)))
    assert np.all(np.asarray(record.v) > -150)
    assert np.all(np.asarray(record.v) < 100)


def test_a_model_without_reset_has_no_stochastic_fit():
    stepped = step_current_clamp(ramp(), 0.1, "refuse")
    model, data = MODELS["hodgkin_huxley"], sweeps_to_fit(stepped, np.array([0]))
    raw = {name: jnp.asarray(0.0) for name in model.ranges}
    with pytest.raises(ValueError, match="HodgkinHuxley neuron has no reset"):
        stochastic_loss(model, raw, data, 0.1, Weights())


def test_window_is_checked():
    stepped = step_current_clamp(ramp(), 0.1, "refuse")
    with pytest.raises(ValueError, match="window from 1 to 9 ms is not inside the sweeps of 4 ms"):
        sweeps_to_fit(stepped, np.array([0]), (1.0, 9.0))
    data = sweeps_to_fit(stepped, np.array([0]), (1.0, 2.0))
    assert float(data.start[0]) == 10.0  # the voltage where the window begins
    np.testing.assert_array_equal(data.voltage[:, 0], np.arange(11.0, 21.0))
