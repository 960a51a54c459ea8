"""Neurons of several variables: their gradients by every adjoint and by differences, limits in which one is
another, refractoriness."""

import itertools

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
    Autodiff,
    Costate,
    Exponential,
    Gate,
    HodgkinHuxley,
    Izhikevich,
    Network,
    Refractory,
    Theta,
    simulate,
)
from spikejax.neurons import Drive, State
from spikejax.neurons.solvers import crossing_time, time_to

from ..by_day import by_day

# Neuron, dt (ms), and the scale of the currents that make it spike.
ZOO = {
    "alif": (ALIF(tau_mem=10.0), 0.5, 1.0),
    "glif": (GLIF(tau_mem=10.0, tau_asc=(10.0, 100.0), jump_asc=(0.3, -0.2)), 0.5, 1.0),
    "eif": (EIF(), 0.25, 700.0),
    "adex": (AdEx(), 0.25, 700.0),
    "izhikevich": (Izhikevich(), 0.25, 12.0),
    "hodgkin_huxley": (HodgkinHuxley(), 0.05, 12.0),
    "refractory accommodating lif": (
        Refractory(Accommodating(LIF(tau_mem=10.0), slope=0.6), tau_ref=1.7),
        0.5,
        1.0,
    ),
    "refractory adex": (Refractory(AdEx(), tau_ref=1.7), 0.25, 700.0),
}
WIDTH = {
    "alif": 0.4,
    "glif": 0.4,
    "refractory accommodating lif": 0.4,
    "hodgkin_huxley": 30.0,
    "eif": 4.0,
    "adex": 4.0,
    "refractory adex": 4.0,
    "izhikevich": 20.0,
}
STEPS = 60
STIMULUS = 1.5 + 0.6 * jax.random.normal(jax.random.key(1), (STEPS, 2))


def make(name):
    neuron, dt, scale = ZOO[name]
    network = Network.dense(
        2, (3,), 1, neuron=neuron, synapse=Exponential((3.0, 10.0), 0.1), key=jax.random.key(0),
        recurrent_scale=0.1 * scale,
        input_scale=0.2 * scale, bias=(1.1 * scale, 1.6 * scale),
    )  # fmt: skip
    return network, dt, Gate("raised_cosine", WIDTH[name])


def loss(network, gate, dt, adjoint):
    out = simulate(network, STIMULUS, gate=gate, dt=dt, adjoint=adjoint, save=("v", "release"))
    low, high = network.layers[0].neuron.bounds()
    v = jnp.mean((out.layers[0].v / (high - low)) ** 2)
    return jnp.mean(out.readout**2) + 0.1 * jnp.sum(out.counts[0]) + v


# Charge for all but two that share another's code; the other releases where a spike changes several
# variables, and none.
CASES = [(name, "charge") for name in ZOO if name not in ("alif", "eif")]
CASES += [("glif", "graded"), ("glif", "surrogate"), ("hodgkin_huxley", "surrogate")]
# These take longest to compile.
AT_NIGHT = [
    ("refractory adex", "charge"),
    ("hodgkin_huxley", "charge"),
    ("refractory accommodating lif", "charge"),
]
CASES = by_day(CASES, [x for x in CASES if x not in AT_NIGHT])


