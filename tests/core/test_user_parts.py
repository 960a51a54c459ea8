"""What a user's own neuron or connection may hold beside real numbers, integers and functions, under every
adjoint."""

import itertools
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Int

from spikejax import (
    AbstractInstant,
    AbstractReset,
    AbstractResetNeuron,
    Autodiff,
    Costate,
    Exponential,
    Gate,
    Layer,
    LinearReadout,
    Network,
    Split,
    parameter,
    simulate,
)
from spikejax.gates import RELEASES
from spikejax.neurons import RESETS

from .variants import VARIANTS

KEY = jax.random.key(0)
STIMULI = jax.random.uniform(jax.random.key(1), (2, 8, 2), minval=0.5, maxval=1.5)
DAMPED = Costate(damping=0.05, clip=0.3)


class CountingState(NamedTuple):
    v: Any
    fired: Any


class Counting(AbstractResetNeuron):
    """It counts its spikes, and holds an MLP whose activation is a function among its leaves."""

    drift: eqx.nn.MLP
    v_th: Float[Array, "..."] = parameter(1.0)
    v_reset: Float[Array, "..."] = parameter(0.0)
    v_init: Float[Array, "..."] = parameter(0.0)
    reset: AbstractReset = Split()
    accelerates: ClassVar[bool] = False

    start: Int[Array, ""] = eqx.field(default_factory=lambda: jnp.asarray(3))

    def init(self, shape, *, key=None, noise=None):
        return CountingState(self._initial_v(shape, key, noise), jnp.full(shape, self.start))

    def flow(self, state, current, dt):
        drift = jax.vmap(lambda v, i: self.drift(jnp.stack([v, i])))(state.v, current)
        return state._replace(v=state.v + 0.2 * dt * (current + 0.3 * drift))

    def on_spike(self, state):
        return super().on_spike(state)._replace(fired=state.fired + 1)


class Distances(AbstractInstant):
    """Weights are a learned function of the distance between two neurons, which is a whole number."""

    profile: eqx.nn.MLP
    distance: Int[Array, "out kinds in"]

    @property
    def in_shape(self):
        return self.distance.shape[1:]

    @property
    def out_shape(self):
        return self.distance.shape[:1]

    @classmethod
    def create(cls, in_shape, out_shape, *, key):
        apart = jnp.abs(jnp.arange(out_shape[0])[:, None, None] - jnp.arange(in_shape[-1])[None, None])
        return cls(mlp(1, key), jnp.broadcast_to(apart, (*out_shape, *in_shape)))

    def __call__(self, x):
        flat = self.distance.reshape(-1, 1).astype(x.dtype)
        weight = jax.vmap(self.profile)(flat).reshape(self.distance.shape)
        return jnp.tensordot(weight, x, axes=x.ndim)


def mlp(size, key):
    return eqx.nn.MLP(size, "scalar", 4, 1, activation=jnp.tanh, key=key)


def network_of(reset="split"):
    layer = Layer.create(
        (2,), 3, Counting(mlp(2, KEY), reset=RESETS.make(reset)), Exponential(5.0, 0.1),
        recurrent=Distances.create, bias=(1.2, 1.8), key=KEY,
    )  # fmt: skip
    return Network((layer,), LinearReadout.create((1, 3), 1, key=KEY))


def gradient(network, adjoint, release):
    gate = Gate(width=0.5, release=release)
    run = lambda n, x: simulate(n, x, gate=gate, dt=1.0, adjoint=adjoint)

    def loss(network):
        out = jax.vmap(lambda x: run(network, x))(STIMULI)
        return jnp.sum(out.readout**2) + jnp.sum(out.state.layers[0].neuron.v ** 2), out

    return eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))(network)


# Charge compiles longest: at night.
DAILY = ("graded", "subtract")
EVERY = [
    pytest.param(*both, marks=() if both == DAILY else pytest.mark.nightly)
    for both in itertools.product(RELEASES, RESETS)
]


@pytest.mark.parametrize(("release", "reset"), EVERY)
def test_integers_and_functions(release, reset, relative):
    network = network_of(reset)
    (value, out), expected = gradient(network, VARIANTS["autodiff"], release)
    fired = out.state.layers[0].neuron.fired
    assert jnp.issubdtype(fired.dtype, jnp.integer)
    if release in ("surrogate", "hard"):
        np.testing.assert_array_equal(fired - 3, np.round(out.counts[0]))
    assert int((fired - 3).sum()) > 0
    assert float(jnp.abs(expected.layers[0].neuron.drift.layers[0].weight).max()) > 1e-6
    assert float(jnp.abs(expected.layers[0].recurrent.profile.layers[0].weight).max()) > 1e-6
    for name, adjoint in VARIANTS.items():
        if name == "autodiff":
            continue
        (found_value, found_out), found = gradient(network, adjoint, release)
        assert float(found_value) == pytest.approx(float(value), rel=1e-13)
        np.testing.assert_array_equal(found_out.state.layers[0].neuron.fired, fired)
        assert relative(found, expected) < 1e-12


def test_a_damped_costate_leaves_integers_out(relative):
    network = network_of()
    _, damped = gradient(network, DAMPED, "charge")
    _, same = gradient(network, Autodiff(damping=0.05, clip=0.3), "charge")
    assert relative(damped, same) < 1e-12
