"""Charge is released at its time within the step: when, to what order, and down to a hard threshold."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import (
    ALIF,
    EIF,
    GLIF,
    LIF,
    NIF,
    Accommodating,
    AdEx,
    Dense,
    Exponential,
    Gate,
    HodgkinHuxley,
    Izhikevich,
    Layer,
    LeakyReadout,
    Network,
    Refractory,
    Theta,
    simulate,
)
from spikejax.component import parameter, part
from spikejax.gates import Upswing
from spikejax.kernels import KERNELS, AbstractKernel
from spikejax.neurons import RESETS, AbstractReset, AbstractResetNeuron, State
from spikejax.parameters import cast
from spikejax.releases import Surrogate

from ..by_day import by_day

COMPACT = [name for name, kernel in KERNELS.items() if kernel.compact]
# A neuron, a constant current that makes it spike a few times in 40 ms, and a step.
CASES = {
    "nif": (NIF(tau_mem=10.0), 1.3, 1.0),
    "lif": (LIF(tau_mem=10.0), 1.7, 1.0),
    "theta": (Theta(tau_mem=25.0), 2.0, 1.0),
    "alif": (ALIF(tau_mem=10.0), 2.2, 1.0),
    "glif": (GLIF(tau_mem=10.0), 2.2, 1.0),
    "refractory": (Refractory(LIF(tau_mem=10.0), tau_ref=2.3), 2.2, 1.0),
    "accommodating": (Accommodating(LIF(tau_mem=10.0), slope=0.3), 2.2, 1.0),
    "eif": (EIF(), 1500.0, 0.2),
    "adex": (AdEx(), 1500.0, 0.2),
    "izhikevich": (Izhikevich(), 20.0, 0.2),
    "hodgkin_huxley": (HodgkinHuxley(), 20.0, 0.05),
}


def arrivals(neuron, gate, current, dt, steps):
    """Per step, the charge and the time (ms) at which it was released, in the mean."""

    def step(state, i):
        state, (charge, prompt) = gate.step(neuron, state, current, dt)
        return state, (charge, (i + 1) * dt * charge - prompt * dt)

    charge, moment = jax.jit(lambda: jax.lax.scan(step, neuron.init(()), jnp.arange(1.0 * steps))[1])()
    return np.asarray(charge), np.asarray(moment)


@pytest.mark.parametrize("name", COMPACT)
def test_area_is_the_integral_of_the_cumulative(name):
    kernel, x = KERNELS.get(name)(), jnp.linspace(-1.4, 1.6, 301)
    np.testing.assert_allclose(kernel.area(jnp.array([-1.0, 1.0, 1.5])), [0, 1, 1.5], atol=1e-14)
    np.testing.assert_allclose(jax.vmap(jax.grad(kernel.area))(x), kernel.cumulative(x), atol=1e-12)
    # What a kernel without its own has; the triangle's bend is not a polynomial.
    np.testing.assert_allclose(AbstractKernel.area(kernel, x), kernel.area(x), atol=2e-4)


@pytest.mark.parametrize("name", COMPACT)
def test_prompt_is_the_mean_along_the_way(name):
    gate, t = Gate(name, 0.4), (jnp.arange(4000) + 0.5) / 4000
    for start, end in ((-0.5, 0.2), (-0.1, 0.15), (0.1, -0.19), (-0.3, -0.15), (-1.0, 0.5)):
        mean = jnp.mean(gate.cumulative(start + (end - start) * t))
        found = gate.prompt(*(gate.level(jnp.array(u)) for u in (start, end)))
        np.testing.assert_allclose(found, mean - gate.cumulative(jnp.array(start)), atol=1e-3)
    # A short way, to nothing.
    for way in (1e-2, 1e-4, 1e-8, 0.0):
        start, end = (gate.level(jnp.array(u)) for u in (0.03, 0.03 + way))
        found = float(gate.prompt(start, end))
        assert found == pytest.approx(0.5 * float(end.charge - start.charge), rel=0.03, abs=1e-15)


def test_the_gradient_of_an_upswing_is_finite_where_it_stands_still():
    # A speed that is nothing, or nearly so, and a way likewise.
    gate, low = cast(Gate(width=0.4), jnp.float32), jnp.float32(-0.05)
    for way in (0.0, 1e-38, -1e-38, 0.1, -0.1):
        for pace in (0.0, 1e-38, -1e-38, 1e-3, 1e30):

            def prompt(way, pace, growth):
                return gate.prompt(gate.level(low), gate.level(low + way), Upswing(pace, growth))

            args = [jnp.float32(x) for x in (way, pace, 3.0)]
            assert all(np.isfinite(jax.grad(prompt, (0, 1, 2))(*args)))


@pytest.mark.parametrize("name", by_day(CASES, ["eif", "theta", "alif", "accommodating", "refractory"]))
def test_charge_is_released_at_the_spike(name):
    # At a step ten times finer the time of a spike is known to a tenth.
    neuron, current, dt = CASES[name]
    steps = round(40 / dt)
    count, moment = arrivals(neuron, Gate(release="hard"), jnp.asarray(current), dt, steps)
    fine, fine_moment = arrivals(neuron, Gate(release="hard"), jnp.asarray(current), dt / 10, 10 * steps)
    assert count.sum() == fine.sum() >= 2
    times, expected = moment[count > 0], fine_moment[fine > 0]
    np.testing.assert_allclose(times, expected, atol=0.02 * dt)
    # A narrow zone says the same, and a broad one at most its own way earlier.
    width = 0.002 * float(neuron.bounds()[1] - neuron.bounds()[0])
    charge, moment = arrivals(neuron, Gate(width=width), jnp.asarray(current), dt, steps)
    assert charge.sum() == pytest.approx(count.sum(), abs=1e-6)
    assert moment.sum() == pytest.approx(times.sum(), abs=0.05 * dt * len(times))


@pytest.mark.parametrize("current", [5.0, 13.0, 60.0])
def test_several_spikes_in_a_step_of_a_lif_neuron_are_exact(current):
    dt, steps, tau = 20.0, 4, 20.0
    neuron = LIF(tau_mem=tau, v_reset=-0.2)
    charge, moment = arrivals(neuron, Gate(release="hard"), jnp.asarray(current), dt, steps)
    first, period = tau * np.log(current / (current - 1)), tau * np.log((current + 0.2) / (current - 1))
    times = np.arange(first, dt * steps, period)
    np.testing.assert_array_equal(charge, np.histogram(times, dt * np.arange(steps + 1))[0])
    assert charge.max() >= 3
    np.testing.assert_allclose(moment.sum(), times.sum(), rtol=1e-10)
    smooth, middle = arrivals(neuron, Gate(width=1e-3), jnp.asarray(current), dt, steps)
    np.testing.assert_allclose(smooth.sum(), charge.sum(), atol=1)
    np.testing.assert_allclose(
        middle[:-1].sum() / smooth[:-1].sum(), moment[:-1].sum() / charge[:-1].sum(), rtol=0.02
    )


@pytest.mark.parametrize("name", ["nif", "lif", "refractory"])
def test_a_neuron_at_its_threshold_spikes_once_at_once(name):
    neuron, _, dt = CASES[name]
    for v in (1.0, 1.3, 50.0):
        state = neuron.init(())._replace(v=jnp.asarray(v))
        for gate in (Gate(release="hard"), Gate(width=0.1)):
            end, (charge, prompt) = gate.step(neuron, state, jnp.asarray(0.2), dt)
            assert float(charge) == pytest.approx(1, abs=1e-12)
            assert float(prompt) == pytest.approx(1, abs=1e-12)
            assert float(end.v) < 0.2


def network(theta):
    """Two layers of LIF neurons on a slow drive."""
    keys = jax.random.split(jax.random.key(0), 4)
    synapse = Exponential(8.0, rate_unit=0.05)
    below = Layer(Dense(theta[:, None] * jnp.array([[0.5], [-0.4], [0.6], [0.3]]), (1,)), None,
        jnp.array([2.1, 2.4, 1.9, 2.2]), LIF(tau_mem=10.0), synapse)  # fmt: skip
    above = Layer(Dense(0.2 * jax.random.normal(keys[1], (3, 1, 4)), (1, 4)), None,
        jnp.array([2.0, 2.3, 2.1]), LIF(tau_mem=12.0), synapse)  # fmt: skip
    readout = LeakyReadout.create((1, 3), 1, tau_out=20.0, key=keys[2])
    return Network((below, above), readout)


def gradient(gate, dt, at):
    time = dt * (jnp.arange(round(100 / dt)) + 0.5)
    stimulus, target = jnp.sin(time / 15)[:, None], jnp.cos(time / 20)

    return np.asarray(_gradient(at, gate, stimulus, target, dt))


@functools.partial(jax.jit, static_argnums=4)
def _gradient(at, gate, stimulus, target, dt):
    def loss(theta):
        out = simulate(network(theta), stimulus, gate=gate, dt=dt).readout[:, 0]
        return jnp.mean((out - target) ** 2)

    return jax.vmap(jax.grad(loss))(at)


def test_a_narrow_zone_has_the_gradient_of_a_hard_threshold():
    at = 1 + 0.1 * jax.random.uniform(jax.random.key(4), (24, 4))
    hard = gradient(Gate(release="hard"), 0.5, at)
    distance = lambda g: np.sqrt(np.sum((g - hard) ** 2) / np.sum(hard**2))
    errors = [distance(gradient(Gate(width=w), 0.5, at)) for w in (0.3, 0.03, 0.003, 0.0003)]
    assert errors[0] > 0.03
    assert errors[3] < 0.01
    assert errors[0] > errors[1] > errors[2] > errors[3]


@pytest.mark.nightly
def test_the_gradient_hangs_little_on_the_step_even_at_a_hard_threshold():
    at = 1 + 0.1 * jax.random.uniform(jax.random.key(4), (24, 4))
    gate = Gate(release="hard")
    fine = gradient(gate, 0.05, at)
    errors = [np.sqrt(np.sum((gradient(gate, dt, at) - fine) ** 2) / np.sum(fine**2)) for dt in (1.0, 0.125)]
    assert errors[0] < 0.4
    assert errors[1] < 0.4 * errors[0]


def test_a_surrogate_may_have_the_gradient_of_its_times(relative):
    net = network(jnp.ones(4))
    stimulus = jnp.sin(jnp.arange(200) * 0.5 / 15)[:, None]

    def run(kind):
        gate = Gate("triangle", 1.0, release=kind)
        loss = lambda n: jnp.mean(simulate(n, stimulus, gate=gate, dt=0.5).readout ** 2)
        return jax.jit(jax.value_and_grad(loss))(net)

    (plain, d_plain), (timed, d_timed), (hard, _) = map(
        run, (Surrogate(), Surrogate(time_gradient=True), "hard")
    )
    assert float(plain) == float(timed) == pytest.approx(float(hard), rel=1e-12)
    assert relative(d_plain, d_timed) > 1e-3
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(eqx.filter(d_timed, eqx.is_array)))


def test_levels_of_a_whole_way_make_a_whole_charge():
    neuron, gate = LIF(), Gate(width=0.3)
    below, top = neuron.level(gate, State(jnp.asarray(0.1))), neuron.ends(gate, State(jnp.asarray(0.0)))[0]
    assert float(top.charge - below.charge) == 1
    assert float(neuron.level(gate, State(jnp.asarray(1.0))).charge) == 0


@pytest.mark.nightly
def test_float32_over_random_networks():
    errors = []
    for seed in range(40):
        keys = jax.random.split(jax.random.key(seed), 2)
        neuron = [LIF(tau_mem=10.0), NIF(tau_mem=10.0), Theta(tau_mem=20.0), ALIF(tau_mem=10.0)][seed % 4]
        dt, width = [0.5, 1.0, 0.25][seed % 3], [0.5, 0.1, 0.03, 0.01][(seed // 4) % 4]
        drawn = Network.dense(
            3, (8,), 2, neuron=neuron, synapse=Exponential((5.0, 10.0), 0.1), recurrent_scale=0.15,
            input_scale=0.5, bias=(1.1, 1.8), key=keys[0],
        )  # fmt: skip
        stimulus = 0.6 * jax.random.normal(keys[1], (80, 3))

        def leaves(dtype, drawn=drawn, stimulus=stimulus, width=width, dt=dt):
            net, gate = cast(drawn, dtype), cast(Gate("raised_cosine", width), dtype)
            value = lambda n: jnp.mean(simulate(n, stimulus.astype(dtype), gate=gate, dt=dt).readout ** 2)
            found = jax.tree.leaves(jax.jit(jax.grad(value))(net))
            return np.concatenate([np.asarray(x, np.float64).ravel() for x in found])

        single, double = leaves(jnp.float32), leaves(jnp.float64)
        errors.append(np.linalg.norm(single - double) / np.linalg.norm(double))
    assert np.median(errors) < 1e-5
    assert max(errors) < 2e-3


class QuadraticIF(AbstractResetNeuron):
    """A user's neuron with an upswing, of which it says nothing."""

    v_th: jax.Array = parameter(6.0)
    v_reset: jax.Array = parameter(-2.0)
    v_init: jax.Array = parameter(-2.0)
    reset: AbstractReset = part(RESETS, "split")

    def flow(self, state, current, dt):
        # v = w tan(w t/10 + phase), beyond the pole a large number.
        w = jnp.sqrt(current)
        angle = jnp.arctan(state.v / w) + w * dt / 10
        return state._replace(v=jnp.where(angle < 1.5, w * jnp.tan(jnp.minimum(angle, 1.5)), 50.0))