@pytest.mark.parametrize(("name", "release"), CASES)
def test_gradients_equal_differences(name, release, relative):
    network, dt, gate = make(name)
    gate = gate.with_release(release)
    params, fixed = eqx.partition(network, eqx.is_inexact_array)
    value = lambda adjoint: lambda p: loss(eqx.combine(p, fixed), gate, dt, adjoint)
    both = jax.jit(jax.value_and_grad(value(Costate())))
    exact = both(params)[1]
    if isinstance(ZOO[name][0], Refractory):  # the others are in contracts/test_adjoints.py
        assert relative(exact, jax.jit(jax.grad(value(Autodiff())))(params)) < 1e-9
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(exact))
    spikes = jax.jit(lambda: simulate(network, STIMULUS, gate=gate.hard(), dt=dt).counts[0])()
    assert float(spikes.sum()) >= 3
    if release == "surrogate":
        return
    # A random direction through every parameter, in units of its size.
    keys = jax.random.split(jax.random.key(2), len(jax.tree.leaves(params)))
    leaves, tree = jax.tree.flatten(params)
    direction = jax.tree.unflatten(
        tree, [jnp.abs(x) * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    )
    slope = sum(
        float(jnp.vdot(a, b)) for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(direction), strict=True)
    )
    # Of the same program: every adjoint has the same way there (test_simulate.py).
    f = lambda e: both(jax.tree.map(lambda x, d: x + e * d, params, direction))[0]
    best = min(abs((float(f(e)) - float(f(-e))) / (2 * e) - slope) for e in (1e-6, 1e-7, 1e-8, 1e-9))
    assert best < 2e-4 * abs(slope)


def spikes(neuron, current, dt, steps):
    gate = Gate(width=0.1, release="hard")
    step = lambda s, _: (lambda out: (out[0], (out[0].v, out[1].charge)))(gate.step(neuron, s, current, dt))
    return jax.lax.scan(step, neuron.init(current.shape), None, length=steps)[1]


CURRENT = jnp.array([0.8, 1.3, 2.4])
EQUAL = {
    "ALIF without adaptation is the LIF": (ALIF(tau_mem=10.0, beta=0.0), LIF(tau_mem=10.0), CURRENT, 0.5),
    "GLIF without jumps is the LIF": (GLIF(tau_mem=10.0, jump_asc=(0.0, 0.0), jump_theta=0.0),
        LIF(tau_mem=10.0), CURRENT, 0.5),
    "GLIF with a threshold alone is the ALIF": (
        GLIF(tau_mem=10.0, jump_asc=(0.0, 0.0), jump_theta=0.3, tau_theta=80.0),
        ALIF(tau_mem=10.0, beta=0.3, tau_adapt=80.0), CURRENT, 0.5,
    ),
    "AdEx without adaptation is the EIF": (AdEx(a=0.0, b=0.0), EIF(), 700 * CURRENT, 0.1),
    "a threshold that does not follow": (Accommodating(LIF(tau_mem=10.0), slope=0.0), LIF(tau_mem=10.0),
        CURRENT, 0.5),
    "no refractory period": (Refractory(LIF(tau_mem=10.0), tau_ref=0.0), LIF(tau_mem=10.0), CURRENT, 0.5),
}  # fmt: skip


