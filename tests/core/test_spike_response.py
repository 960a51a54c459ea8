"""The spike-response neuron: its recursion is the convolution, and its gradients are what they are said to
be."""

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
    Filtered,
    Gate,
    Layer,
    Network,
    SampledAlpha,
    SpikeResponse,
    Surrogate,
    simulate,
)  # fmt: skip
from spikejax.connections import ActivationShape
from spikejax.readouts import LinearReadout

from ..by_day import by_day

KEY = jax.random.key(0)
DETACHED = Surrogate(detach_reset=True)


def kernel(dt: float, steps: int, tau: float) -> np.ndarray:
    t = np.arange(steps) * dt / tau
    return t * np.exp(1 - t)


def by_convolution(neuron: SpikeResponse, current: np.ndarray, dt: float):
    """Potential and spikes of one neuron, as sums over all its spikes."""
    theta = float(neuron.v_th)
    nu = -float(neuron.scale_ref) * theta * kernel(dt, len(current) + 1, float(neuron.tau_ref))
    v, spikes = current.astype(float).copy(), np.zeros(len(current))
    for t in range(len(v)):
        if v[t] >= theta:
            spikes[t] = 1.0
            v[t:] += nu[: len(v) - t]
    return v, spikes


def alone(neuron, current, dt, release="hard"):
    """The neuron with a current given to it, without synapses below."""
    cell = Gate(release=release, width=2.0 * float(neuron.v_th))
    step = lambda s, i: (lambda end: (end[0], (end[0].v, end[1].charge)))(cell.step(neuron, s, i, dt))
    return jax.lax.scan(step, neuron.init(()), jnp.asarray(current))[1]


@pytest.mark.parametrize(("dt", "tau_ref"), [(1.0, 1.0), (0.5, 3.0)])
def test_the_recursion_is_the_convolution(dt, tau_ref):
    rng = np.random.default_rng(1)
    neuron = SpikeResponse(v_th=10.0, tau_ref=tau_ref)
    current = 12.0 + 8.0 * np.sin(np.arange(300) * dt / 9.0) + rng.normal(size=300)
    v, spikes = alone(neuron, current, dt)
    expected, when = by_convolution(neuron, current, dt)
    assert 8 < when.sum() < 250
    np.testing.assert_array_equal(spikes, when)
    np.testing.assert_allclose(v, expected, rtol=0, atol=1e-11)


def network(scale=3.0):
    """Two layers under filtered spikes, the second one recurrent."""
    make = lambda shape, n, key, **more: Layer.create(
        shape, n, SpikeResponse(tau_ref=2.0), SampledAlpha(5.0), key=key, bias=(0.0, 0.3), **more
    )
    keys = jax.random.split(KEY, 3)
    into = lambda *shapes, key: Filtered.create(*shapes, key=key, synapse=SampledAlpha(5.0))
    first = make((3,), 4, keys[0], feedforward=into, recurrent=None)
    second = make(ActivationShape((1, 4)), 4, keys[1])
    bigger = eqx.tree_at(
        lambda n: [n.layers[0].feedforward.connection.weight, n.layers[1].feedforward.weight],
        Network((first, second), LinearReadout.create((1, 4), 2, key=keys[2])),
        replace_fn=lambda w: scale * w,
    )
    return bigger, jax.random.bernoulli(keys[2], 0.3, (40, 3)).astype(float)


def gradient(release, adjoint, kernel="laplace"):
    made, x = network()

    def loss(n):
        run = simulate(n, x, gate=Gate(kernel, 2.0, release=release), dt=1.0, adjoint=adjoint)
        return jnp.sum(run.readout**2), run.counts

    run = jax.jit(jax.value_and_grad(loss, has_aux=True, allow_int=True))
    (value, counts), found = run(made)
    return value, counts, found


@pytest.mark.parametrize(
    ("release", "kernel"),
    by_day(
        [
            (DETACHED, "laplace"),
            (Surrogate(scale=0.3), "laplace"),
            ("graded", "raised_cosine"),
            ("hard", "laplace"),
        ],
        [(DETACHED, "laplace")],
    ),
    ids=["detached", "full", "graded", "hard"],
)
def test_every_adjoint_has_its_gradient(release, kernel, relative):
    _, counts, exact = gradient(release, Autodiff(), kernel)
    assert min(float(c.sum()) for c in counts) > 5
    for adjoint in (Costate(), Checkpointed(inner=Costate())):
        assert relative(gradient(release, adjoint, kernel)[2], exact) < 1e-12


