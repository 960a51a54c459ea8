"""Currents and conductances of any size, against implicit solvers at tight tolerance, and neurons that start
above their threshold."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from spikejax import (
    ALIF,
    EIF,
    GLIF,
    LIF,
    NIF,
    Accommodating,
    AdEx,
    Exponential,
    Gate,
    HodgkinHuxley,
    Izhikevich,
    Network,
    Refractory,
    Theta,
    check_step,
)
from spikejax.neurons import Drive
from spikejax.neurons.solvers import decay_weights, quadratic
from spikejax.parameters import cast

from ..by_day import by_day

SIZES = np.logspace(-1, 9, 21)
RESETTING = {
    "lif": LIF,
    "nif": NIF,
    "alif": ALIF,
    "glif": GLIF,
    "eif": EIF,
    "adex": AdEx,
    "izhikevich": Izhikevich,
    "refractory eif": lambda **kw: Refractory(EIF(**kw)),
    "accommodating lif": lambda **kw: Accommodating(LIF(**kw), slope=0.1),
}


def run(neuron, drive, dt, steps):
    """Spikes of each neuron, and the last state."""

    def step(state, _):
        state, path = neuron.travel(state, drive, dt)
        return state, path.count

    state = neuron.init((len(SIZES),))
    last, count = jax.jit(lambda state: jax.lax.scan(step, state, None, length=steps))(state)
    return np.asarray(count.sum(0)), last


def equation(neuron, current, conductance):
    """The right-hand side in numpy, written again from the docstrings."""
    p = {name: float(getattr(neuron, name)) for name in vars(neuron) if np.ndim(getattr(neuron, name)) == 0
         and name not in ("reset", "substeps")}  # fmt: skip

    def field(t, y):
        v, w = y
        if isinstance(neuron, Izhikevich):
            return [0.04 * v**2 + 5 * v + 140 - w + current - conductance * v, p["a"] * (p["b"] * v - w)]
        swing = p["g_L"] * p["Delta_T"] * np.exp((v - p["V_T"]) / p["Delta_T"])
        dv = p["g_L"] * (p["E_L"] - v) + swing - w + current - conductance * v
        dw = (p["a"] * (v - p["E_L"]) - w) / p["tau_w"] if isinstance(neuron, AdEx) else 0.0
        return [dv / p["C"], dw]

    return field


@pytest.mark.parametrize("dt", by_day([0.1, 1.0], [1.0]))
@pytest.mark.parametrize("kind", ["conductance", "current"])
@pytest.mark.parametrize("cls", [EIF, AdEx, Izhikevich])
def test_inhibition_alone_never_makes_a_neuron_spike(cls, kind, dt):
    neuron, steps = cls(), round(30 / dt)
    size = jnp.asarray(SIZES)
    drive = Drive(-80.0 * size, size) if kind == "conductance" else -size
    count, last = run(neuron, drive, dt, steps)
    assert not count.any()
    start = [float(x) for x in jax.tree.leaves(neuron.init(()))]
    start = start if len(start) == 2 else [*start, 0.0]
    for i in range(0, 15, 2):  # up to 1e6: beyond it the implicit solver is not to be trusted
        current, conductance = (-80.0 * SIZES[i], SIZES[i]) if kind == "conductance" else (-SIZES[i], 0.0)
        field = equation(neuron, current, conductance)
        truth = solve_ivp(field, (0, 30), start, method="Radau", rtol=1e-8, atol=1e-8).y[0, -1]
        # What falls by itself is of the order of the step; at a fixed point there is nothing to be wrong.
        assert float(last.v[i]) == pytest.approx(truth, rel=2e-3 * dt), SIZES[i]
    assert np.all(np.isfinite(np.asarray(last.v)))


@pytest.mark.parametrize("kinetics", by_day(["squid", "cortical"], ["squid"]))
def test_hodgkin_huxley_is_finite_for_any_finite_current(kinetics):
    # In single precision, in which less overflows late.
    neuron, gate = cast((HodgkinHuxley(kinetics=kinetics), Gate(width=10.0, release="hard")), jnp.float32)
    size = np.logspace(0, 37, 60)
    current = jnp.asarray(np.concatenate([-size, size]), jnp.float32)
    state = neuron.init((120,))

    def total(current):
        def step(state, _):
            state, released = gate.step(neuron, state, current, 0.5)
            return state, released.prompt

        last, prompt = jax.lax.scan(step, state, None, length=20)
        return prompt.sum() + 1e-9 * last.v.sum(), last

    (_, last), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(current)
    assert all(np.all(np.isfinite(np.asarray(x))) for x in (*last, gradient))


def test_the_quadratic_flow_is_exact():
    random = np.random.default_rng(0)
    seen = {"past": 0, "decays": 0, "turns": 0}
    for _ in range(60):
        v, dt = random.uniform(-90, 30), 10 ** random.uniform(-3, 0.5)
        b = 5 - random.exponential(5) * (random.random() < 0.7)
        c = 140 + random.normal() * 10 ** random.uniform(0, 3.5)
        numbers = (jnp.asarray(float(x)) for x in (v, 0.04, b, c, dt, 60))
        end, mean = (float(x) for x in quadratic(*numbers))
        peak = lambda t, y: y[0] - 60
        peak.terminal = True
        field = lambda t, y, b=b, c=c: [0.04 * y[0] ** 2 + b * y[0] + c, y[0]]
        truth = solve_ivp(field, (0, dt), [v, 0.0], rtol=1e-11, atol=1e-11, method="DOP853", events=peak)
        seen["past" if truth.status == 1 else "decays" if b**2 > 0.16 * c else "turns"] += 1
        if truth.status == 1:
            assert end == pytest.approx(60.0, rel=1e-14)
        else:
            assert (end, mean) == pytest.approx((truth.y[0, -1], truth.y[1, -1] / dt), rel=1e-8, abs=1e-8)
    assert all(seen.values())


def test_the_quadratic_flow_has_its_derivatives_at_the_borders_of_its_formulas():
    # A tangent, a series around discriminant 0, which is at c = 156.25, and a hyperbolic tangent.
    dt, centre = 0.3, 156.25
    total = lambda c: sum(quadratic(jnp.asarray(-62.0), 0.04, 5.0, c, dt, 60.0))
    border = 1e-3 / dt**2 / 0.04
    c = centre + jnp.asarray([-1.0, -0.9999, -1e-9, 0.0, 1e-9, 0.9999, 1.0001]) * border
    derivative, value = jax.vmap(jax.grad(total)), jax.vmap(total)
    difference = (value(c + 1e-3) - value(c - 1e-3)) / 2e-3
    np.testing.assert_allclose(derivative(c), difference, rtol=1e-7)
    second = jax.vmap(jax.grad(jax.grad(total)))(c)
    np.testing.assert_allclose(second, (derivative(c + 1e-3) - derivative(c - 1e-3)) / 2e-3, rtol=1e-5)


def test_decay_weights_are_those_of_an_exponential_to_order_4():
    z = jnp.asarray([0.0, 1e-8, 1e-3, 0.02])
    exact = [np.exp(-np.longdouble(z))]
    for k in range(3):
        with np.errstate(invalid="ignore", divide="ignore"):
            exact.append((1 / np.longdouble([1, 1, 2][k]) - exact[-1]) / np.longdouble(z))
    weights = decay_weights(z)
    np.testing.assert_allclose([float(w[0]) for w in weights], [1, 1, 1 / 2, 1 / 6], rtol=1e-15)
    for w, e, power in zip(weights, exact, (5, 4, 3, 2), strict=True):
        np.testing.assert_allclose(w[3], float(e[3]), rtol=1.5 * 0.02**power / 24)
    # However fast the decay: positive, and a step ends at the fixed point.
    far = decay_weights(jnp.logspace(0, 8, 50))
    assert all(np.all(np.asarray(w) > 0) for w in far)
    np.testing.assert_allclose(far[0] + jnp.logspace(0, 8, 50) * far[1], 1.0, rtol=1e-12)


@pytest.mark.parametrize("name", RESETTING)
def test_a_neuron_that_starts_above_its_threshold_spikes_once_at_once(name):
    plain = RESETTING[name]()
    low, high = (float(x) for x in plain.bounds())
    current = jnp.asarray([0.0])
    # By its initial value, by a state handed over, and by noise of the initial value.
    above = RESETTING[name](v_init=high + 0.5 * (high - low))
    handed = plain.init((1,))._replace(v=jnp.asarray([high + 3 * (high - low)]))
    noisy = plain.init((1,), key=jax.random.key(3), noise=50 * (high - low))
    noisy = noisy._replace(v=jnp.abs(noisy.v) + high)
    for state in (above.init((1,)), handed, noisy):
        end, path = plain.travel(state, current, 0.1)
        assert float(path.count[0]) == 1
        assert float(path.first[0]) == 0
        # It goes on from its reset.
        then, _ = plain.travel(plain.on_spike(state), current, 0.1)
        assert float(end.v[0]) == float(then.v[0])


def test_a_start_above_the_threshold_has_no_more_spikes_than_the_current_makes():
    # To I = 1.001 the way from 0 takes 10 ln(1.001/0.001) = 69 ms.
    neuron = LIF(v_init=1.5)
    state, counts = neuron.init((1,)), []
    for _ in range(80):
        state, path = neuron.travel(state, jnp.asarray([1.001]), 1.0)
        counts.append(float(path.count[0]))
    assert counts[0] == 1
    assert np.flatnonzero(counts[1:])[0] + 1 == int(10 * np.log(1.001 / 0.001))
    assert sum(counts) == 2


@pytest.mark.parametrize(
    ("neuron", "dt", "named"),
    [
        (Izhikevich(a=1.0, b=1.5), 2.0, "1/a of 1 ms"),
        (AdEx(a=4000.0, tau_w=20.0), 3.0, "sqrt(C tau_w/|a|) of 1.18"),
        (EIF(g_L=300.0), 1.5, "C/g_L of 0.93"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_a_step_that_cannot_resolve_the_neuron_is_named(neuron, dt, named):
    network = Network.dense(
        1,
        (2,),
        1,
        neuron=neuron,
        synapse=Exponential(10.0),
        key=jax.random.key(0),
        bias=(0.0, 0.0),
        recurrent_scale=0.5,
    )
    with pytest.raises(ValueError, match=re.escape(named)):
        check_step(network, Gate(width=1.0), dt)


def test_a_theta_neuron_rests_under_inhibition():
    neuron = Theta()
    count, last = run(neuron, -jnp.asarray(SIZES), 1.0, 40)
    assert not count.any()
    assert np.all((np.asarray(last.v) > 0) & (np.asarray(last.v) < 1))
