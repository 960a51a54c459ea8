"""Connections over space, skips and shapes of populations in a configuration."""

import copy
import tomllib

import jax
import pytest

from spikejax import Dropout
from spikejax.configuration import check
from spikejax.configuration.assemble_network import build_network
from spikejax.configuration.load import dump, override
from spikejax.errors import ConfigError

BASE = tomllib.loads("""
dt = 12.5
[[network.layers]]
recurrent = false
neuron = { v_init = [0.1, 0.9] }
feedforward = { kind = "convolution", channels = 6, kernel = 5, weight_norm = true, dropout = 0.1 }
[[network.layers]]
recurrent = { kind = "convolution", dropout = 0.2 }
bias_per = "channel"
feedforward = { kind = "chain", connections = [{ kind = "pool" }, { kind = "convolution", channels = 8 }] }
[[network.layers]]
size = [4, 5]
excitatory = 0.5
feedforward = { dropout = 0.3, weight_norm = true }
recurrent = { dropout = 0.3, weight_norm = true }
[[network.skips]]
source = 0
target = 1
connection = { kind = "convolution", channels = 8, kernel = 2, stride = 2, padding = "valid" }
[[network.skips]]
source = -1
target = 2
""")


def network(data, channels=(2, 12, 10)):
    return build_network(check(data), channels, 3, jax.random.key(0))


def test_a_network_over_space():
    made = network(BASE)
    assert [layer.shape for layer in made.layers] == [(6, 12, 10), (8, 6, 5), (4, 5)]
    assert [layer.bias.shape for layer in made.layers] == [(6, 12, 10), (8, 1, 1), (4, 5)]
    # What is drawn, or trained, is one value for every neuron.
    assert made.layers[0].neuron.v_init.shape == (6, 12, 10)
    assert made.layers[0].neuron.tau_mem.shape == (6, 12, 10)
    assert made.layers[1].synapse.tau_syn.shape == (1,)
    assert [(skip.source, skip.target) for skip in made.skips] == [(0, 1), (-1, 2)]
    rates = [
        one.rate for one in (made.layers[0].feedforward, made.layers[1].recurrent, made.layers[2].recurrent)
    ]
    assert rates == [0.1, 0.2, 0.3]
    assert not isinstance(made.layers[1].feedforward, Dropout)


def test_it_is_written_as_it_was_read():
    config = check(BASE)
    again = check(tomllib.loads(dump(config)))
    assert dump(again) == dump(config)
    assert (again.network.layers[0].size, again.network.layers[2].size) == (None, (4, 5))
    assert check({"dt": 12.5}).network.layers[0].size == 100
    moved = override(copy.deepcopy(BASE), [("network.layers.1.feedforward.connections.1.channels", "7")])
    assert network({**moved, "network": {"layers": moved["network"]["layers"][:2]}}).layers[1].shape == (
        7,
        6,
        5,
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("layers.0.feedforward.channels", 0, r"channels is 0"),
        ("layers.0.feedforward.kernel", "[5, 5, 5]", r": `kernel` is \[5, 5, 5\]"),
        ("layers.0.feedforward.padding", '"some"', r": `padding` is 'some'"),
        ("layers.0.feedforward.groups", 4, r": `groups` is 4"),
        ("layers.0.feedforward.dropout", 1.0, r"dropout is 1\.0, but must be below 1"),
        ("layers.0.size", 100, r"layers\.0\.feedforward: `size` is \(100,\), .* makes \(6, 12, 10\)"),
        ("layers.1.feedforward.connections", "[]", r"connections has 0 entries, but must have at least 1"),
        ("layers.1.feedforward.connections", 3, r"connections is 3, but must be a list"),
        (
            "layers.1.feedforward.connections.0.kind",
            '"pol"',
            r"unknown connection 'pol': did you mean 'pool'",
        ),
        ("layers.1.feedforward.connections.0.window", 13, r"\.0: .*\(13, 13\) does not fit"),
        ("layers.1.bias_per", '"layer"', r"bias_per is 'layer', but must be"),
        ("layers.2.size", "[]", r"size is \[\], but must be a whole number or a list of at least 1"),
        ("layers.2.size", "[4, 0]", r"size\.1 is 0, but must be at least 1"),
        ("skips.1.target", 3, r"target is 3, but the last of 3 layers is number 2"),
        ("skips.1.source", 2, r"source is 2, but must be below the target, 2"),
        ("skips.1.source", -2, r"source is -2, but must be at least -1"),
        ("skips.0.connection.stride", 1, r"skips\.0\.connection: `size` is \(8, 6, 5\)"),
    ],
)
def test_one_line_names_the_key(name, value, words):
    with pytest.raises(ConfigError, match=words) as caught:
        network(override(copy.deepcopy(BASE), [(f"network.{name}", str(value))]))
    assert "\n" not in str(caught.value)
    assert ".".join(name.split(".")[:2]) in str(caught.value)


def test_a_stimulus_without_space_is_said():
    with pytest.raises(
        ConfigError, match=r"network\.layers\.0\.feedforward: a convolution needs an input of"
    ):
        network(BASE, 700)
