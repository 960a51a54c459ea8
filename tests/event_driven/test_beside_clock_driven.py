"""One network, one word changed: from spike to spike, and in steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import Autodiff, Checkpointed, ClockDriven, Costate, EventDriven, Gate, SpikeTimes, simulate
from spikejax.spike_times import spikes_of

from ..by_day import by_day
from ..places import experiment

both = experiment("references/both_simulators")


@pytest.mark.parametrize("kind", by_day(both.NETWORKS, ["lif"]))
def test_spike_times_and_gradients_are_the_limit_of_small_steps(kind):
    exact, _ = both.first_spikes(both.NETWORKS[kind](), EventDriven(spikes=24, pseudospikes=False))
    assert 0 < np.isfinite(exact[1]).sum() < 4  # some fire, and some do not
    (coarse, coarse_slope), (fine, fine_slope) = (both.differences(kind, dt) for dt in (0.2, 0.05))
    assert coarse < 0.02
    assert fine < 0.15 * coarse  # of second order
    assert coarse_slope < 0.05
    assert fine_slope < 0.5 * coarse_slope


@pytest.mark.nightly
@pytest.mark.parametrize("release", ["hard", "charge"])
def test_spike_times_have_the_derivative_of_every_adjoint(release):
    network, gate = both.NETWORKS["qif"](), Gate(width=0.2, release=release)
    times, gradient = both.first_spikes(network, ClockDriven(gate, 0.5))
    for adjoint in (Autodiff(), Checkpointed(7, inner=Costate())):
        other, slope = both.first_spikes(network, ClockDriven(gate, 0.5, adjoint))
        np.testing.assert_allclose(np.asarray(times[1]), np.asarray(other[1]), rtol=1e-12)
        np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-11)


def test_units_of_charge():
    """The time of a spike under a smooth gate is the mean time of its charge, and several spikes have each
    its own; what is missing comes with the end of the trial."""
    network = both.NETWORKS["lif"]()
    gate, dt = Gate(width=0.2, release="charge"), 0.5
    solution = simulate(network, both.stimulus(), gate=gate, dt=dt, save=("release", "spikes"), spikes=8)
    assert solution.layers[0].v is None
    assert solution.layers[0].late is None
    release = np.asarray(solution.layers[0].release)
    times, total = np.asarray(solution.spikes[0]), release.sum(axis=0)
    assert times.shape == (8, 6)
    assert total.max() > 6
    np.testing.assert_array_equal(np.isfinite(times), np.arange(8)[:, None] < total)
    for n, k in ((0, 0), (5, 0), (5, 6)):
        charge = np.cumsum(release[:, n])
        begin, end = np.searchsorted(charge, k + 1e-9), np.searchsorted(charge, k + 1 - 1e-9)
        assert begin * dt <= times[k, n] <= (end + 1) * dt


def test_more_charge_than_a_unit_is_the_next_ones():
    """The derivative of whole spikes by what a surrogate adds to them: that of adding it."""
    release, late = jnp.array([0.0, 0, 1, 0, 0, 1, 0, 1, 0]), jnp.arange(1, 10) / 10
    times = lambda q: spikes_of(q[:, None], (q * late)[:, None], jnp.asarray(9.0), 2.0, 3)[:, 0]
    h = 1e-6
    added = np.stack([(times(release.at[k].add(h)) - times(release)) / h for k in range(9)], axis=1)
    np.testing.assert_allclose(jax.jacobian(times)(release), added, atol=1e-4)


def test_a_stimulus_of_spike_times_in_steps():
    given = SpikeTimes([0.5, 1.25, 3.9], [0, 1, 1], [1.0, 2.0, 1.0], duration=4.0, channels=2)
    np.testing.assert_allclose(
        given.in_steps(1.0).dense(), [[0.5, 0.0], [0.5, 1.5], [0.0, 0.5], [0.0, 0.1]], atol=1e-6
    )
    assert given.in_steps(0.3).shape == (14, 2)
    moved = jax.grad(lambda time: given.at(time).in_steps(1.0).dense()[1, 1])(given.time)
    np.testing.assert_allclose(moved, [0.0, -2.0, 0.0])
    with pytest.raises(ValueError, match="`dt` is traced"):
        jax.jit(lambda dt: given.in_steps(dt))(1.0)
