"""The split step's gradient is the gradient of the neuron; a grid reset's is not, at any dt. And the
event-driven reference itself."""

import functools
import itertools

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from spikejax.references.lif_events import EventLIF, Waves, leaky_kernel

from ..by_day import by_day
from ..places import experiment

fidelity = experiment("fidelity")

CASES, RESETS = fidelity.cases(), fidelity.resets()
EVENTS = EventLIF(fidelity.B, fidelity.TARGET, duration=60.0, v_init=0.3, v_reset=0.1, rate_unit=0.05)
THETA = np.array([0.6, 1.7])


@functools.cache
def row(name, dt):
    return fidelity.measure((CASES | RESETS)[name], dt, 0.2)


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


@pytest.mark.parametrize("tau_out", [None, 20.0])
@pytest.mark.parametrize("width", [None, 0.2, 0.05])
def test_reference_gradient_is_that_of_its_loss(width, tau_out):
    events = EVENTS._replace(tau_out=tau_out)
    evaluate = (
        (lambda th: events.loss_narrow(th)) if width is None else (lambda th: events.loss_zone(th, width))
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


@pytest.mark.parametrize("tau_out", [None, 20.0])
def test_zone_loss_tends_to_the_narrow_one(tau_out):
    events = EVENTS._replace(tau_out=tau_out)
    value, gradient = events.loss_narrow(THETA)
    errors = []
    for width in (0.08, 0.02):
        near, slope = events.loss_zone(THETA, width)
        errors.append([abs(near / value - 1), np.linalg.norm(slope - gradient) / np.linalg.norm(gradient)])
    assert np.all(np.array(errors[1]) < 0.6 * np.array(errors[0]))
    assert max(errors[1]) < 0.05


@pytest.mark.parametrize("tau_out", [10.0, 25.0])
def test_leaky_kernel_has_its_derivative_and_its_area(tau_out):
    age, e = np.linspace(0.5, 400, 4000), 1e-5
    rate = leaky_kernel(age, 10.0, tau_out)[1]
    up, down = (leaky_kernel(age + s, 10.0, tau_out)[0] for s in (e, -e))
    np.testing.assert_allclose(rate, (up - down) / (2 * e), atol=1e-9)
    assert quad(lambda t: leaky_kernel(t, 10.0, tau_out)[0], 0, 400)[0] == pytest.approx(1, abs=1e-6)


def test_waves():
    wave, t = Waves(0.3, (1.0, 0.5), (20.0, 7.0), (0.1, 2.0)), np.linspace(0, 30, 7)
    for start in t[:3]:
        assert wave.average(start, 2.5) == pytest.approx(
            quad(lambda t: float(wave(t)), start, start + 2.5)[0] / 2.5, rel=1e-9
        )
    p = lambda t: wave.filtered(t, 8.0)
    np.testing.assert_allclose(8.0 * (p(t + 1e-5) - p(t - 1e-5)) / 2e-5, wave(t) - p(t), atol=1e-8)


@pytest.mark.nightly
def test_the_lif_is_within_three_percent_at_a_millisecond():
    found, points = fidelity.gradients(CASES["LIF"], 1.0), fidelity.offsets()[0]
    for zone, gradient in zip(fidelity.ZONES, found, strict=True):
        assert fidelity.relative(gradient, fidelity.truth(CASES["LIF"], points, zone)) < 0.03


EVERY = ("NIF", "theta")


@pytest.mark.parametrize("name", by_day([*EVERY, *(x for x in CASES if x not in EVERY)], ["NIF"]))
def test_a_hard_threshold_is_within_one_percent_at_a_tenth_of_a_millisecond(name):
    (found,) = fidelity.gradients(CASES[name], 0.1, (0.0,))
    assert fidelity.relative(found, fidelity.narrow(name)) < 0.01


def test_a_hard_threshold_converges():
    errors = [
        fidelity.relative(fidelity.gradients(CASES["LIF"], dt, (0.0,))[0], fidelity.narrow("LIF"))
        for dt in (2.0, 1.0, 0.5, 0.25)
    ]
    for coarse, fine in itertools.pairwise(errors):
        assert fine < 0.65 * coarse


@pytest.mark.parametrize("reset", by_day(["subtract", "zero"], ["subtract"]))
@pytest.mark.parametrize("dt", [0.5, 0.1])
def test_grid_resets_are_wrong_at_any_step(reset, dt):
    found = row(f"LIF, {reset}", dt)
    assert found.distance > 0.5
    # Their loss has the slope of the true one, in jumps that the gradient does not see.
    assert found.secant == pytest.approx(row("LIF, split", 0.5).secant, rel=0.15)
    assert abs(found.mean - found.secant) > 0.5 * abs(found.secant)


@pytest.mark.parametrize(
    ("name", "dt"),
    [
        ("LIF, split", 0.5),
        ("LIF, split", 1.0),
        ("NIF", 0.5),
        pytest.param("theta", 0.5, marks=pytest.mark.nightly),
    ],
)
def test_mean_gradient_is_the_secant_across_crossings(name, dt):
    found = row(name, dt)
    assert found.mean == pytest.approx(found.secant, rel=0.01)


def test_late_spikes_cross_many_steps_in_the_range():
    # Else the secant would say nothing.
    solver = EventLIF(fidelity.B, fidelity.TARGET, fidelity.DURATION)
    low, high = (solver.spikes(th)[0] for th in CASES["LIF"].thetas([-fidelity.SPREAD, fidelity.SPREAD]))
    assert abs(low[15] - high[15]) > 5
