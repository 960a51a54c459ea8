"""The split step's gradient is the gradient of the neuron; a grid reset's is not, at any dt. And the
event-driven reference itself."""

import functools
import itertools

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from spikejax.references.lif_events import EventLIF, Waves

from ..places import experiment

fidelity = experiment("fidelity")

CASES = {case.name: case for case in fidelity.cases()}
LIF_CASE = CASES["LIF, split"]
EVENTS = EventLIF(fidelity.B, fidelity.TARGET, duration=60.0, v_init=0.3, v_reset=0.1, rate_unit=0.05)
THETA = np.array([0.6, 1.7])


@functools.cache
def truth():
    return fidelity.truths_lif(LIF_CASE)


@functools.cache
def row(name, dt):
    return fidelity.measure(CASES[name], dt)


def differences(f, e=1e-5):
    return np.array([(f(THETA + e * u) - f(THETA - e * u)) / (2 * e) for u in np.eye(2)])


def test_event_times_against_an_ode_solver():
    times, _ = EVENTS.spikes(THETA)
    hit = lambda t, v: v[0] - 1
    hit.terminal, hit.direction = True, 1
    t, v, found = 0.0, 0.3, []
    while True:
        run = solve_ivp(
            lambda t, v: (-v + EVENTS.current(t, THETA)) / 10,
            (t, 60.0),
            [v],
            events=hit,
            rtol=1e-11,
            atol=1e-12,
            max_step=1.0,
        )
        if not run.t_events[0].size:
            break
        t, v = run.t_events[0][0], 0.1
        found.append(t)
    assert len(times) >= 5
    np.testing.assert_allclose(times, found, atol=1e-7)


def test_event_times_have_the_right_derivative():
    times, slopes = EVENTS.spikes(THETA)
    found = differences(lambda theta: EVENTS.spikes(theta)[0])
    np.testing.assert_allclose(slopes, found.T, rtol=1e-6, atol=1e-6)
    assert times.shape == slopes.shape[:1]


@pytest.mark.parametrize("width", [None, 0.2, 0.05])
def test_reference_gradient_is_that_of_its_loss(width):
    evaluate = (
        (lambda th: EVENTS.loss_narrow(th)) if width is None else (lambda th: EVENTS.loss_zone(th, width))
    )
    np.testing.assert_allclose(
        evaluate(THETA)[1], differences(lambda th: evaluate(th)[0]), rtol=2e-4, atol=1e-7
    )


def test_narrow_loss_against_quadrature():
    times, _ = EVENTS.spikes(THETA)
    tau, unit = EVENTS.tau_syn, EVENTS.rate_unit
    s = lambda t: np.sum(np.exp(-(t - times[times <= t]) / tau)) / (tau * unit)
    edges = [0.0, *times, 60.0]
    total = sum(
        quad(lambda t: (s(t) - EVENTS.target(t)) ** 2, a + 1e-12, b)[0] for a, b in itertools.pairwise(edges)
    )
    assert EVENTS.loss_narrow(THETA)[0] == pytest.approx(total / 60, rel=1e-8)


def test_zone_loss_tends_to_the_narrow_one():
    value, gradient = EVENTS.loss_narrow(THETA)
    errors = []
    for width in (0.08, 0.02):
        near, slope = EVENTS.loss_zone(THETA, width)
        errors.append([abs(near / value - 1), np.linalg.norm(slope - gradient) / np.linalg.norm(gradient)])
    assert np.all(np.array(errors[1]) < 0.6 * np.array(errors[0]))
    assert max(errors[1]) < 0.05


def test_waves():
    wave, t = Waves(0.3, (1.0, 0.5), (20.0, 7.0), (0.1, 2.0)), np.linspace(0, 30, 7)
    for start in t[:3]:
        assert wave.average(start, 2.5) == pytest.approx(
            quad(lambda t: float(wave(t)), start, start + 2.5)[0] / 2.5, rel=1e-9
        )
    p = lambda t: wave.filtered(t, 8.0)
    np.testing.assert_allclose(8.0 * (p(t + 1e-5) - p(t - 1e-5)) / 2e-5, wave(t) - p(t), atol=1e-8)


def test_split_step_is_within_two_percent_at_a_tenth_of_a_millisecond():
    assert row("LIF, split", 0.1).distance(truth()) < 0.01


def test_split_step_converges():
    errors = [row("LIF, split", dt).distance(truth()) for dt in (0.8, 0.4, 0.2, 0.1)]
    assert errors[0] < 0.2
    for coarse, fine in itertools.pairwise(errors):
        assert fine < 0.7 * coarse
    # At least first order over the whole range.
    assert errors[-1] < errors[0] / 8


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("dt", [0.5, 0.05])
def test_grid_resets_are_wrong_at_any_step(reset, dt):
    found = row(f"LIF, {reset}", dt)
    assert found.distance(truth()) > 0.5
    # Their loss has the slope of the true one, in jumps that the gradient does not see.
    assert found.secant == pytest.approx(row("LIF, split", 0.1).secant, rel=0.1)
    assert abs(found.mean - found.secant) > 0.5 * abs(found.secant)


@pytest.mark.parametrize(
    ("name", "dt"),
    [("LIF, split", 0.4), ("LIF, split", 0.1), ("NIF, split = subtract", 0.5), ("theta, split = wrap", 0.5)],
)
def test_mean_gradient_is_the_secant_across_crossings(name, dt):
    found = row(name, dt)
    assert found.mean == pytest.approx(found.secant, rel=0.01)


def test_late_spikes_cross_many_steps_in_the_range():
    # Else the secant would say nothing.
    solver = EventLIF(fidelity.B, fidelity.TARGET, fidelity.DURATION)
    scale, offset = LIF_CASE.theta
    low, high = (solver.spikes(np.array([scale, offset + d]))[0] for d in (-fidelity.SPREAD, fidelity.SPREAD))
    assert abs(low[15] - high[15]) > 5


def test_a_narrower_zone_is_as_faithful():
    exact = fidelity.truths_lif(LIF_CASE, 0.1)
    assert fidelity.measure(LIF_CASE, 0.1, 0.1).distance(exact) < 0.02
