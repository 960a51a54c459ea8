"""Gradients keep their size through many layers once the surrogate's scale is balanced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import LIF, ClockDriven, Exponential, Gate, Network, Surrogate
from spikejax.losses import CrossEntropy
from spikejax.parameters import scaled
from spikejax.tasks import Trial
from spikejax.training import balance, calibrate, layer_gradients

LOSS = CrossEntropy()


def trials() -> Trial:
    draws = jax.random.uniform(jax.random.key(1), (4, 60, 20))
    return Trial(jnp.where(draws < 0.1, 1.0, 0.0), jnp.arange(4) % 3)


def network(depth: int, size: int = 24) -> Network:
    options = {"neuron": LIF(tau_mem=10.0), "synapse": Exponential(5.0), "recurrent": False}
    return Network.dense(20, (size,) * depth, 3, **options, key=jax.random.key(0))


def surrogate(scale: float) -> ClockDriven:
    return ClockDriven(Gate(release=Surrogate(detach_reset=True, scale=scale)), 1.0)


@pytest.mark.nightly
def test_twelve_layers_keep_their_gradient():
    simulator = surrogate(1.0)
    deep = calibrate(network(12), trials(), 60.0, simulator)
    before = layer_gradients(deep, trials(), simulator, LOSS)
    assert before[0] / before[-1] > 1e2
    found = balance(deep, trials(), simulator, LOSS)
    scale = np.asarray(found.gate.release.scale)
    assert scale.shape == (12,)
    assert scale[-1] == 1.0
    after = layer_gradients(deep, trials(), found, LOSS)
    assert np.all(np.abs(np.log(after[:-1] / after[1:])) <= np.log(1.1) + 1e-3)
    assert 1 / 3 < after[0] / after[-1] < 3


@pytest.mark.parametrize("scale", [0.05, 1.0])
def test_every_layer_from_either_side(scale):
    """Whether gradients vanish or explode: each layer's ratio to the next is 1 in the end."""
    simulator, shallow = surrogate(scale), calibrate(network(3), trials(), 60.0, surrogate(1.0))
    found = balance(shallow, trials(), simulator, LOSS, tolerance=0.02)
    after = layer_gradients(shallow, trials(), found, LOSS)
    np.testing.assert_allclose(after[:-1], after[1:], rtol=0.021)


def test_the_measure_knows_no_units(relative):
    """Twice the weights, biases and thresholds: the same spikes, and the same number."""
    one = calibrate(network(2), trials(), 60.0, surrogate(1.0))
    two = scaled(one, ("weight", "bias"), 2.0)
    two = scaled(two, ("v_th", "v_reset", "v_rest"), 2.0)
    gates = [ClockDriven(Gate(width=w, release="surrogate"), 1.0) for w in (2.0, 4.0)]
    readout = lambda network: network.readout
    two = type(two)(two.layers, readout(one), two.skips)
    a, b = (layer_gradients(n, trials(), s, LOSS) for n, s in zip((one, two), gates, strict=True))
    np.testing.assert_allclose(a, b, rtol=1e-4)


def test_what_cannot_be_balanced_is_said():
    with pytest.raises(ValueError, match='release="surrogate"'):
        balance(network(2), trials(), ClockDriven(Gate()), LOSS)
    silent = scaled(network(2), ("weight", "bias"), 0.0)
    with pytest.raises(ValueError, match="layer 0 has no gradient"):
        balance(silent, trials(), surrogate(1.0), LOSS)


def test_a_gradient_through_the_reset_saturates():
    """What cannot be reached by a scale is said, with what can be done."""
    simulator = ClockDriven(Gate(release="surrogate"), 1.0)
    deep = calibrate(network(3), trials(), 60.0, simulator)
    with pytest.raises(ValueError, match="detach_reset=True"):
        balance(deep, trials(), simulator, LOSS)
