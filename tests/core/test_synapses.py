"""The synapses: delivered area, steady state, and exactness within a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejax import (
    LIF,
    Alpha,
    Autodiff,
    Costate,
    Delta,
    DoubleExponential,
    Exponential,
    Gate,
    Network,
    SampledAlpha,
    simulate,
)


@settings(max_examples=25, deadline=None)
@given(tau=st.floats(1.0, 50.0), dt=st.floats(0.01, 1.0), rate_unit=st.floats(0.01, 2.0))
def test_a_spike_delivers_its_area_at_any_dt(tau, dt, rate_unit):
    # After the spike's own step s decays by exp(-dt/tau) a step: the sum of s dt is a geometric series.
    synapse = Exponential(tau, rate_unit)
    s, _ = synapse.step(synapse.init((1,)), jnp.ones(1), dt)
    decayed, _ = synapse.step(s, jnp.zeros(1), dt)
    np.testing.assert_allclose(decayed, s * np.exp(-dt / tau), rtol=1e-12)
    np.testing.assert_allclose(s * dt / (1 - np.exp(-dt / tau)), 1 / rate_unit, rtol=1e-9)


def test_steady_rate_gives_the_rate_in_its_unit():
    synapse, dt = Exponential((2.0, 10.0), rate_unit=0.02), 0.5
    step = lambda s, _: (synapse.step(s, jnp.full(3, 0.05 * dt), dt)[0], None)
    s, _ = jax.lax.scan(step, synapse.init((3,)), None, length=600)
    np.testing.assert_allclose(s, np.full((2, 3), 2.5), rtol=1e-10)


def test_a_step_is_exact_for_a_constant_rate():
    synapse = Exponential((2.0, 10.0), rate_unit=0.1)
    s = jnp.array([[0.3, 1.0], [0.2, 0.0]])
    q = jnp.array([1.0, 0.4])
    whole, _ = synapse.step(s, q, 1.0)
    halves, _ = synapse.step(synapse.step(s, q / 2, 0.5)[0], q / 2, 0.5)
    np.testing.assert_allclose(halves, whole, rtol=1e-14)
    # And it is the closed form of tau ds/dt = -s + q/(dt rate_unit).
    tau = np.array([[2.0], [10.0]])
    target = np.asarray(q) / 0.1
    np.testing.assert_allclose(whole, target + (np.asarray(s) - target) * np.exp(-1.0 / tau), rtol=1e-14)


@pytest.mark.parametrize(("tau", "kinds"), [(5.0, 1), ((5.0,), 1), ((1.0, 10.0), 2)])
def test_kinds(tau, kinds):
    synapse = Exponential(tau, rate_unit=1.0)
    assert synapse.kinds == kinds
    assert synapse.init((4,)).shape == (kinds, 4)


def test_one_time_constant_per_neuron():
    tau = jnp.array([[1.0, 2.0, 4.0], [10.0, 20.0, 40.0]])
    found, _ = Exponential(tau, rate_unit=1.0).step(jnp.ones((2, 3)), jnp.zeros(3), 0.5)
    np.testing.assert_allclose(found, jnp.exp(-0.5 / tau))


def test_time_constants_have_a_gradient():
    grad = jax.grad(
        lambda tau: jnp.sum(Exponential(tau, rate_unit=1.0).step(jnp.ones((2, 3)), jnp.ones(3), 0.5)[0])
    )(jnp.array([2.0, 10.0]))
    eps = 1e-6
    for k in range(2):
        up, down = (
            float(
                jnp.sum(
                    Exponential(jnp.array([2.0, 10.0]).at[k].add(e), rate_unit=1.0).step(
                        jnp.ones((2, 3)), jnp.ones(3), 0.5
                    )[0]
                )
            )
            for e in (eps, -eps)
        )
        assert float(grad[k]) == pytest.approx((up - down) / (2 * eps), rel=1e-6)


@pytest.mark.parametrize(("rise", "fall"), [(2.0, 10.0), (10.0, 2.0), (5.0, 5.0), (5.0, 5.0 + 1e-7)])
def test_double_exponential_is_its_kernel(rise, fall):
    # One spike spread over the first step, then the closed form; a step of half the size gives the same.
    synapse, dt = DoubleExponential(rise, fall, rate_unit=0.1), 1.0

    def run(dt, steps):
        s, hidden, out = synapse.init((1,)), synapse.init_hidden((1,)), []
        for i in range(steps):
            s, hidden = synapse.step(s, jnp.full(1, dt if i * dt < 1 else 0.0), dt, hidden)
            out.append(float(s[0, 0]))
        return np.array(out)

    coarse, fine = run(dt, 60), run(dt / 4, 240)
    np.testing.assert_allclose(coarse, fine[3::4], rtol=1e-9, atol=1e-14)
    # The response to a rate of 1/ms during the first ms is the integral of the kernel over that.
    t = np.arange(1, 61)[:, None] - (np.arange(4000) + 0.5) / 4000
    alpha = abs(rise - fall) < 1e-3
    kernel = t * np.exp(-t / 5.0) / 25.0 if alpha else (np.exp(-t / fall) - np.exp(-t / rise)) / (fall - rise)
    np.testing.assert_allclose(coarse, kernel.mean(1) / 0.1, rtol=1e-5)
    assert run(1.0, 400).sum() == pytest.approx(10.0, rel=1e-6)


def test_double_exponential_in_a_network(relative):
    network = Network.dense(
        2, (4,), 1, neuron=LIF(tau_mem=10.0), synapse=DoubleExponential((1.5, 4.0), (4.0, 12.0), 0.1),
        recurrent_scale=0.4,
        bias=(1.1, 1.8), key=jax.random.key(0),
    )  # fmt: skip
    x = jax.random.normal(jax.random.key(1), (60, 2))
    gradient = lambda adjoint: jax.jit(
        jax.grad(
            lambda n: jnp.mean(simulate(n, x, gate=Gate(), dt=0.5, adjoint=adjoint).readout ** 2),
            allow_int=True,
        )
    )(network)
    costate, exact = gradient(Costate()), gradient(Autodiff())
    assert relative(costate, exact) < 1e-10
    assert float(jnp.abs(exact.layers[0].synapse.tau_rise).min()) > 0


def test_double_exponential_needs_as_many_rise_times():
    with pytest.raises(ValueError, match="tau_rise"):
        DoubleExponential((1.0, 2.0), (3.0, 4.0, 5.0))


def responses(synapse, charges, dt):
    """The activation of every step, of charges ``(time, n)``."""

    def step(state, q):
        activation, hidden = synapse.step(state[0], q, dt, state[1])
        return (activation, hidden), activation

    shape = charges.shape[1:]
    return jax.lax.scan(step, (synapse.init(shape), synapse.init_hidden(shape)), charges)[1]


def test_alpha_is_its_kernel_by_quadrature():
    # The mean over every step of what a charge at the start of the first one does.
    tau, dt, steps = np.array([3.0, 8.0]), 0.5, 40
    found = responses(Alpha(tau, rate_unit=0.1), jnp.zeros((steps, 1)).at[0].set(1.0), dt)[..., 0]
    points, weights = np.polynomial.legendre.leggauss(12)
    t = (np.arange(steps)[:, None] + 0.5 * (points + 1)) * dt
    for k, own in enumerate(tau):
        expected = (t * np.exp(-t / own) / own**2) @ weights / 2 / 0.1
        np.testing.assert_allclose(found[:, k], expected, rtol=1e-12)


def test_alpha_is_the_double_exponential_of_equal_times():
    charges = jax.random.uniform(jax.random.key(0), (50, 3))
    alpha, double = Alpha((2.0, 9.0), 0.1), DoubleExponential((2.0, 9.0), (2.0, 9.0), 0.1)
    np.testing.assert_allclose(responses(alpha, charges, 0.7), responses(double, charges, 0.7), rtol=1e-13)
    # And its only time has the derivative of both together.
    total = lambda synapse: jnp.sum(responses(synapse, charges, 0.7) ** 2)
    one, both = jax.grad(total)(alpha), jax.grad(total)(double)
    np.testing.assert_allclose(one.tau_syn, both.tau_syn + both.tau_rise, rtol=1e-10)


@pytest.mark.parametrize("dt", [0.5, 1.0])
def test_sampled_alpha_is_the_convolution(dt):
    rng = np.random.default_rng(0)
    spikes = (rng.random((200, 4)) < 0.1).astype(float)
    found = responses(SampledAlpha(6.0), jnp.asarray(spikes), dt)[:, 0]
    t = np.arange(200) * dt / 6.0
    eps = t * np.exp(1 - t)
    whole = np.stack([np.convolve(x, eps)[:200] for x in spikes.T], 1)
    np.testing.assert_allclose(found, whole, rtol=1e-12, atol=1e-13)
    # A kernel cut at a hundredth of its peak differs by no more than what it leaves out.
    cut = np.argmax((eps < 0.01) & (t > 1))
    short = np.stack([np.convolve(x, eps[:cut])[:200] for x in spikes.T], 1)
    assert 0 < np.abs(found - short).max() < eps[cut:].sum()


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_delta_makes_the_network_of_discrete_time(reset):
    # A spike on the grid is a 1 in its own step, for the readout, and in the next for the layer itself.
    dt, tau = 0.5, 4.0
    network = Network.dense(
        3, (20,), 2, neuron=LIF(tau_mem=tau, reset=reset), synapse=Delta(1 / dt), key=jax.random.key(0),
        input_scale=6.0, recurrent_scale=3.0, bias=(0.0, 1.0),
    )  # fmt: skip
    x = jax.random.uniform(jax.random.key(1), (100, 3))
    found = simulate(network, x, gate=Gate(release="hard"), dt=dt, save=("activation", "release"))
    layer, decay = network.layers[0], np.exp(-dt / tau)
    v, s = np.zeros(20), np.zeros(20)
    for t in range(100):
        current = layer.feedforward.weight @ x[t] + layer.recurrent.weight[:, 0] @ s + layer.bias
        v = decay * v + (1 - decay) * current
        s = (v >= 1).astype(float)
        v = v - s if reset == "subtract" else v * (1 - s)
        np.testing.assert_array_equal(found.layers[0].activation[t, 0], s)
        np.testing.assert_allclose(found.readout[t], network.readout.connection.weight[:, 0] @ s, atol=1e-12)
    assert 50 < float(found.counts[0].sum()) < 1500


def test_delta_is_a_pulse_that_moves_with_the_spike():
    # A neuron of constant current that spikes at a known time within a step: the step gets the part that is
    # left of it, the next one the rest.
    dt, tau, rate_unit = 1.0, 10.0, 0.1
    network = Network.dense(
        1, (1,), 1, neuron=LIF(tau_mem=tau), synapse=Delta(rate_unit), key=jax.random.key(0), recurrent=False,
        bias=(1.5, 1.5),
    )  # fmt: skip
    found = simulate(network, jnp.zeros((15, 1)), gate=Gate(release="hard"), dt=dt, save="activation")
    time = tau * np.log(1.5 / 0.5)
    step, late = int(time), time - int(time)
    expected = np.zeros(15)
    expected[step : step + 2] = (1 - late) / (dt * rate_unit), late / (dt * rate_unit)
    np.testing.assert_allclose(found.layers[0].activation[:, 0, 0], expected, atol=1e-12)
