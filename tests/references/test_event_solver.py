"""The event-handling reference: against the closed form of the LIF, and its sensitivities against
differences."""

import numpy as np
import pytest

from spikejax.references.lif_events import EventLIF

from ..by_day import by_day
from ..places import experiment

fidelity = experiment("fidelity")
solver, CASES = fidelity.event_solver, fidelity.cases()


def trains(name, points, **options):
    case = CASES[name]
    return solver.spikes(fidelity.equations(case), fidelity.B, case.thetas(points), 60.0, most=12, **options)


def test_the_lif_has_the_spikes_of_its_closed_form():
    times, slopes = trains("LIF", [0.0])
    exact, exact_slopes = EventLIF(fidelity.B, fidelity.TARGET, 60.0).spikes(np.array(CASES["LIF"].theta))
    assert len(exact) >= 5
    np.testing.assert_allclose(times[0, : len(exact)], exact, atol=1e-5)
    np.testing.assert_allclose(slopes[0, : len(exact)], exact_slopes, rtol=1e-5, atol=1e-5)
    assert np.isinf(times[0, len(exact) :]).all()


@pytest.mark.parametrize(
    "name",
    by_day(
        ["LIF, refractory", *(name for name in CASES if name not in ("LIF", "LIF, refractory"))], ["ALIF"]
    ),
)
def test_sensitivities_are_the_differences_of_the_times(name):
    e = 1e-4
    times, slopes = trains(name, [0.0, e, -e])
    there = np.isfinite(times).all(axis=0)
    assert there.sum() >= 3
    found = (times[1, there] - times[2, there]) / (2 * e * CASES[name].theta[1])
    np.testing.assert_allclose(slopes[0, there, 1], found, atol=1e-4 * np.abs(found).max())
