"""One network, one word changed: from spike to spike, and in steps."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import (
    LIF,
    QIF,
    Autodiff,
    Checkpointed,
    ClockDriven,
    Costate,
    Dense,
    EventDriven,
    Exponential,
    Filtered,
    Gate,
    Hard,
    Layer,
    Network,
    Population,
    SpikeTimes,
    simulate,
    trainable,
)
from spikejax.parameters import cast

DURATION = 40.0


def made(neuron, scale: float) -> Network:
    synapse, keys = Exponential(5.0, rate_unit=0.2), jax.random.split(jax.random.key(3), 2)
    filtered = partial(Filtered.create, connection=partial(Dense.create, scale=scale), synapse=synapse)
    plain = partial(Dense.create, scale=6.0)
    rest = {"recurrent": None, "bias": (0.0, 0.0)}
    first = Layer.create((3,), 6, neuron, synapse, feedforward=filtered, key=keys[0], **rest)
    shape = first.activation_shape
    last = Layer.create(shape, 4, neuron, synapse, feedforward=plain, key=keys[1], **rest)
    return cast(Network((first, last), Population.create(last.activation_shape, 4)), jnp.float64)


NETWORKS = {"qif": partial(made, QIF(tau_mem=10.0), 6.0), "lif": partial(made, LIF(tau_mem=10.0), 8.0)}


def stimulus() -> SpikeTimes:
    rng = np.random.default_rng(0)
    return SpikeTimes(np.sort(rng.uniform(0, 20, 12)), rng.integers(0, 3, 12), duration=DURATION, channels=3)


@eqx.filter_jit
def first_spikes(network, simulator):
    """The first spike times of both layers, and the gradient of their sum in the last layer, in weights and
    in the times of the stimulus."""
    params, fixed = eqx.partition(network, trainable(network, ("weight",)))
    given = stimulus()

    def total(params, time):
        spikes = simulator(eqx.combine(params, fixed), given.at(time), save="spikes").spikes
        return jnp.sum(jnp.where(jnp.isfinite(spikes[-1][0]), spikes[-1][0], 0.0)), spikes

    grads, spikes = jax.grad(total, argnums=(0, 1), has_aux=True)(params, given.time)
    return [one[0] for one in spikes], jnp.concatenate([x.ravel() for x in jax.tree.leaves(grads)])


@pytest.mark.parametrize("kind", NETWORKS)
def test_spike_times_and_gradients_are_the_limit_of_small_steps(kind):
    network = NETWORKS[kind]()
    exact, slope = first_spikes(network, EventDriven(spikes=24, pseudospikes=False))
    assert 0 < np.isfinite(exact[1]).sum() < 4  # some fire, and some do not
    wrong = []
    for dt in (0.2, 0.05):
        found, gradient = first_spikes(network, ClockDriven(Gate(release=Hard()), dt))
        for a, b in zip(exact, found, strict=True):
            np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))
        there = [np.isfinite(x) for x in exact]
        times = max(float(jnp.abs(a - b)[i].max()) for a, b, i in zip(exact, found, there, strict=True))
        wrong.append((times, float(jnp.linalg.norm(gradient - slope) / jnp.linalg.norm(slope))))
    (coarse, coarse_slope), (fine, fine_slope) = wrong
    assert coarse < 0.02
    assert fine < 0.15 * coarse
    assert coarse_slope < 0.05
    assert fine_slope < 0.5 * coarse_slope


@pytest.mark.parametrize("release", ["hard", "charge"])
def test_spike_times_have_the_derivative_of_every_adjoint(release):
    network, gate = NETWORKS["qif"](), Gate(width=0.2, release=release)
    times, gradient = first_spikes(network, ClockDriven(gate, 0.5))
    for adjoint in (Autodiff(), Checkpointed(7, inner=Costate())):
        other, slope = first_spikes(network, ClockDriven(gate, 0.5, adjoint))
        np.testing.assert_allclose(np.asarray(times[1]), np.asarray(other[1]), rtol=1e-12)
        np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-11)


def test_units_of_charge():
    """The time of a spike under a smooth gate is the mean time of its charge, and several spikes have each
    its own; what is missing comes with the end of the trial."""
    network = NETWORKS["lif"]()
    gate, dt = Gate(width=0.2, release="charge"), 0.5
    solution = simulate(network, stimulus(), gate=gate, dt=dt, save=("release", "spikes"), spikes=8)
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
