"""Neurons, synapses and wiring in a configuration: the defaults are those of the classes, and everything that
is set arrives."""

import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import Accommodating, DoubleExponential, Exponential, HodgkinHuxley, Noise, Ports, Refractory
from spikejax.cli import main
from spikejax.configuration import build_network, build_noise, check, dump
from spikejax.neurons import NEURONS
from spikejax.parameters import resolve

from ..configs import XOR


def layer_of(**table):
    config = check({"dt": 12.5, "network": {"layers": [{"size": 5, **table}]}})
    return config, network_of(config).layers[0]


def network_of(config):
    return build_network(config, 3, 2, jax.random.key(0))


@pytest.mark.parametrize("kind", NEURONS)
def test_defaults_are_those_of_the_class(kind):
    _, layer = layer_of(neuron={"kind": kind}, recurrent=False)
    found, expected = layer.neuron, NEURONS[kind]()
    assert type(found) is type(expected)
    for name in expected.__dataclass_fields__:
        a, b = getattr(found, name), getattr(expected, name)
        if isinstance(b, jax.Array):
            assert a.shape in ((5,), (*b.shape, 5), ())
            np.testing.assert_allclose(a, jnp.broadcast_to(b[:, None], a.shape) if b.ndim else b)
        else:
            assert a == b


def test_cortical_kinetics_bring_their_numbers():
    _, layer = layer_of(
        neuron={"kind": "hodgkin_huxley", "kinetics": "cortical", "g_M": 0.03}, recurrent=False
    )
    expected = HodgkinHuxley.cortical(g_M=0.03)
    assert layer.neuron.kinetics == "cortical"
    np.testing.assert_allclose([layer.neuron.g_M[0], layer.neuron.g_Na], [0.03, expected.g_Na])


def test_refractory_and_numbers_of_each_neuron():
    table = {
        "kind": "glif",
        "tau_asc": [5.0, 50.0, 300.0],
        "jump_asc": [0.1, 0.0, -0.3],
        "refractory": {"tau_ref": 2.5},
        "v_init": [0.1, 0.4],
    }
    _, layer = layer_of(neuron=table)
    assert isinstance(layer.neuron, Refractory)
    assert layer.neuron.neuron.jump_asc.shape == (3, 5)
    np.testing.assert_allclose(layer.neuron.tau_ref, np.full(5, 2.5))
    assert 0.1 <= float(layer.neuron.v_init.min()) < float(layer.neuron.v_init.max()) <= 0.4


def test_accommodation_comes_between_the_neuron_and_its_refractoriness():
    _, layer = layer_of(
        neuron={"kind": "lif", "refractory": {"tau_ref": 2.5}, "accommodation": {"slope": 0.8, "v_half": 0.3}}
    )
    assert isinstance(layer.neuron, Refractory)
    assert isinstance(layer.neuron.neuron, Accommodating)
    np.testing.assert_allclose(layer.neuron.neuron.slope, np.full(5, 0.8))
    np.testing.assert_allclose(layer.neuron.neuron.tau, np.full(5, 20.0))


def test_synapses_and_wiring():
    config, layer = layer_of(
        size=20, synapse={"kind": "double_exponential", "tau_rise": [1.0], "tau_syn": [5.0, 20.0]},
        recurrent={"density": 0.5}, excitatory=0.8,
        reversal=[4.0, -0.5], neuron={"tau_mem": 20.0},
    )  # fmt: skip
    assert isinstance(layer.synapse, DoubleExponential)
    assert isinstance(layer.recurrent, Ports)
    assert 0.3 < float((resolve(layer.recurrent.connections[1]).weight[:, 0, :16] > 0).mean()) < 0.7
    again = check(tomllib.loads(dump(config)))
    assert again == config