UPSWINGS = {name: CASES[name] for name in ("eif", "adex", "izhikevich")} | {
    "hodgkin_huxley": (HodgkinHuxley(), 20.0, 0.02),
    "users": (QuadraticIF(), 1.0, 1.0),
    "refractory": (Refractory(EIF(), tau_ref=1.0), 1500.0, 0.2),
    "accommodating": (Accommodating(EIF(), v_half=-55.0, width=5.0, slope=0.3), 1500.0, 0.2),
}


@pytest.mark.parametrize("name", UPSWINGS)
def test_velocity_is_the_derivative_of_the_flow(name):
    neuron, current, _ = UPSWINGS[name]
    state = neuron.init(())
    for t in (1.0, 2.0, 4.0):
        state = neuron.flow(state, jnp.asarray(current), t / 4)
        state = state._replace(v=jnp.minimum(state.v, neuron.threshold(state)))
        height = lambda t, state=state: neuron.height(neuron.flow(state, jnp.asarray(current), t))
        expected = (height(1e-5) - height(0.0)) / 1e-5
        np.testing.assert_allclose(neuron.velocity(state, jnp.asarray(current)), expected, rtol=1e-3)


@pytest.mark.parametrize("zone", [pytest.param(0.01, marks=pytest.mark.nightly), 0.05])
@pytest.mark.parametrize(
    "name",
    by_day(UPSWINGS, ["eif", "users"]),
)
def test_an_upswing_passes_the_zone_when_it_does(name, zone):
    # Steps that begin at different phases before the first spike, each against many short ones.
    neuron, current, dt = UPSWINGS[name]
    low, high = neuron.bounds()
    gate, many = Gate(width=zone * (high - low)), 200
    current, h = jnp.asarray(current), dt / many
    step = jax.jit(lambda state, dt: gate.step(neuron, state, current, dt))

    def forward(state, _):
        new, released = step(state, h)
        return new, (state, released)

    _, (states, fine) = jax.lax.scan(forward, neuron.init(()), None, length=round(40 / h))
    states, fine = jax.tree.map(np.asarray, (states, fine))
    spike = int(np.argmax(np.cumsum(fine.charge) > 0.5))
    starts = np.linspace(spike - many, spike - 1, 41).astype(int)
    left = 1 - (np.arange(many) + 1) / many
    pieces = [slice(i, i + many) for i in starts]
    expected = [np.sum(fine.charge[p] * left + fine.prompt[p] / many) for p in pieces]
    begin = jax.tree.map(lambda x: jnp.asarray(x[starts]), states)
    whole = jax.vmap(lambda state: step(state, dt)[1])(begin)
    np.testing.assert_allclose(whole.charge, [np.sum(fine.charge[p]) for p in pieces], atol=0.02)
    error = np.abs(whole.prompt - np.array(expected)).max()
    assert error < 1.5e-3

    def straight(state):
        end, path = neuron.travel(state, current, dt)
        return neuron.released(gate, end, path._replace(upswing=None)).prompt

    # Taken as straight the way is worse by far: what this test can see.
    assert np.abs(jax.jit(jax.vmap(straight))(begin) - np.array(expected)).max() > max(3 * error, 2e-3)
