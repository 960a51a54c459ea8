"""Jumps of functions with known ones, of a neuron's first spike, and the landscapes of event-driven runs."""

import csv
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import (
    LIF,
    QIF,
    Dense,
    EventDriven,
    Exponential,
    Layer,
    Network,
    Population,
    SpikeTimes,
    trainable,
)
from spikejax.cli import main
from spikejax.configuration import build, check
from spikejax.connections import ActivationShape
from spikejax.jobs.run import prepare
from spikejax.landscape import Jumps, jumps, loss_along, spike_changes
from spikejax.losses import TimeError
from spikejax.parameters import cast
from spikejax.tasks import Trial
from spikejax.training import checkpoint

STEPS = {-0.71234: 0.3, -0.2: -0.05, 0.0501: 0.4, 0.0504: -0.2, 0.9: -0.01}


def stairs(x):
    return np.sin(5 * x) + sum(size * (x > at) for at, size in STEPS.items())


def test_jumps_are_found_where_they_are():
    found = jumps(stairs, np.linspace(-1, 1, 201))
    np.testing.assert_allclose(found.position, list(STEPS), atol=2e-6)
    np.testing.assert_allclose(found.size, list(STEPS.values()), atol=1e-5)
    assert found.density == 2.5
    assert found.largest == pytest.approx(0.4, abs=1e-5)
    assert found.total == pytest.approx(0.96, abs=1e-4)
    # Those below the smallest are none: 0.01 of a range of about 2.4.
    assert len(jumps(stairs, np.linspace(-1, 1, 201), smallest=0.01).size) == 4


@pytest.mark.parametrize(
    "continuous",
    [
        lambda x: np.tanh(3e3 * x),
        lambda x: np.sqrt(np.abs(x)),
        lambda x: np.where(x > 0.3, np.sqrt(np.maximum(x - 0.3, 0)), 0.0),
        lambda x: np.abs(x - 0.1),
        lambda x: x + 0.1 * np.sin(500 * x),
        np.zeros_like,
    ],
    ids=["steep", "cusp", "root", "corner", "wiggles", "constant"],
)
def test_what_is_steep_does_not_jump(continuous):
    found = jumps(continuous, np.linspace(-1, 1, 41))
    assert len(found.size) == 0
    assert (found.density, found.largest, found.total) == (0.0, 0.0, 0.0)


def test_a_root_that_ends_in_a_jump_is_one():
    found = jumps(
        lambda x: np.where(x > 0.3, 1 + np.sqrt(np.maximum(x - 0.3, 0)), 0.0), np.linspace(0, 1, 21)
    )
    np.testing.assert_allclose(found.position, [0.3], atol=1e-6)
    np.testing.assert_allclose(found.size, [1.0], atol=1e-3)


def test_lines_that_have_no_jumps_to_find():
    with pytest.raises(ValueError, match="ascending"):
        jumps(stairs, np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="not finite"):
        jumps(lambda x: 1 / np.where(x == 0, np.inf, x) * np.where(x == 0, np.nan, 1), np.linspace(-1, 1, 3))
    noise = lambda x: np.modf(np.abs(np.sin(x * 12.9898) * 43758.5453e4))[0]
    with pytest.raises(ValueError, match="every scale"):
        jumps(noise, np.linspace(0, 1, 101))


def one_neuron(neuron) -> Network:
    """A weight of 3: an LIF neuron's potential then reaches 3/4 of the threshold."""
    synapse = Exponential(5.0, rate_unit=0.2)
    feedforward = Dense(jnp.full((1, 1), 3.0), (1,))
    layer = Layer(feedforward, None, jnp.zeros(1), neuron, synapse)
    return cast(Network((layer,), Population.create(ActivationShape((1, 1)), 1)), jnp.float64)


def line_of(neuron, simulator, x):
    """The loss along the weight, relative to 3, and what its spikes do at these points."""
    with jax.enable_x64(True):
        network = one_neuron(neuron)
        given = SpikeTimes([[2.0]], [[0]], duration=40.0, channels=1)
        trials = Trial(given, jnp.full((1, 1, 1), 5.0), None)
        way, _ = eqx.partition(network, trainable(network, ("weight",)))
        found = jumps(loss_along(network, way, trials, TimeError(), simulator), x)
        trial = jax.tree.map(lambda leaf: leaf[0], trials)
        return found, spike_changes(network, way, x, trial, simulator)


def test_a_spike_in_mid_trial_makes_a_jump_of_lif_neurons():
    """The potential peaks at w/4 after tau log 2, and a spike there is worth its distance to the end."""
    x = np.linspace(0, 4, 41)
    found, (layer,) = line_of(LIF(tau_mem=10.0), EventDriven(spikes=12), x)
    assert isinstance(found, Jumps)
    np.testing.assert_allclose(found.position, [1 / 3], atol=2e-6)
    first = 2.0 + 10 * math.log(2)
    size = ((first - 5) / 10) ** 2 - ((40 - 5) / 10) ** 2
    np.testing.assert_allclose(found.size, [size], rtol=1e-3)
    (changes,) = np.nonzero(layer.number)
    assert x[changes[0]] < 1 / 3 < x[changes[0] + 1]
    assert not layer.order.any()


def test_a_spike_of_qif_neurons_comes_in_without_a_jump():
    # It fires from a weight of (pi/2)^2 on, and the sooner the more it is above.
    x = np.linspace(-0.5, 0.5, 41)
    found, (layer,) = line_of(QIF(tau_mem=10.0), EventDriven(spikes=4, pseudospikes=False), x)
    assert layer.number.any()
    assert len(found.size) == 0
    assert found.length == pytest.approx(1.0)


EVENTS = {
    "dt": 0.5,
    "task": {"kind": "yin_yang", "points": [6, 6, 6]},
    "simulator": {"kind": "event_driven", "spikes": 12},
    "network": {
        "layers": [
            {
                "size": n,
                "neuron": {"kind": "qif"},
                "synapse": {"tau_syn": [5.0], "rate_unit": 0.2},
                "feedforward": {"scale": scale},
                "recurrent": False,
                "bias": [0.0, 0.0],
            }
            for n, scale in ((4, 12.0), (3, 2.0))  # not every output fires
        ],
        "readout": {"kind": "population"},
    },
    "loss": {"kind": "first_spike"},
    "training": {"trainable": ["weight"], "batch": 6},
}


@pytest.mark.nightly
def test_landscapes_of_an_event_driven_run(tmp_path, capsys):
    folder = tmp_path / "run"
    config = check(EVENTS)
    prepare(folder, config)
    checkpoint.save(folder / "best.ckpt", build(config).network)
    options = ["--points", "5", "--trials", "2", "--directions", "random", "--no-plane", "--range", "0.2"]
    assert main(["landscape", str(folder), *options]) == 0
    capsys.readouterr()
    with open(folder / "landscape" / "landscape.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["gate"] for row in rows[:2]] == ["with pseudospikes", "spikes alone"]
    assert len(rows) == 2 * 2 * 2
    losses = {row["gate"]: float(row["loss"]) for row in rows if row["trials"] == "2 trials"}
    assert all(np.isfinite(list(losses.values())))
    # Where a neuron is silent its pseudospike is later than the end.
    assert losses["with pseudospikes"] != losses["spikes alone"]
    exact = next(row for row in rows if row["gate"] == "with pseudospikes")
    assert float(exact["reach"]) > 0
