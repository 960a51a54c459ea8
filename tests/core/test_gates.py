"""Contracts of every registered kernel, and of the gate built on it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejax import LIF, NIF, Gate, Hard, Surrogate, Theta
from spikejax.kernels import KERNELS, TruncatedLogistic
from spikejax.neurons import State

COMPACT = [name for name, cls in KERNELS.items() if cls.compact]
UNBOUNDED = [name for name in KERNELS if name not in COMPACT]

quickly = settings(max_examples=40, deadline=None)
widths = st.floats(0.01, 1.0)
sharpnesses = st.floats(0.25, 64.0)
positions = st.floats(-2.0, 2.0)


def release_of(name):
    return "charge" if name in COMPACT else "surrogate"


@pytest.mark.parametrize("name", COMPACT)
@pytest.mark.parametrize("sharpness", [1.0, 7.0])
def test_integral_is_one(name, sharpness):
    gate = Gate(name, width=0.3, sharpness=sharpness)
    half = float(gate.support) / 2
    n = 100_000
    u = -half + (jnp.arange(n) + 0.5) * (2 * half / n)
    assert float(jnp.sum(gate.density(u)) * (2 * half / n)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", KERNELS)
def test_density_is_the_derivative_of_the_cumulative(name):
    gate = Gate(name, width=0.3, sharpness=1.7, release=release_of(name))
    u = jnp.linspace(-0.2, 0.2, 401) + 1.3e-4
    slope = jax.vmap(jax.grad(gate.cumulative))(u)
    np.testing.assert_allclose(slope, gate.density(u), rtol=1e-12, atol=1e-12)
    # And the difference quotient agrees with both, away from the edges of the zone.
    quotient = (gate.cumulative(u + 1e-6) - gate.cumulative(u - 1e-6)) / 2e-6
    np.testing.assert_allclose(quotient, slope, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("name", COMPACT)
def test_support(name):
    gate = Gate(name, width=0.4, sharpness=2.0)
    assert float(gate.support) == 0.2
    assert np.all(np.asarray(gate.density(jnp.array([-0.1001, 0.1001, 5.0]))) == 0)
    assert np.all(np.asarray(gate.density(jnp.array([-0.0999, 0.0, 0.0999]))) > 0)
    np.testing.assert_array_equal(gate.cumulative(jnp.array([-3.0, -0.1, 0.1, 3.0])), [0, 0, 1, 1])


@pytest.mark.parametrize("name", UNBOUNDED)
def test_some_kernels_have_unbounded_support(name):
    gate = Gate(name, width=0.4, release="surrogate")
    assert float(gate.density(jnp.array(10.0))) > 0


@pytest.mark.parametrize("name", COMPACT)
@quickly
@given(width=widths, sharpness=sharpnesses, u=positions)
def test_sharpness_identity(name, width, sharpness, u):
    # g_a(u) = a g(a u), about the centre of the zone.
    gate = Gate(name, width)
    sharp = gate.sharpen(sharpness)
    np.testing.assert_allclose(
        sharp.density(jnp.array(u)), sharpness * gate.density(jnp.array(sharpness * u)), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(
        sharp.cumulative(jnp.array(u)), gate.cumulative(jnp.array(sharpness * u)), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("neuron", [LIF(v_th=1.2), NIF(), Theta()], ids=lambda n: type(n).__name__)
@quickly
@given(sharpness=st.floats(1.0, 20.0), v=st.floats(0.6, 1.4))
def test_sharpness_keeps_the_threshold(neuron, sharpness, v):
    # G_a(v) = G(a (v - v0) + v0) with v0 the threshold: a -> inf is the ordinary threshold.
    gate = Gate("raised_cosine", width=0.5)
    v0 = float(neuron.bounds()[1])
    stretched = v0 + sharpness * (v - v0)
    if isinstance(neuron, Theta) and abs(stretched - v0) > 0.5:
        stretched = v0 + np.sign(v - v0) * 0.5  # beyond half a turn the next zone would begin
    found = neuron.level(gate.sharpen(sharpness), State(jnp.array(v))).charge
    np.testing.assert_allclose(
        found, neuron.level(gate, State(jnp.array(stretched))).charge, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("name", KERNELS)
@quickly
@given(width=widths, u=positions)
def test_density_is_even_and_not_negative(name, width, u):
    gate = Gate(name, width, release=release_of(name))
    left, right = gate.density(jnp.array(-u)), gate.density(jnp.array(u))
    assert float(right) >= 0
    np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", COMPACT)
@quickly
@given(width=widths, a=positions, b=positions)
def test_cumulative_is_monotonic_and_complementary(name, width, a, b):
    gate = Gate(name, width)
    low, high = gate.cumulative(jnp.array([min(a, b), max(a, b)]))
    assert 0 <= low <= high <= 1
    np.testing.assert_allclose(gate.cumulative(jnp.array(-a)), 1 - gate.cumulative(jnp.array(a)), atol=1e-12)


@quickly
@given(slope=st.floats(0.1, 40.0))
def test_truncated_logistic_is_normalised_at_any_slope(slope):
    kernel = TruncatedLogistic(slope=slope)
    x = -1 + (jnp.arange(4000) + 0.5) / 2000
    assert float(jnp.sum(kernel.density(x)) / 2000) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(kernel.cumulative(jnp.array([-1.0, 0.0, 1.0])), [0, 0.5, 1], atol=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_sharpness_does_not_retrace(name):
    traces = []

    @eqx.filter_jit
    def density(gate, u):
        traces.append(None)
        return gate.density(u)

    gate = Gate(name, release=release_of(name))
    for sharpness in (1, 2.0, jnp.array(4.0)):
        density(gate.sharpen(sharpness), jnp.ones(3))
    density(Gate(name, 0.25, release=release_of(name)), jnp.ones(3))
    assert len(traces) == 1


@pytest.mark.parametrize("value", [np.float64(3.0), np.array(3.0)])
def test_parameters_from_numpy(value):
    assert float(Gate().sharpen(value).sharpness) == 3


@pytest.mark.parametrize("name", COMPACT)
def test_vmap_over_sharpness(name):
    gate, u, sharpness = Gate(name), jnp.linspace(-0.3, 0.3, 7), jnp.array([1.0, 2.0, 8.0])
    together = jax.vmap(lambda a: gate.sharpen(a).density(u))(sharpness)
    np.testing.assert_allclose(
        together, jnp.stack([gate.sharpen(a).density(u) for a in sharpness]), rtol=1e-12
    )


@pytest.mark.parametrize("name", UNBOUNDED)
@pytest.mark.parametrize("release", ["charge", "graded"])
def test_surrogate_only_kernels_are_refused_elsewhere(name, release):
    with pytest.raises(ValueError, match="no compact support and serves release='surrogate' only"):
        Gate(name, release=release)


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_serves_surrogate_and_hard(name):
    gate = Gate(name, release="surrogate")
    assert isinstance(gate.hard().release, Hard)
    u, count = jnp.array([-0.1, 0.0, 0.2]), jnp.array([0.0, 1.0, 1.0])
    value, pull = jax.vjp(lambda u: gate.spike(u, count), u)
    np.testing.assert_array_equal(value, count)
    np.testing.assert_allclose(
        pull(jnp.ones(3))[0], gate.density(u) / gate.density(jnp.array(0.0)), rtol=1e-12
    )


@pytest.mark.parametrize("name", KERNELS)
def test_a_surrogate_is_as_high_at_any_width(name):
    count, at = jnp.zeros(3), jnp.array([-1e3, 0.0, 1e3])
    for width in (0.01, 0.5, 20.0):
        gate = Gate(name, width, release="surrogate")
        (slope,) = jax.vjp(lambda u, gate=gate: gate.spike(u, count, 0.3), at)[1](jnp.ones(3))
        assert float(slope[1]) == pytest.approx(0.3, rel=1e-12)
        assert np.all(np.asarray(slope[jnp.array([0, 2])]) < 0.001)


def test_the_width_follows_the_release_unless_it_is_given():
    widths = {release: float(Gate(release=release).width) for release in ("charge", "graded", "hard")}
    assert widths == {"charge": 0.5, "graded": 2.0, "hard": 0.5}
    assert float(Gate(release="surrogate").width) == 2.0
    assert float(Gate(release=Surrogate(detach_reset=True)).width) == 2.0
    assert float(Gate(width=0.5, release="surrogate").width) == 0.5


def test_unknown_names():
    with pytest.raises(ValueError, match=r"unknown gate kernel 'box': did you mean 'boxcar'"):
        Gate("box")


def test_another_sharpness_or_release_keeps_the_rest():
    gate = Gate("triangle", 0.3, 2.0, release=Surrogate(detach_reset=True))
    other = gate.sharpen(5.0)
    assert (float(other.width), float(other.sharpness)) == (0.3, 5.0)
    assert isinstance(other.release, Surrogate)
    assert other.release.detach_reset
    assert float(gate.with_release("charge").sharpness) == 2.0
