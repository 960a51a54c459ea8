"""The exponential synapse: delivered area, steady state, and exactness within a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejax import Exponential


@settings(max_examples=25, deadline=None)
@given(tau=st.floats(1.0, 50.0), dt=st.floats(0.01, 1.0), rate_unit=st.floats(0.01, 2.0))
def test_a_spike_delivers_its_area_at_any_dt(tau, dt, rate_unit):
    # After the spike's own step s decays by exp(-dt/tau) a step: the sum of s dt is a geometric series.
    synapse = Exponential(tau, rate_unit)
    s = synapse.step(synapse.init((1,)), jnp.ones(1), dt)
    decayed = synapse.step(s, jnp.zeros(1), dt)
    np.testing.assert_allclose(decayed, s * np.exp(-dt / tau), rtol=1e-12)
    np.testing.assert_allclose(s * dt / (1 - np.exp(-dt / tau)), 1 / rate_unit, rtol=1e-9)


def test_steady_rate_gives_the_rate_in_its_unit():
    synapse, dt = Exponential((2.0, 10.0), rate_unit=0.02), 0.5
    step = lambda s, _: (synapse.step(s, jnp.full(3, 0.05 * dt), dt), None)
    s, _ = jax.lax.scan(step, synapse.init((3,)), None, length=600)
    np.testing.assert_allclose(s, np.full((2, 3), 2.5), rtol=1e-10)


def test_a_step_is_exact_for_a_constant_rate():
    synapse = Exponential((2.0, 10.0), rate_unit=0.1)
    s = jnp.array([[0.3, 1.0], [0.2, 0.0]])
    q = jnp.array([1.0, 0.4])
    whole = synapse.step(s, q, 1.0)
    halves = synapse.step(synapse.step(s, q / 2, 0.5), q / 2, 0.5)
    np.testing.assert_allclose(halves, whole, rtol=1e-14)
    # And it is the closed form of tau ds/dt = -s + q/(dt rate_unit).
    tau = np.array([[2.0], [10.0]])
    target = np.asarray(q) / 0.1
    np.testing.assert_allclose(whole, target + (np.asarray(s) - target) * np.exp(-1.0 / tau), rtol=1e-14)


@pytest.mark.parametrize(("tau", "kinds"), [(5.0, 1), ((5.0,), 1), ((1.0, 10.0), 2)])
def test_kinds(tau, kinds):
    synapse = Exponential(tau)
    assert synapse.kinds == kinds
    assert synapse.init((4,)).shape == (kinds, 4)


def test_one_time_constant_per_neuron():
    tau = jnp.array([[1.0, 2.0, 4.0], [10.0, 20.0, 40.0]])
    found = Exponential(tau).step(jnp.ones((2, 3)), jnp.zeros(3), 0.5)
    np.testing.assert_allclose(found, jnp.exp(-0.5 / tau))


def test_time_constants_have_a_gradient():
    grad = jax.grad(lambda tau: jnp.sum(Exponential(tau).step(jnp.ones((2, 3)), jnp.ones(3), 0.5)))(jnp.array([2.0, 10.0]))
    eps = 1e-6
    for k in range(2):
        up, down = (
            float(jnp.sum(Exponential(jnp.array([2.0, 10.0]).at[k].add(e)).step(jnp.ones((2, 3)), jnp.ones(3), 0.5))) for e in (eps, -eps)
        )
        assert float(grad[k]) == pytest.approx((up - down) / (2 * eps), rel=1e-6)