@pytest.mark.parametrize("case", EQUAL)
def test_limits(case):
    one, other, current, dt = EQUAL[case]
    (v, count), (expected, expected_count) = (spikes(neuron, current, dt, 200) for neuron in (one, other))
    np.testing.assert_allclose(v, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(count, expected_count)
    assert float(count.sum()) >= 4


def test_glif_through_equal_time_constants():
    # tau_asc = tau_mem is 0/0 in the textbook's formula.
    state = GLIF(tau_mem=10.0, tau_asc=(10.0, 10.0)).init((2,))._replace(asc=jnp.ones((2, 2)))
    at = lambda tau: GLIF(tau_mem=10.0, tau_asc=tau).flow(state, jnp.zeros(2), 3.0).v[0]
    value, slope = at(jnp.array([10.0, 10.0])), jax.grad(at)(jnp.array([10.0, 10.0]))
    np.testing.assert_allclose(value, 2 * 0.3 * np.exp(-0.3), rtol=1e-12)
    for e in (1e-4, 0.05):
        np.testing.assert_allclose(
            (at(jnp.array([10 + e, 10.0])) - at(jnp.array([10 - e, 10.0]))) / (2 * e), slope[0], rtol=1e-3
        )


def test_an_adaptive_neuron_slows_down():
    _, count = spikes(ALIF(tau_mem=10.0, beta=0.4), jnp.array([3.0]), 0.5, 600)
    intervals = np.diff(np.flatnonzero(np.asarray(count[:, 0])))
    assert intervals[-1] > 1.5 * intervals[0]
    assert np.all(np.diff(intervals) >= -1)


def test_accommodation_tells_a_step_from_a_ramp_and_blocks_strong_currents():
    # v of a LIF neuron is the filtered current; its steady threshold 1 + slope (v - v_half) is above it from
    # v = 2 on if slope > 1.
    neuron, dt = (
        Accommodating(LIF(tau_mem=10.0), tau=30.0, slope=1.5, v_half=0.5, width=0.02),
        0.1,
    )
    gate = Gate(width=0.1, release="hard")
    step = lambda s, i: (lambda out: (out[0], (out[0].phi, out[1].charge)))(gate.step(neuron, s, i, dt))
    run = lambda current: jax.lax.scan(step, neuron.init(()), jnp.asarray(current))[1]
    steps = round(400 / dt)
    _, slow = run(np.linspace(0, 1.8, steps))
    _, fast = run(np.full(steps, 1.8))
    assert float(slow.sum()) == 0
    assert float(fast.sum()) >= 1
    assert float(fast[steps // 2 :].sum()) == 0
    # Where it rests, phi is f(v).
    phi, _ = run(np.full(steps, 0.9))
    np.testing.assert_allclose(phi[-1], 1.5 * 0.4, rtol=1e-5)


def test_accommodation_is_of_second_order_in_the_step():
    neuron = Accommodating(LIF(tau_mem=10.0), tau=15.0, slope=0.8)
    at = lambda n: (
        jax.lax.fori_loop(0, n, lambda _, s: neuron.flow(s, jnp.asarray(0.95), 20.0 / n), neuron.init(())).phi
    )
    exact = at(4096)
    errors = [abs(float(at(n) - exact)) for n in (16, 32, 64)]
    assert errors[0] > 1e-7
    for coarse, fine in itertools.pairwise(errors):
        assert 3.5 < coarse / fine < 4.5


def test_refractory_intervals_are_longer_by_the_period():
    # tau_ref + tau_mem log(I/(I - 1)), whatever the grid.
    current, tau_ref = 1.7, 3.3
    for dt in (0.1, 0.5, 1.0):
        _, count = spikes(
            Refractory(LIF(tau_mem=10.0), tau_ref=tau_ref), jnp.array([current]), dt, round(300 / dt)
        )
        first, interval = 10 * np.log(1.7 / 0.7), tau_ref + 10 * np.log(1.7 / 0.7)
        expected = np.arange(first, 300, interval)
        np.testing.assert_array_equal(
            np.flatnonzero(np.asarray(count[:, 0])), np.floor(expected / dt).astype(int)
        )


def test_the_gradient_of_the_refractory_period():
    gate, steps, dt = Gate("raised_cosine", 0.9), 300, 0.5

    def charge(tau_ref):
        neuron = Refractory(LIF(tau_mem=10.0), tau_ref=tau_ref)
        state = neuron.init(())
        step = lambda s, _: (lambda out: (out[0], out[1].charge))(gate.step(neuron, s, jnp.asarray(1.7), dt))
        return jnp.sum(jax.lax.scan(step, state, None, length=steps)[1] * jnp.arange(steps))

    at, e = jnp.asarray(3.3), 1e-5
    slope, charge = float(jax.jit(jax.grad(charge))(at)), jax.jit(charge)
    assert slope < 0
    assert (float(charge(at + e)) - float(charge(at - e))) / (2 * e) == pytest.approx(slope, rel=1e-5)


def test_adaptation_goes_on_while_v_is_held():
    neuron = AdEx()
    state = neuron.init((1,))._replace(v=jnp.array([-60.0]), w=jnp.array([100.0]))
    steady = 4.0 * 10.6
    held = neuron.hold(state, jnp.zeros(1), 50.0)
    np.testing.assert_allclose(held.w, steady + (100 - steady) * np.exp(-50 / 144), rtol=1e-12)
    np.testing.assert_array_equal(held.v, state.v)
    state = ALIF(tau_adapt=100.0).init((1,))._replace(a=jnp.array([2.0]))
    np.testing.assert_allclose(
        ALIF(tau_adapt=100.0).hold(state, jnp.ones(1), 50.0).a, 2 * np.exp(-0.5), rtol=1e-12
    )


@pytest.mark.parametrize("neuron", [Theta(), HodgkinHuxley()], ids=lambda n: type(n).__name__)
def test_no_refractoriness_without_a_reset(neuron):
    for wrap in (Refractory, Accommodating):
        with pytest.raises(ValueError, match="has no reset"):
            wrap(neuron)


def test_hodgkin_huxley_counts_the_upward_crossing_alone():
    network, dt, gate = make("hodgkin_huxley")
    stimulus = jnp.tile(STIMULUS, (8, 1))
    run = jax.jit(lambda gate: simulate(network, stimulus, gate=gate, dt=dt, save=("release", "v")))
    smooth, hard = run(gate), simulate(network, stimulus, gate=gate.hard(), dt=dt, save=("v",))
    v = np.asarray(hard.layers[0].v)
    upward = np.sum((v[:-1] < 0) & (v[1:] >= 0), axis=0)
    assert upward.sum() >= 3
    np.testing.assert_array_equal(hard.counts[0], upward)
    release = smooth.layers[0].release
    assert float(release.min()) >= 0
    # Every spike passes the whole zone; what is between is the smooth charge of the last, unfinished one.
    crossings = np.sum((smooth.layers[0].v[:-1] < 0) & (smooth.layers[0].v[1:] >= 0), axis=0)
    assert np.all(np.abs(np.asarray(smooth.counts[0]) - crossings) < 1.0)
    assert np.all(np.asarray(smooth.counts[0]) >= crossings - 1e-9)


def test_the_graded_release_of_a_neuron_without_reset_is_refused():
    network, dt, gate = make("hodgkin_huxley")
    with pytest.raises(ValueError, match="graded"):
        simulate(network, STIMULUS, gate=gate.with_release("graded"), dt=dt)


@jax.jit
def step_and_derivatives(neuron, state, current):
    step = lambda s, i: Gate(width=1.0, release="hard").step(neuron, s, i, 0.5)
    out, pull = jax.vjp(step, state, current)
    return out, pull(jax.tree.map(jnp.ones_like, out))


@pytest.mark.parametrize("cut", [-40.4, 0.0, 20.0])
def test_the_upswing_never_overflows(cut):
    # In v, a step from -45 mV overshoots any cut-off beyond the largest float.
    for dtype in (jnp.float32, jnp.float64):
        neuron = jax.tree.map(lambda x: x.astype(dtype), AdEx(v_th=cut))
        state = neuron.init((4,))._replace(v=jnp.array([-120.0, -50.0, -45.0, cut - 0.1], dtype))
        (after, (count, _)), grads = step_and_derivatives(neuron, state, jnp.full(4, 900.0, dtype))
        assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves((after, grads)))
        assert count[-1] == 1


def test_the_crossing_time_is_found_to_rounding():
    neuron = LIF(tau_mem=10.0)
    v, current = (
        x.ravel() for x in jnp.meshgrid(jnp.linspace(0.5, 0.9999, 20), jnp.array([1.001, 1.5, 10.0, 300.0]))
    )
    dt = 2.0
    spiked = neuron.flow(State(v), current, dt).v >= 1

    def rise(t):
        there = neuron.flow(State(v), current, t)
        return neuron.height(there), neuron.velocity(there, current)

    found = jax.jit(lambda: crossing_time(rise, dt, spiked, jnp.full(v.shape, 1e-15)))()
    expected = 10 * np.log((current - v) / (current - 1))
    assert 20 < int(spiked.sum()) < v.size
    np.testing.assert_allclose(found[spiked], expected[spiked], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("x", [0.1, 1.0, 30.0, 1e3, 1e6])
def test_half_a_turn_takes_as_long_however_near_the_goal_is(x):
    # S/C = y/x of the quadratic flow: by its series where y/x is small.
    x, current = jnp.asarray(x), jnp.asarray(7.0)
    given = jnp.ones(()), x, current, jnp.asarray(True)
    time, half = time_to(*given)
    root = np.sqrt(7.0)
    np.testing.assert_allclose(time, np.arctan2(root, x) / root, rtol=1e-12)
    np.testing.assert_allclose(half, np.pi / root, rtol=1e-14)
    by_x, by_current = jax.jacrev(lambda x, i: time_to(given[0], x, i, given[3]), (0, 1))(x, current)[1]
    assert float(by_x) == 0
    np.testing.assert_allclose(by_current, -np.pi / (2 * 7.0**1.5), rtol=1e-12)


def test_half_a_turn_takes_no_time_where_nothing_turns():
    one, yes = jnp.ones(3), jnp.ones(3, bool)
    _, half = time_to(one, 10 * one, jnp.array([0.0, -1.0, 7.0]), yes.at[2].set(False))
    np.testing.assert_array_equal(half, 0.0)


@pytest.mark.parametrize(
    "name", by_day(["alif", "eif", "izhikevich", "refractory accommodating lif"], ["alif", "izhikevich"])
)
def test_second_derivatives_through_a_crossing(name):
    # The implicit function theorem once more: Newton's step at the root alone would miss the curvature.
    neuron, dt, scale = ZOO[name]
    low, high = neuron.bounds()
    start = jax.tree.map(lambda x: x, neuron.init(()))
    start = start._replace(v=high - 0.08 * (high - low))

    def outcome(c):
        end, path = neuron.travel(start, 3.0 * scale * c, dt)
        assert path.first is not None
        return path.first**2 + end.v / high, path.count

    assert float(outcome(jnp.asarray(1.0))[1]) == 1, "the neuron spikes"
    gradient = lambda c: jax.grad(outcome, has_aux=True)(c)[0]
    first = jax.jit(gradient)
    difference = float(first(1 + 1e-5) - first(1 - 1e-5)) / 2e-5
    for second in (jax.grad(gradient), lambda c: jax.jvp(gradient, (c,), (1.0,))[1]):
        assert float(jax.jit(second)(1.0)) == pytest.approx(difference, rel=1e-5)


def test_second_derivatives_of_a_run_are_forward_over_reverse():
    neuron = ALIF(tau_mem=10.0)

    def total(c):
        def step(state, _):
            state, path = neuron.travel(state, 2.2 * c, 1.0)
            return state, path.first**2 + state.v

        return jax.lax.scan(step, neuron.init(()), None, length=12)[1].sum()

    gradient = jax.jit(jax.grad(total))
    hessian = float(jax.jit(jax.hessian(total))(1.0))
    difference = float(gradient(1 + 1e-5) - gradient(1 - 1e-5)) / 2e-5
    assert hessian == pytest.approx(difference, rel=1e-6)


def test_conductance_is_a_shunt():
    neuron, g = LIF(tau_mem=10.0), 1.5
    # With g the time constant is tau/(1 + g) and the target I/(1 + g).
    other = LIF(tau_mem=10.0 / (1 + g))
    (v, count), (expected, expected_count) = (
        (lambda out: (out[0].v, out[1].charge))(
            Gate(release="hard").step(n, State(jnp.array([0.2, 0.95])), drive, 0.5)
        )
        for n, drive in (
            (neuron, Drive(jnp.array([1.0, 4.0]), jnp.array([g, g]))),
            (other, jnp.array([1.0, 4.0]) / (1 + g)),
        )
    )
    np.testing.assert_allclose(v, expected, rtol=1e-12)
    np.testing.assert_array_equal(count, expected_count)
    # The NIF neuron with g is the limit of small g as without.
    step = lambda drive: NIF(tau_mem=10.0).flow(State(jnp.array([0.3])), drive, 1.0).v
    np.testing.assert_allclose(
        step(Drive(jnp.array([0.7]), jnp.array([1e-9]))), step(jnp.array([0.7])), rtol=1e-8
    )
