"""Adjoints under batching, masks, damping, float32 and second derivatives."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import (
    LIF,
    Autodiff,
    Checkpointed,
    Costate,
    Exponential,
    Gate,
    Layer,
    LinearReadout,
    Network,
    Surrogate,
    Theta,
    simulate,
)
from spikejax.parameters import cast

from ..by_day import by_day
from .variants import DT, NEURONS, STEPS, STIMULUS, VARIANTS


def small_network(neuron=None, **options):
    options = {"recurrent_scale": 0.3, "bias": (0.8, 1.4), "key": jax.random.key(0), **options}
    return Network.dense(
        3, (5,), 2, neuron=neuron or LIF(tau_mem=10.0), synapse=Exponential(5.0, 0.1), **options
    )


GATE = Gate("raised_cosine", 0.5)
# The others compile slowly: the gradients of all of them are compared by day in tests/contracts.
EVERY = by_day(VARIANTS, ["costate"])


def loss(network, stimulus, adjoint=None, mask=None, gate=GATE):
    out = simulate(network, stimulus, gate=gate, dt=DT, adjoint=adjoint, mask=mask)
    return jnp.sum(out.readout**2) + jnp.sum(out.counts[0] ** 2)


@pytest.mark.parametrize("adjoint", EVERY)
def test_per_trial_gradients_are_a_loop_of_gradients(adjoint, relative):
    network = small_network()
    gradient = jax.grad(lambda n, x: loss(n, x, VARIANTS[adjoint]))
    together = jax.jit(jax.vmap(gradient, in_axes=(None, 0)))(network, STIMULUS)
    single = jax.jit(gradient)
    for i, x in enumerate(STIMULUS):
        one = jax.tree.map(lambda g, i=i: g[i], together)
        assert relative(one, single(network, x)) < 1e-12
    # And one network per trial.
    networks = jax.tree.map(lambda p: jnp.stack([p, 1.1 * p]), network)
    both = jax.jit(jax.vmap(gradient))(networks, STIMULUS)
    for i, x in enumerate(STIMULUS):
        pick = lambda tree, i=i: jax.tree.map(lambda g: g[i], tree)
        assert relative(pick(both), single(pick(networks), x)) < 1e-12


@pytest.mark.parametrize("recurrent", by_day([False, True], [True]))
def test_gradient_in_the_stimulus(recurrent, relative):
    network = small_network(recurrent=recurrent)
    expected = jax.jit(jax.grad(loss, argnums=1))(network, STIMULUS[0])
    found = jax.jit(jax.grad(lambda n, x: loss(n, x, Autodiff()), argnums=1))(network, STIMULUS[0])
    assert relative(found, expected) < 1e-12


DAMPED = {"damping": {"damping": 0.05}, "clip": {"clip": 0.3}, "both": {"damping": 0.02, "clip": 0.5}}


@pytest.mark.parametrize("case", by_day(DAMPED, ["both"]))
def test_damping_is_the_same_in_every_adjoint(case, relative):
    network, given = small_network(), DAMPED[case]
    # Damping and clip are arguments: their values recompile nothing.
    gradient = lambda make: _damped_gradient(make)(network, given)
    expected = gradient("autodiff")
    for make in ("costate", "checkpointed"):
        assert relative(gradient(make), expected) < 1e-12
    exact = jax.jit(jax.grad(lambda n: loss(n, STIMULUS[0])))(network)
    assert relative(expected, exact) > 1e-2


@functools.cache
def _damped_gradient(name):
    make = {
        "autodiff": Autodiff,
        "costate": Costate,
        "checkpointed": lambda **given: Checkpointed(7, inner=Costate(**given)),
    }[name]
    return jax.jit(jax.grad(lambda n, given: loss(n, STIMULUS[0], make(**given))))


def test_damping_that_does_nothing(relative):
    network = small_network()
    exact = jax.jit(jax.grad(lambda n: loss(n, STIMULUS[0])))(network)
    assert Costate().exact
    assert Costate(damping=0.0).exact
    assert not Checkpointed(inner=Autodiff(clip=1.0)).exact
    for name in ("costate", "autodiff"):
        assert relative(_damped_gradient(name)(network, {"damping": 0.0, "clip": 1e9}), exact) < 1e-12


def test_damping_is_exponential_in_time():
    # One neuron without recurrence, a loss on the last step alone: a stimulus t ms earlier loses the factor
    # exp(-damping t).
    network = small_network(recurrent=False)
    last = lambda x, a: simulate(network, x, gate=GATE, dt=DT, adjoint=a).readout[-1].sum()
    exact = jax.jit(jax.grad(lambda x: last(x, Costate())))(STIMULUS[0])
    damped = jax.jit(jax.grad(lambda x: last(x, Costate(damping=0.1))))(STIMULUS[0])
    steps = jnp.arange(STEPS)[::-1, None]
    np.testing.assert_allclose(damped, exact * jnp.exp(-0.1 * DT * steps), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("adjoint", EVERY)
@pytest.mark.parametrize("name", ["lif", pytest.param("theta", marks=pytest.mark.nightly)])
def test_a_padded_trial_is_the_short_trial(name, adjoint, relative):
    network, short = small_network(NEURONS[name](tau_mem=10.0)), 19
    padded = STIMULUS[0].at[short:].set(37.0)
    mask = jnp.arange(STEPS) < short
    whole = lambda n, x, m: simulate(n, x, gate=GATE, dt=DT, adjoint=VARIANTS[adjoint], mask=m)
    measure = lambda out: (
        jnp.sum(out.readout[:short] ** 2)
        + jnp.sum(out.counts[0] ** 2)
        + jnp.sum(out.state.layers[0].neuron.v ** 2)
    )

    def evaluate(n, x, m):
        out = whole(n, x, m)
        return measure(out), out

    (_, long_out), long_grad = jax.jit(jax.value_and_grad(evaluate, has_aux=True))(network, padded, mask)
    (_, out), grad = jax.jit(jax.value_and_grad(lambda n, x: evaluate(n, x, None), has_aux=True))(
        network, STIMULUS[0, :short]
    )
    assert relative(long_out.state, out.state) < 1e-13
    assert relative(long_out.counts, out.counts) < 1e-13
    assert relative(long_out.readout[:short], out.readout) < 1e-13
    np.testing.assert_allclose(
        long_out.readout[short:], np.broadcast_to(out.readout[-1], (STEPS - short, 2)), rtol=1e-13
    )
    assert relative(long_grad, grad) < 1e-12


@pytest.mark.nightly
def test_second_derivatives():
    network = small_network()

    def along(e, adjoint):
        moved = eqx.tree_at(
            lambda n: n.layers[0].bias, network, network.layers[0].bias + e * jnp.linspace(-1, 1, 5)
        )
        return loss(moved, STIMULUS[0], adjoint)

    with pytest.raises(NotImplementedError, match="use adjoint=Autodiff"):
        jax.grad(jax.grad(lambda e: along(e, Costate())))(0.0)
    # Forward mode through it is refused too, by JAX: never a silent zero.
    with pytest.raises((TypeError, NotImplementedError)):
        jax.jvp(lambda e: along(e, Costate()), (0.0,), (1.0,))
    slope = jax.grad(lambda e: along(e, Autodiff()))
    curve, difference = jax.jit(lambda: (jax.grad(slope)(0.0), (slope(1e-5) - slope(-1e-5)) / 2e-5))()
    assert float(curve) == pytest.approx(float(difference), rel=1e-5)
    forward = jax.jit(lambda: jax.jvp(lambda e: along(e, Autodiff()), (0.0,), (1.0,))[1])()
    assert float(forward) == pytest.approx(float(slope(0.0)), rel=1e-12)


def test_a_hard_threshold_has_the_gradient_of_its_spike_times():
    network = small_network()
    run = jax.jit(lambda n: loss(n, STIMULUS[0], gate=Gate(release="hard")))
    grad, e = jax.jit(jax.grad(run))(network).layers[0].bias, 1e-7
    moved = lambda i, e: eqx.tree_at(lambda n: n.layers[0].bias, network, network.layers[0].bias.at[i].add(e))
    found = [(run(moved(i, e)) - run(moved(i, -e))) / (2 * e) for i in range(len(grad))]
    assert float(jnp.abs(grad).max()) > 1e-3
    np.testing.assert_allclose(grad, found, rtol=1e-5, atol=1e-7)


def test_detached_reset_changes_the_surrogate_gradient_only(relative):
    network = small_network()
    run = lambda detach: jax.jit(
        jax.value_and_grad(lambda n: loss(n, STIMULUS[0], gate=Gate(release=Surrogate(detach_reset=detach))))
    )(network)
    (value, grad), (detached_value, detached) = run(False), run(True)
    assert float(value) == float(detached_value)
    assert relative(detached, grad) > 1e-3


@pytest.mark.parametrize("adjoint", EVERY)
@pytest.mark.parametrize(
    "name", ["lif", *(pytest.param(n, marks=pytest.mark.nightly) for n in ("nif", "theta"))]
)
def test_float32(name, adjoint, relative):
    network, gate = small_network(NEURONS[name](tau_mem=10.0)), GATE
    expected = jax.jit(jax.grad(loss))(network, STIMULUS[0])
    low = cast(network, jnp.float32)
    found = jax.jit(jax.grad(lambda n, x, g: loss(n, x, VARIANTS[adjoint], gate=g)))(
        low, STIMULUS[0].astype(jnp.float32), cast(gate, jnp.float32)
    )
    assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    assert relative(cast(found, jnp.float64), expected) < 1e-3


def test_a_training_step_traces_once():
    traces = []

    @jax.jit
    def gradient(network, gate, damping, x):
        traces.append(None)
        return jax.grad(lambda n: loss(n, x, Costate(damping=damping), gate=gate))(network)

    network = small_network()
    for i in range(4):
        g = gradient(network, GATE.sharpen(1.0 + i), jnp.asarray(0.01 * i), STIMULUS[i % 2])
        network = jax.tree.map(lambda p, d: p - 1e-3 * d, network, g)
    gradient(small_network(LIF(tau_mem=12.0)), Gate("raised_cosine", 0.3), jnp.asarray(1.0), STIMULUS[0])
    assert len(traces) == 1


def test_checkpointed_refuses_an_empty_chunk():
    with pytest.raises(ValueError, match="`chunk` is 0"):
        Checkpointed(0)


@pytest.mark.parametrize("chunk", by_day([1, 100, 10, 30], [1]))
def test_any_chunk_serves(chunk, relative):
    network = small_network(Theta(tau_mem=10.0))
    expected = jax.jit(jax.value_and_grad(loss))(network, STIMULUS[0])
    found = jax.jit(jax.value_and_grad(lambda n, x: loss(n, x, Checkpointed(chunk))))(network, STIMULUS[0])
    assert relative(found, expected) < 1e-12


@pytest.mark.nightly
def test_chunks_within_chunks_serve(relative):
    network, nested = small_network(), Checkpointed(8, inner=Checkpointed(3, inner=Costate()))
    expected = jax.jit(jax.value_and_grad(loss))(network, STIMULUS[0])
    found = jax.jit(jax.value_and_grad(lambda n, x: loss(n, x, nested)))(network, STIMULUS[0])
    assert relative(found, expected) < 1e-12


@pytest.mark.parametrize("release", by_day(["charge", "graded", "surrogate"], ["charge"]))
def test_vmap_over_a_parameter_that_some_series_do_not_depend_on(relative, release):
    # The voltages of a layer without recurrence are the same for all its synaptic time constants: a
    # custom_vjp must not count their cotangent once per example.
    keys = jax.random.split(jax.random.key(0), 2)
    options = {"recurrent": False, "bias": (0.6, 1.1), "input_scale": 0.8}
    network = Network(
        (Layer.dense((3,), 5, LIF(), Exponential((3.0, 10.0), 0.1), key=keys[0], **options),),
        LinearReadout.create((2, 5), 2, key=keys[1]),
    )
    gate = Gate(width=0.5 if release == "charge" else 2.0, release=release)

    def total(network, adjoint):
        def one(tau):
            changed = eqx.tree_at(lambda n: n.layers[0].synapse.tau_syn, network, tau)
            out = simulate(
                changed, STIMULUS[0], gate=gate, dt=DT, adjoint=adjoint, save=("v", "current", "release")
            )
            (series,) = out.layers
            return (
                jnp.mean(out.readout**2)
                + jnp.mean(series.v**2)
                + jnp.mean(series.current**2)
                + jnp.mean(series.release**2)
            )

        return jnp.sum(jax.vmap(one)(jnp.array([[2.0, 8.0], [3.0, 10.0], [4.0, 12.0]])))

    expected = jax.jit(jax.grad(lambda n: total(n, Autodiff())))(network)
    assert relative(jax.jit(jax.grad(lambda n: total(n, Costate())))(network), expected) < 1e-12