def test_detached_leaves_out_the_refractory_kernel_and_no_more():
    # The spikes of one neuron, and a loss that weighs them: by hand, from the potentials.
    neuron, dt, weight = SpikeResponse(v_th=10.0), 1.0, np.random.default_rng(2).normal(size=60)
    current = 12.0 + 6.0 * np.sin(np.arange(60) / 5.0)
    v, spikes = by_convolution(neuron, current, dt)
    rho = np.exp(-np.abs(v - 10.0) / (0.5 * 10.0)) * 0.7 / 10.0
    nu = -2 * 10.0 * kernel(dt, 61, 1.0)

    def found(release):
        gate = Gate("laplace", 2 * 0.5 * 10.0, release=release)
        step = lambda s, i: (lambda end: (end[0], end[1].charge))(gate.step(neuron, s, i, dt))
        total = lambda i: weight @ jax.lax.scan(step, neuron.init(()), i)[1]
        return jax.grad(total)(jnp.asarray(current))

    np.testing.assert_allclose(found(Surrogate(scale=0.7, detach_reset=True)), rho * weight, rtol=1e-12)
    # In full, what a spike does to later ones is counted: g_t = rho_t (w_t + sum_k nu_k g_(t + k)).
    full = np.zeros(60)
    for t in reversed(range(60)):
        full[t] = rho[t] * (weight[t] + nu[1 : 60 - t] @ full[t + 1 :])
    np.testing.assert_allclose(found(Surrogate(scale=0.7)), full, rtol=1e-10)
    assert np.abs(full - rho * weight).max() > 0.1 * np.abs(full).max()
    assert spikes.sum() > 5


def test_graded_is_the_smooth_gate():
    made, x = network()
    gate = Gate("raised_cosine", 1.5, release="graded")
    params, fixed = eqx.partition(made, eqx.is_inexact_array)
    loss = jax.jit(lambda p: jnp.sum(simulate(eqx.combine(p, fixed), x, gate=gate, dt=1.0).readout ** 2))
    slopes = jax.jit(jax.grad(loss))(params)
    rng, e = np.random.default_rng(3), 1e-6
    way = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape)) * (0.1 + jnp.abs(p)), params)
    move = lambda s: jax.tree.map(lambda p, w: p + s * w, params, way)
    along = sum(float(jnp.sum(a * b)) for a, b in zip(*map(jax.tree.leaves, (slopes, way)), strict=True))
    assert along == pytest.approx(float(loss(move(e)) - loss(move(-e))) / (2 * e), rel=1e-6)
    # Narrow, it is the threshold.
    narrow = simulate(made, x, gate=Gate("raised_cosine", 1e-6, release="graded"), dt=1.0)
    hard = simulate(made, x, gate=Gate("raised_cosine", release="hard"), dt=1.0)
    np.testing.assert_allclose(narrow.readout, hard.readout, rtol=1e-9)


def test_charge_is_refused_in_a_line():
    made, x = network()
    with pytest.raises(ValueError, match="jumps with the input of every step: use graded"):
        simulate(made, x, gate=Gate(), dt=1.0)


def test_a_scale_for_every_layer():
    layers = [Layer.dense((3,), 4, LIF(), Exponential(5.0), recurrent=False, key=KEY)]
    layers.append(Layer.dense(ActivationShape((1, 4)), 4, LIF(), Exponential(5.0), recurrent=False, key=KEY))
    made = Network(tuple(layers), LinearReadout.create((1, 4), 2, key=KEY))
    x = jax.random.uniform(KEY, (30, 3)) * 4

    def slopes(scale):
        gate = Gate(release=Surrogate(scale=scale, detach_reset=True, time_gradient=False))
        run = lambda n: jnp.sum(simulate(n, x, gate=gate, dt=1.0, adjoint=Autodiff()).counts[1])
        return jax.grad(run, allow_int=True)(made).layers[1].bias

    one, half = slopes(1.0), slopes((1.0, 0.5))
    assert float(jnp.abs(one).max()) > 0
    np.testing.assert_allclose(half, 0.5 * one, rtol=1e-12)
    np.testing.assert_allclose(slopes((0.2, 1.0)), one, rtol=1e-12)
    with pytest.raises(ValueError, match="`scale` has 3 values, one a layer, but the network has 2"):
        slopes((1.0, 1.0, 1.0))
