"""Gradients of spike times: differences of the times themselves, and where a spike appears."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import trainable
from spikejax.event_driven import SpikeTimes
from spikejax.parameters import resolve

from .networks import KINDS, make


def differences(kind, seed, recurrent):
    """Derivative along a random direction of weights, potentials, times and values, against differences."""
    made = make(kind, seed, recurrent=recurrent)
    rng = np.random.default_rng(seed)
    fields = ("weight", "v_init") + (("v_reset", "v_th") if kind.startswith("lif") else ())
    fields += () if kind == "qif" else ("bias",)
    learned, fixed = eqx.partition(made.network, trainable(made.network, fields))
    given = learned, made.stimulus.time, made.stimulus.value
    shape = jax.eval_shape(lambda: made.simulator(made.network, made.stimulus)).spikes
    factors = [rng.normal(size=x.shape) for x in shape]

    @jax.jit
    @jax.value_and_grad
    def loss(given):
        learned, time, value = given
        stimulus = SpikeTimes(time, made.stimulus.channel, value, duration=made.stimulus.duration, channels=3)
        found = made.simulator(eqx.combine(learned, fixed), stimulus)
        return sum(jnp.sum(f * jnp.where(jnp.isfinite(x), x, 0.0)) for f, x in zip(factors, found.spikes, strict=True))

    way = jax.tree.map(lambda x: rng.normal(size=x.shape) * (1 + abs(x)), given)
    moved = lambda h: loss(jax.tree.map(lambda x, d: x + h * d, given, way))[0]
    found = sum(jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), loss(given)[1], way)))
    h = 1e-6
    # Of order 4.
    expected = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
    return float(found), float(expected)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_differences(kind, recurrent):
    found, expected = differences(kind, 1, recurrent)
    assert abs(found) > 1
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(2, 12))
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_differences_at_random(kind, recurrent, seed):
    found, expected = differences(kind, seed, recurrent)
    assert found == pytest.approx(expected, rel=1e-4)
