"""The page on delays: its script runs, its table is a configuration, and the pieces of its experiment are
right."""

import re
import sys
import tomllib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import Gate, simulate
from spikejax.configuration import check, load
from spikejax.connections import Delayed, DelayedSynapses
from spikejax.parameters import Within
from spikejax.simulate import Solution
from spikejax.tasks import Trial
from spikejax.training.optimisers import group_of

from ..places import CONFIGS, EXPERIMENTS, ROOT, experiment

PAGE = (ROOT / "docs" / "delays.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script():
    return experiment("delays")


def test_its_script_learns_a_delay(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(block, "delays.md", "exec"), {})
    before, after = (float(x) for x in re.findall(r"[\d.]+", capsys.readouterr().out))
    assert before == pytest.approx(2.0)
    assert after == pytest.approx(7.3, abs=0.1)


def test_its_table_is_a_configuration():
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    config = check(tomllib.loads(block))
    layer = config.network.layers[0]
    assert (layer.feedforward.kind, layer.recurrent.kind) == ("delayed_synapses", "delayed")
    assert config.training.trainable == ("weight", "bias", "delay")


def test_agreement_by_hand(script):
    lags = np.array([[0.0, 10.0, 20.0], [20.0, 0.0, 10.0]])
    assert script.agreement(lags, 30 - lags) == pytest.approx((-1, -1, 0))
    # A class may fire at any time.
    assert script.agreement(lags, np.array([[30.0], [50.0]]) - lags) == pytest.approx((-1, -1, 0))
    assert script.agreement(lags, -lags / 2) == pytest.approx((-0.5, -1, np.sqrt(np.mean([25.0, 0, 25]))))


def test_the_peak_by_hand(script):
    """Neuron 1 peaks at 1 in a long trial and neuron 0 stays at 0: no error for class 1; a tie is wrong."""
    peak = script.Peak()
    readout = jnp.zeros((2000, 2)).at[500:1500, 1].set(1.0)
    run = lambda kind, *counts: peak(
        Solution(readout, (jnp.array(counts),), (), None, jnp.asarray(2000.0)),
        Trial(jnp.zeros((2000, 1)), jnp.asarray(kind)),
    )
    # The soft maximum is lower by .05 ln 2, since the peak lasts half of the trial.
    height = 1 - 0.05 * np.log(2)
    assert float(run(1, 0.0, 1.0)[0]) == pytest.approx((1 - height) ** 2, abs=1e-6)
    assert float(run(0, 0.0, 1.0)[0]) == pytest.approx(1 + height**2, abs=1e-6)
    assert [float(run(1, *c)[1]["accuracy"]) for c in ((0.0, 1.0), (1.0, 1.0), (0.0, 0.2))] == [1, 0, 0]


def test_a_membrane_reaches_its_threshold_with_eight_of_ten(script):
    network = script.membrane(script.detector(jax.random.key(0), "linear", 5.0), 1.0, script.MEMBRANE)
    prompt = Within(jnp.full((4, 10), 3.0), 0.0, 50.0)
    network = eqx.tree_at(lambda n: n.layers[0].feedforward.delay, network, prompt)
    fired = lambda n: float(
        simulate(network, jnp.zeros((60, 10)).at[2, :n].set(1.0), gate=Gate(width=0.1), dt=1.0)
        .counts[0][0]
        .round()
    )
    assert [fired(n) for n in (7, 8, 10)] == [0, 1, 1]


@pytest.mark.nightly
def test_delays_alone_are_trained(script):
    lags, before, after, wrong, right = script.learn_lags(1, 2)
    assert lags.shape == before.shape == after.shape == (1, 4, 10)
    # Two updates of at most .8 ms; nothing fires yet.
    assert 0.5 < abs(after - before).max() <= 1.7
    assert wrong == right == [0.0]


def test_controls_change_delays_alone(script):
    one = script.reader(jax.random.key(0), 5, "axons", "synapses")
    networks = jax.tree.map(lambda x: x[None], one)
    flat = script.changed(networks, lambda d: np.full_like(d, d.mean()))
    (layer,) = flat.layers
    assert isinstance(layer.feedforward, Delayed)
    assert isinstance(layer.recurrent, DelayedSynapses)
    for new, old in (
        (layer.feedforward, one.layers[0].feedforward),
        (layer.recurrent, one.layers[0].recurrent),
    ):
        assert float(np.ptp(new.delay.value)) < 1e-9
        assert float(new.delay.value.mean()) == pytest.approx(float(old.delay.value.mean()))
    assert np.array_equal(layer.recurrent.weight[0], one.layers[0].recurrent.weight)
    # 6 x 5 weights, 6 delays, 25 + 25 recurrent, 5 biases, 8 x 5 + 8 readouts.
    assert script.size(networks, ("weight", "bias", "delay"), 1) == 30 + 6 + 50 + 5 + 48


def test_all_its_networks_are_drawn(script):
    for options in script.ORDER.values():
        o = {"forward": "dense", "back": None, **options} | {"hidden": 4}
        o.pop("learned", None)
        assert script.reader(jax.random.key(0), **o).layers[0].shape == (4,)


def test_spoken_digits_with_delays_are_configurations(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(EXPERIMENTS), *sys.path])
    for name, changes in experiment("spoken_digits").DELAYS.items():
        config = load(CONFIGS / "spoken_digits.toml", [("task.folder", "data"), *changes])
        assert ("delay" in config.training.trainable) == ("learned" in name)
        (layer,) = config.network.layers
        kinds = {one.kind for one in (layer.feedforward, layer.recurrent) if one}
        assert (kinds != {"dense"}) == any(word in name for word in ("axons", "lines", "synapses"))
        # Delays are in ms: the factor of the input's weights is none of theirs.
        scales = config.training.learning_rate_scale
        for side, one in (("feedforward", layer.feedforward), ("recurrent", layer.recurrent)):
            if "learned" in name and one and one.kind != "dense":
                path = (jax.tree_util.GetAttrKey(side), jax.tree_util.GetAttrKey("delay"))
                assert scales.get(group_of(path, scales)) == 100.0