def test_a_layer_above_has_the_signs_of_the_one_below():
    layers = [{"size": 10, "excitatory": 0.7}, {"size": 4, "recurrent": False}]
    config = check({"dt": 12.5, "network": {"layers": layers}})
    weight = resolve(network_of(config)).layers[1].feedforward.weight
    assert float(weight[..., :7].min()) >= 0 >= float(weight[..., 7:].max())
    assert isinstance(network_of(config).layers[0].synapse, Exponential)


def test_background_current():
    config = check({"dt": 12.5, "noise": {"initial": 0.1, "current": 0.3, "tau": 5.0}})
    assert build_noise(config) == Noise(0.1, 0.3, 5.0)
    assert build_noise(check({"dt": 12.5})).silent


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            {"neuron": {"kind": "theta", "reset": "zero"}},
            ["unknown key network.layers.0.neuron.reset", "tau_mem"],
        ),
        ({"neuron": {"kind": "adex", "Delta": 1.0}}, ["network.layers.0.neuron.Delta", "Delta_T"]),
        ({"neuron": {"kind": "adexx"}}, ["network.layers.0.neuron.kind", "'adex'", "'adexx'"]),
        ({"neuron": {"kind": "adex", "C": -1.0}}, ["network.layers.0.neuron.C is -1 pF", "above 0"]),
        ({"neuron": {"kind": "glif", "tau_asc": [3.0]}}, ["network.layers.0.neuron:", "tau_asc", "jump_asc"]),
        (
            {"neuron": {"refractory": {"tau_ref": -1.0}}},
            ["network.layers.0.neuron.refractory.tau_ref is -1 ms"],
        ),
        ({"neuron": {"v_reset": 1.0}}, ["network.layers.0.neuron:", "`v_reset` must be below `v_th`"]),
        (
            {"synapse": {"kind": "double_exponential", "tau_rise": [1.0, 2.0]}},
            ["network.layers.0.synapse:", "tau_rise"],
        ),
        ({"reversal": [4.0, -0.5]}, ["network.layers.0:", "`reversal` needs `excitatory`"]),
        (
            {"reversal": [4.0, -0.5], "recurrent": False, "neuron": {"kind": "theta"}},
            ["network.layers.0:", "Theta"],
        ),
        (
            {"excitatory": 0.5, "recurrent": {"self_excitation": [0.1, 0.2]}},
            ["network.layers.0:", "self_excitation"],
        ),
        ({"recurrent": {"self_excitation": [0.2, 0.1]}}, ["network.layers.0.recurrent", "[low, high]"]),
        ({"recurrent": {"density": 0.0}}, ["network.layers.0.recurrent.density is 0"]),
        ({"recurrent": {"scale": [0.1, 0.2]}}, ["network.layers.0.recurrent:", "2 scales"]),
        ({"feedforward": {"norm": 0.0}}, ["network.layers.0.feedforward.norm is 0"]),
        ({"feedforward": "dens"}, ["network.layers.0.feedforward: unknown connection 'dens'", "'dense'"]),
        ({"bias": [1.0, 0.0]}, ["network.layers.0", "bias", "[low, high]"]),
        ({"size": 2, "excitatory": 0.1}, ["network.layers.0:", "excitatory", "some of both"]),
    ],
)
def test_one_line_for_what_cannot_be(table, words):
    with pytest.raises(ValueError, match=r".") as error:
        layer_of(**table)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.slow
def test_a_refractory_adaptive_network_with_noise_trains(tmp_path):
    config = XOR | {"noise": {"current": 0.05, "tau": 5.0}}
    layers = [
        {
            "size": 8,
            "neuron": {"kind": "alif", "refractory": {"tau_ref": 2.0}},
            "excitatory": 0.75,
            "recurrent": {"density": 0.6},
        }
    ]
    config["network"] = {"layers": layers}
    config["training"] = config["training"] | {
        "steps": 2,
        "trainable": ["weight", "bias", "tau_adapt", "tau_ref", "beta"],
    }
    (tmp_path / "c.toml").write_text(dump(check(config)))
    assert main(["train", str(tmp_path / "c.toml"), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    assert (tmp_path / "run" / "summary.json").exists()
