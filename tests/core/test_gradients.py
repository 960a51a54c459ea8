"""The gradient of everything that a simulation returns in everything that it depends on, by every adjoint and
by central differences."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from jaxtyping import Array, Float

from spikejax import (
    AbstractReset,
    AbstractResetNeuron,
    Exponential,
    Gate,
    Layer,
    LeakyReadout,
    Network,
    Split,
    positive,
    simulate,
)
from spikejax.component import parameter
from spikejax.kernels import KERNELS, AbstractKernel
from spikejax.parameters import resolve

from .variants import DT, NEURONS, STIMULUS, VARIANTS

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


# What a release does to a neuron's gradient is also in contracts/test_adjoints.py.
@pytest.mark.nightly  # by day in tests/contracts
@pytest.mark.parametrize(
    ("name", "release"), [(name, release) for name in TESTED for release in ("charge", "graded", "surrogate")]
)
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


@pytest.mark.nightly  # by day in tests/contracts and tests/core/test_neuron_zoo.py
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
