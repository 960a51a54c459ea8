"""The page on spike times: its script runs, its commands and configurations are right, and so are the pieces
of its experiment."""

import re
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import EventDriven
from spikejax.configuration import build, load
from spikejax.losses import LOSSES
from spikejax.tasks import TASKS

from ..places import CONFIGS, EXPERIMENTS, ROOT, experiment
from ..tasks.test_spike_time_tasks import write_idx

PAGE = (ROOT / "docs" / "spike_times.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script():
    return experiment("event_tasks")


@pytest.mark.nightly
def test_its_script_learns(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(block, "spike_times.md", "exec"), {})
    both, alone = (float(x) for x in re.findall(r": ([\d.]+)", capsys.readouterr().out))
    # Of three classes.
    assert both > 0.6
    assert alone > 0.5


def test_its_tables_name_all_there_is():
    for name in ("yin_yang", "mnist", "target_times"):
        assert name in TASKS
        assert f"| `{name}` |" in PAGE
    for name, loss in LOSSES.items():
        if loss.__module__ == "spikejax.losses.times":
            assert f"| `{name}` |" in PAGE


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["event_driven", "clock_driven"])
def test_one_network_by_both_simulators(kind):
    given = [("simulator", kind), ("task.points", "[30, 6, 6]"), ("training.batch", "30"), ("dt", "1.0")]
    run = build(load(CONFIGS / "yin_yang.toml", given))
    run.simulator.check(run.network)
    trial = jax.tree.map(lambda x: x[0], run.task.split("test"))
    solution = jax.jit(partial(run.simulator.hard(), save="spikes"))(run.network, trial.stimulus)
    assert solution.spikes[-1].shape[1:] == (3,)
    assert np.isfinite(float(run.loss(solution, trial)[0]))


def test_mnist_is_silent_before_training(tmp_path):
    rng, classes = np.random.default_rng(0), np.arange(60) % 10
    # 100 of 784 pixels are bright, as of a digit.
    images = 255 * (rng.random((60, 28, 28)) < 0.13)
    files = [write_idx(tmp_path, name, images, classes) for name in ("train", "t10k")]
    given = [("task.train", str(files[0])), ("task.test", str(files[1])), ("task.validation", "0.3")]
    given.append(("training.batch", "40"))
    run = build(load(CONFIGS / "mnist.toml", given))
    trial = jax.tree.map(lambda x: x[0], run.task.split("test"))
    assert trial.stimulus.shape == (1, 1, 28, 28)
    counts = jax.jit(run.simulator.hard())(run.network, trial.stimulus).counts
    assert [one.shape for one in counts] == [(100,), (100,), (10,)]
    assert sum(float(one.sum()) for one in counts) <= 1


@pytest.mark.nightly
def test_a_neuron_that_fires_once(script):
    params, solve = script.neuron_task(0)
    assert not np.asarray(params["weight"]).any()
    assert float(solve(params, EventDriven(spikes=8)).counts[0][0]) == 1
    # At a weight of 0 the time of an input is nothing, and its weight is something.
    first = lambda p: solve(p, EventDriven(spikes=3)).spikes[0][0, 0]
    gradient = jax.grad(first)(params)
    np.testing.assert_allclose(gradient["time"], 0, atol=1e-12)
    assert np.abs(gradient["weight"]).max() > 0


def test_the_recurrent_network_starts_without_recurrence(script):
    params, solve, task = script.recurrent_task(0)
    simulator = EventDriven(spikes=40, events=500)
    whole = solve(params, simulator)
    assert task.outputs == len(script.TARGETS) == 2
    trial = jax.tree.map(lambda x: x[0], task.split("test"))
    assert np.array_equal(trial.target[:2, 1], script.TARGETS[1])
    # Its own weights, potential and current are what is trained: each changes the spikes.
    for name, change in (("weight", 3.0), ("phase", 0.1), ("current", 1.0)):
        other = solve(params | {name: params[name] + change}, simulator)
        assert not jnp.array_equal(other.spikes[0], whole.spikes[0])


def test_a_spread_in_percent(script):
    assert script.shown_values([0.5, 0.7]) == "60.0 +- 14.1 (50.0, 70.0)"
    assert script.shown_values([0.981]) == "98.1 +- 0.0 (98.1)"


def test_rates_learn(tmp_path, monkeypatch):
    """The network of rates beside MNIST: images whose brightest row is their class."""
    from spikejax.tasks import MNIST

    monkeypatch.setattr(sys, "path", [str(EXPERIMENTS), *sys.path])
    classes = np.arange(200) % 10
    images = np.zeros((200, 10, 4), np.uint8)
    images[np.arange(200), classes] = 255
    task = MNIST(train=write_idx(tmp_path, images=images, classes=classes), form="steps", dt=40.0)
    assert experiment("mnist").rates(task, 0, 400, 20, (40, 40, 10)) > 0.9
