"""Every adjoint against every other, against central differences, and under batching, masks, damping and
second derivatives."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from spikejax import (
    LIF,
    NIF,
    AbstractReset,
    AbstractResetNeuron,
    Autodiff,
    Checkpointed,
    Costate,
    Exponential,
    Gate,
    Layer,
    LeakyReadout,
    LinearReadout,
    Network,
    Split,
    Surrogate,
    Theta,
    positive,
    simulate,
)
from spikejax.adjoints import ADJOINTS
from spikejax.component import parameter
from spikejax.gates import KERNELS, AbstractKernel
from spikejax.parameters import cast, resolve

DT, STEPS = 0.5, 30
# The default chunk, 6, divides the 30 steps; 7 does not.
VARIANTS = {
    **{name: cls() for name, cls in ADJOINTS.items()},
    "checkpointed costate": Checkpointed(7, inner=Costate()),
}
STIMULUS = 1.2 * jax.random.normal(jax.random.key(1), (2, STEPS, 3)) + 1.0
COMPACT = [name for name, cls in KERNELS.items() if cls.compact]


class AnyKernel(AbstractKernel):
    """Several kernels in one, weighted by an array: one compilation serves all of them."""

    weights: Array
    names: tuple[str, ...] = eqx.field(static=True)

    def density(self, x):
        return sum(w * KERNELS[name]().density(x) for w, name in zip(self.weights, self.names, strict=True))

    def cumulative(self, x):
        return sum(
            w * KERNELS[name]().cumulative(x) for w, name in zip(self.weights, self.names, strict=True)
        )

    def area(self, x):
        return sum(w * KERNELS[name]().area(x) for w, name in zip(self.weights, self.names, strict=True))


class AdaptiveState(eqx.Module):
    """v and an adaptation current."""

    v: Array
    w: Array

    def _replace(self, **fields):
        return AdaptiveState(**{"v": self.v, "w": self.w, **fields})


class Adaptive(AbstractResetNeuron):
    """A user's neuron with a second variable: an LIF with adaptation, ``tau_w dw/dt = -w``, ``w -> w + jump``
    at a spike."""

    tau_mem: Float[Array, "..."] = parameter(10.0)
    tau_w: Float[Array, "..."] = parameter(30.0)
    jump: Float[Array, "..."] = parameter(0.3)
    v_th: Float[Array, "..."] = parameter(1.0)
    v_reset: Float[Array, "..."] = parameter(0.0)
    v_init: Float[Array, "..."] = parameter(0.0)
    reset: AbstractReset = Split()

    def init(self, shape, *, key=None):
        v = AbstractResetNeuron.init(self, shape, key=key).v
        return AdaptiveState(v, jnp.zeros_like(v))

    def flow(self, state, current, dt):
        # w is held at its mean over the step.
        x = dt / self.tau_w
        mean = state.w * jnp.where(x == 0, 1.0, -jnp.expm1(-x) / jnp.where(x == 0, 1.0, x))
        decay = jnp.exp(-dt / self.tau_mem)
        return AdaptiveState(state.v * decay + (current - mean) * (1 - decay), state.w * jnp.exp(-x))

    def on_spike(self, state):
        return AdaptiveState(jnp.broadcast_to(self.v_reset, state.v.shape), state.w + self.jump)


def make_network(neuron, layers=2):
    """Two recurrent layers, the first with two synaptic time constants, the second with one, and a leaky
    readout; or the first layer alone."""
    keys = jax.random.split(jax.random.key(0), 3)
    options = {"recurrent_scale": 0.2, "bias": (0.6, 1.2)}
    first = Layer.dense(
        (3,), 5, neuron, Exponential((3.0, 10.0), 0.1), key=keys[0], input_scale=0.8, **options
    )
    second = Layer.dense((2, 5), 4, neuron, Exponential(5.0, 0.1), key=keys[1], input_scale=0.6, **options)
    # One time constant per neuron in the second layer.
    second = eqx.tree_at(lambda layer: layer.synapse.tau_syn, second, jnp.linspace(4.0, 8.0, 4)[None])
    stack = (first, second)[:layers]
    readout = LeakyReadout.create(stack[-1].activation_shape, 2, tau_out=8.0, key=keys[2])
    return positive(Network(stack, readout), ("tau_mem", "tau_syn"))


NEURONS = {"nif": NIF, "lif": LIF, "theta": Theta}
TESTED = [*NEURONS, "adaptive"]


def make_neuron(name):
    return Adaptive() if name == "adaptive" else NEURONS[name](tau_mem=10.0)


def make_parameters(name, release):
    """Network, width, sharpness, initial state: everything a loss can depend on.

    With a graded or surrogate reset a step multiplies dv by 1 - g: only a wide zone keeps rounding from
    growing.
    """
    # What passes between two layers is the same for every neuron, and compiling a layer is what takes time.
    network = make_network(make_neuron(name), layers=2 if name == "lif" else 1)
    state = jax.tree.map(lambda x: x + 0.1, resolve(network).init(key=jax.random.key(4)))
    if name != "theta":
        # The drawn voltages reach up to the threshold; keep below it.
        state = jax.tree.map(lambda x: 0.7 * x, state)
    return network, jnp.array(0.5 if release == "charge" else 2.0), jnp.array(1.3), state


def full_loss(parameters, weights, adjoint, release):
    """A loss of everything a simulation returns, over a batch."""
    network, width, sharpness, state = parameters
    gate = Gate(AnyKernel(weights, tuple(kernels_of(release))), width, sharpness, release=release)
    run = lambda x: simulate(
        network, x, gate=gate, dt=DT, adjoint=adjoint, save=("v", "release", "current"), state=state
    )
    out = jax.vmap(run)(STIMULUS)
    loss = jnp.mean(out.readout**2) + 0.1 * sum(jnp.mean(c**2) for c in out.counts)
    loss += sum(jnp.mean(r.v**2) + jnp.mean(r.current**3) + 0.1 * jnp.mean(r.release**2) for r in out.layers)
    return loss + jnp.mean(out.state.layers[0].activation ** 2) + jnp.mean(out.state.layers[-1].neuron.v ** 2)


@functools.cache
def compiled(name, release, adjoint):
    """``(parameters, kernel) -> (loss, gradient)``, compiled once for all kernels."""
    return jax.jit(jax.value_and_grad(lambda p, weights: full_loss(p, weights, VARIANTS[adjoint], release)))


def kernels_of(release):
    return list(KERNELS) if release == "surrogate" else COMPACT


def only(kernel, release):
    return jnp.array([float(name == kernel) for name in kernels_of(release)])


@pytest.mark.parametrize("release", ["charge", "graded", "surrogate"])
@pytest.mark.parametrize("name", TESTED)
def test_adjoints_agree(name, release, relative):
    parameters = make_parameters(name, release)
    for kernel in kernels_of(release):
        value, expected = compiled(name, release, "autodiff")(parameters, only(kernel, release))
        assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(expected))
        assert float(jnp.abs(expected[0].layers[0].recurrent.weight).max()) > 1e-6
        # Charge release compiles longest; checkpoints within the costate are tried on one neuron there.
        for adjoint in VARIANTS if release != "charge" or name == "lif" else ("costate", "checkpointed"):
            found_value, found = compiled(name, release, adjoint)(parameters, only(kernel, release))
            assert float(found_value) == pytest.approx(float(value), rel=1e-13), (adjoint, kernel)
            assert relative(found, expected) < 1e-12, (adjoint, kernel)


@pytest.mark.parametrize("release", ["charge", "graded"])
@pytest.mark.parametrize("name", TESTED)
def test_central_differences(name, release):
    parameters = make_parameters(name, release)
    evaluate = compiled(name, release, "costate")
    leaves, tree = jax.tree.flatten(parameters)
    for kernel in ("raised_cosine", "logistic"):
        _, gradient = evaluate(parameters, only(kernel, release))
        for seed in range(3):
            keys = jax.random.split(jax.random.key(10 + seed), len(leaves))
            direction = [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
            along = sum(
                float(jnp.vdot(g, d)) for g, d in zip(jax.tree.leaves(gradient), direction, strict=True)
            )
            at = lambda e, d=direction: float(
                evaluate(
                    tree.unflatten([x + e * y for x, y in zip(leaves, d, strict=True)]), only(kernel, release)
                )[0]
            )
            e = 1e-6
            quotient = (at(e) - at(-e)) / (2 * e)
            assert along == pytest.approx(quotient, rel=1e-6, abs=1e-8), (kernel, seed)


def small_network(neuron=None, **options):
    options = {"recurrent_scale": 0.3, "bias": (0.8, 1.4), "key": jax.random.key(0), **options}
    return Network.dense(
        3, (5,), 2, neuron=neuron or LIF(tau_mem=10.0), synapse=Exponential(5.0, 0.1), **options
    )


GATE = Gate("raised_cosine", 0.5)


def loss(network, stimulus, adjoint=None, mask=None, gate=GATE):
    out = simulate(network, stimulus, gate=gate, dt=DT, adjoint=adjoint, mask=mask)
    return jnp.sum(out.readout**2) + jnp.sum(out.counts[0] ** 2)


@pytest.mark.parametrize("adjoint", VARIANTS)
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


@pytest.mark.parametrize("recurrent", [False, True])
def test_gradient_in_the_stimulus(recurrent, relative):
    network = small_network(recurrent=recurrent)
    expected = jax.jit(jax.grad(loss, argnums=1))(network, STIMULUS[0])
    found = jax.jit(jax.grad(lambda n, x: loss(n, x, Autodiff()), argnums=1))(network, STIMULUS[0])
    assert relative(found, expected) < 1e-12


DAMPED = {"damping": {"damping": 0.05}, "clip": {"clip": 0.3}, "both": {"damping": 0.02, "clip": 0.5}}


@pytest.mark.parametrize("case", DAMPED)
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


@pytest.mark.parametrize("adjoint", VARIANTS)
@pytest.mark.parametrize("name", ["lif", "theta"])
def test_a_padded_trial_is_the_short_trial(name, adjoint, relative):
    network, short = small_network(make_neuron(name)), 19
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


@pytest.mark.parametrize("adjoint", VARIANTS)
@pytest.mark.parametrize("name", NEURONS)
def test_float32(name, adjoint, relative):
    network, gate = small_network(make_neuron(name)), GATE
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


@pytest.mark.parametrize("chunk", [1, 10, 30, 100])
def test_any_chunk_serves(chunk, relative):
    network = small_network(Theta(tau_mem=10.0))
    expected = jax.jit(jax.value_and_grad(loss))(network, STIMULUS[0])
    found = jax.jit(jax.value_and_grad(lambda n, x: loss(n, x, Checkpointed(chunk))))(network, STIMULUS[0])
    assert relative(found, expected) < 1e-12


@pytest.mark.parametrize("release", ["charge", "graded", "surrogate"])
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
