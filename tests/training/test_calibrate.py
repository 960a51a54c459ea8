"""Networks are taken to a rate before they are trained."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import (
    LIF,
    Chain,
    ClockDriven,
    Convolution,
    Dense,
    Exponential,
    Gate,
    Layer,
    LinearReadout,
    Network,
    Noise,
    Pool,
    Positive,
    Skip,
)
from spikejax.activity import rates
from spikejax.configuration import build, check, initial_state
from spikejax.errors import ConfigError
from spikejax.neurons import NEURONS
from spikejax.parameters import scaled
from spikejax.tasks import Trial
from spikejax.training import calibrate, run_trial
from spikejax.training.calibrate import _simulated

from ..by_day import by_day
from ..configs import XOR

KEY = jax.random.key(0)


def trials(strength: float = 1.0) -> Trial:
    draws = jax.random.uniform(jax.random.key(1), (6, 200, 20))
    return Trial(jnp.where(draws < 0.05, strength, 0.0), jnp.zeros(6, int))


def network(neuron, **options) -> Network:
    return Network.dense(20, (30, 30), 3, neuron=neuron, synapse=Exponential(10.0), key=KEY, **options)


def rate_of(network: Network, simulator: ClockDriven, trials: Trial):
    solution = eqx.filter_jit(jax.vmap(lambda trial: run_trial(network, trial, simulator)))(trials)
    return [np.asarray(rates(count, solution.duration)) for count in solution.counts]


@pytest.mark.parametrize(
    ("name", "strength"),
    [
        ("lif", 0.01),
        ("lif", 100.0),
        *(pytest.param(name, 1.0, marks=pytest.mark.nightly) for name in ("theta", "eif")),
    ],
)
def test_every_layer_comes_to_the_rate(name, strength):
    simulator = ClockDriven(Gate(), 1.0)
    given = network(NEURONS.make(name), bias=(0.0, 0.1))
    made = calibrate(given, trials(strength), 15.0, simulator)
    for rate in rate_of(made, simulator, trials(strength)):
        assert rate.mean() == pytest.approx(15.0, rel=0.05)
    assert jax.tree.structure(made) == jax.tree.structure(given)
    for new, old in zip(made.layers, given.layers, strict=True):
        # One factor for weights and biases, and the recurrence as it was.
        factor = new.bias / old.bias
        np.testing.assert_allclose(factor, factor[0], rtol=1e-10)
        np.testing.assert_allclose(new.feedforward.weight, old.feedforward.weight * factor[0], rtol=1e-10)
        np.testing.assert_array_equal(new.recurrent.weight, old.recurrent.weight)


def test_every_neuron_comes_to_the_rate():
    simulator = ClockDriven(Gate(release="hard"), 1.0)
    given = network(LIF(), recurrent_scale=0.15)
    made = calibrate(given, trials(), 20.0, simulator, each="neuron")
    for before, rate in zip(
        rate_of(given, simulator, trials()), rate_of(made, simulator, trials()), strict=True
    ):
        assert np.std(rate) < 0.2 * 20.0 < np.std(before)
        assert rate.mean() == pytest.approx(20.0, rel=0.1)
        assert rate.min() > 5.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bias": (0.0, 0.0), "input_scale": 0.0}, "layer 0 cannot be calibrated to 15 Hz: it stays at 0 Hz"),
        ({"recurrent_scale": 30.0}, r"layer 0 cannot be calibrated to 15 Hz: it jumps from .* to .* Hz"),
    ],
)
def test_what_cannot_be_reached_is_said(changes, words):
    with pytest.raises(ValueError, match=words):
        calibrate(network(LIF(), **changes), trials(), 15.0, ClockDriven(Gate(release="hard"), 1.0))
    with pytest.raises(ValueError, match="`rate` is -1 Hz, but must be above 0"):
        calibrate(network(LIF()), trials(), -1.0, ClockDriven())


def test_noise_that_fires_by_itself_is_said():
    noisy, given = Noise(current=5.0, tau=5.0), trials()._replace(key=jax.random.split(KEY, 6))
    with pytest.raises(ValueError, match="fires at .* Hz without its input"):
        calibrate(network(LIF()), given, 1.0, ClockDriven(Gate(), 1.0), noise=noisy)


@pytest.mark.parametrize(
    "options",
    [
        {"density": 0.5},
        {"autapses": False},
        {"excitatory": 0.8, "reversal": (4.0, -1.0)},
        {
            "recurrent": partial(Dense.create, density=0.5, autapses=False, weight_norm=True),
            "excitatory": 0.8,
        },
    ],
)
def test_weights_under_any_parametrisation_are_scaled(options):
    make = Layer.create if "recurrent" in options else Layer.dense
    layer = make((5,), 10, LIF(), Exponential(10.0), key=KEY, **options)
    x = jnp.arange(5.0)
    for connection, given in ((layer.feedforward, x), (layer.recurrent, jnp.ones((1, 10)))):
        assert connection is not None
        np.testing.assert_allclose(
            connection.times(3.0).step(given)[0], 3.0 * connection.step(given)[0], rtol=1e-12
        )
    assert float(scaled(eqx.nn.Linear(1, 1, key=KEY), ("weight",), 2.0).bias[0]) != 0
    np.testing.assert_allclose(Positive.of(jnp.array([0.5, 2.0])).times(3.0).value, [1.5, 6.0], rtol=1e-12)


def calibrated_xor(readout: str) -> dict:
    """Without neurons that hold a bit, which fire without input."""
    layer = {**XOR["network"]["layers"][0], "recurrent": {"scale": 0.1}}
    network = {"layers": [layer], "readout": {"init": readout}, "calibrate": {"rate": 25.0, "trials": 16}}
    return XOR | {"network": network}


@pytest.mark.parametrize("readout", by_day(["normal", "ridge"], ["normal"]))
def test_a_configuration_calibrates_before_training(readout):
    config = check(calibrated_xor(readout))
    run = build(config)
    network = eqx.combine(initial_state(config, run).params, run.fixed)
    simulator, trials = ClockDriven(run.gate, config.dt), run.task.batch(jax.random.key(5), 0, 32)
    for new, old in zip(
        rate_of(network, simulator, trials), rate_of(run.network, simulator, trials), strict=True
    ):
        assert abs(np.mean(new) - 25.0) < 0.2 * 25.0 < abs(np.mean(old) - 25.0)


def test_what_is_calibrated_must_be_trained():
    table = calibrated_xor("normal")
    table["training"] = {**XOR["training"], "trainable": ["weight"]}
    with pytest.raises(ConfigError, match=r"network.calibrate scales weight and bias: training.trainable"):
        build(check(table))


def stack(depth: int) -> Network:
    """Convolutions, half of them with normalised weights, a pool within and one by itself, and a skip."""
    keys, layers, shape = jax.random.split(KEY, depth + 1), [], (2, 8)
    for i, key in enumerate(keys[:depth]):
        create = partial(Convolution.create, channels=6, weight_norm=bool(i % 2))
        if i == 2:
            create = partial(Chain.create, connections=(Pool.create, create))
        layers.append(
            Layer.create(
                shape, None, LIF(), Exponential(10.0), feedforward=create, recurrent=None, key=key,
                bias_per="channel",
            )
        )  # fmt: skip
        shape = layers[-1].activation_shape
    layers.append(
        Layer.create(
            shape, None, LIF(), Exponential(10.0), bias=(1.0, 1.0), recurrent=None, key=KEY,
            feedforward=partial(Pool.create, weight=0.1),
        )
    )  # fmt: skip
    skip = Skip(Convolution.create(layers[0].activation_shape, channels=6, stride=2, key=KEY), 0, depth - 1)
    return Network(tuple(layers), LinearReadout.create(layers[-1].activation_shape, 2, key=KEY), (skip,))


@pytest.mark.nightly
@pytest.mark.parametrize("each", ["layer", "neuron"])
def test_connections_over_space_come_to_the_rate(each):
    simulator, given = ClockDriven(Gate(), 1.0), stack(4)
    draws = jax.random.uniform(jax.random.key(1), (6, 100, 2, 8))
    batch = Trial(jnp.where(draws < 0.05, 1.0, 0.0), jnp.zeros(6, int))
    made = calibrate(given, batch, 15.0, simulator, each=each)
    assert jax.tree.structure(made) == jax.tree.structure(given)
    found = rate_of(made, simulator, batch)
    for rate in found[:4]:
        assert rate.mean() == pytest.approx(15.0, rel=0.05)
    for new, old in zip(jax.tree.leaves(made.layers[4]), jax.tree.leaves(given.layers[4]), strict=True):
        np.testing.assert_array_equal(new, old)
    factor = float(
        made.layers[3].feedforward.weight.raw_gain[0] / given.layers[3].feedforward.weight.raw_gain[0]
    )
    np.testing.assert_array_equal(
        made.layers[3].feedforward.weight.raw, given.layers[3].feedforward.weight.raw
    )
    np.testing.assert_allclose(made.skips[0].connection.weight, factor * given.skips[0].connection.weight)
    assert made.layers[0].bias.shape == (6, 1)
    if each == "neuron":
        for rate in found[:4]:
            np.testing.assert_allclose(rate.mean(axis=1), 15.0, rtol=0.2)


@pytest.mark.nightly
@pytest.mark.parametrize("depth", [5, 16])
def test_deep_networks_start_alive_at_the_cost_of_their_layers(depth):
    """The program that runs one of the layers is compiled for the first and for all others."""
    simulator = ClockDriven(Gate(), 1.0)
    given = Network.dense(
        20, (30,) * depth, 3, neuron=LIF(), synapse=Exponential(5.0), key=KEY, recurrent=False
    )
    assert rate_of(given, simulator, trials())[-1].mean() > 200
    before = _simulated._cached._cache_size()
    made = calibrate(given, trials(), 20.0, simulator)
    assert _simulated._cached._cache_size() - before <= 4
    for rate in rate_of(made, simulator, trials()):
        assert rate.mean() == pytest.approx(20.0, rel=0.05)
