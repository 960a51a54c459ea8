"""Tasks that hand on lists of events: the same trials, losses, gradients and files as with arrays."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tomli_w

from spikejax import LIF, ClockDriven, Events, Exponential, Gate, Network, cli, load_run, trainable
from spikejax.analysis import jacobians
from spikejax.losses import CrossEntropy
from spikejax.noise import Noise
from spikejax.tasks import Recordings, RecordingsFile, SpokenDigits
from spikejax.tasks.base import first_trials
from spikejax.training import calibrate, make_evaluate, make_train_step, start

from ..command_line import fails
from ..spike_recordings import DATA, own_arrays

SPLITS = ("train", "validation", "test")
DIGITS = {"dt": 10.0, "folder": DATA, "train": "digits_train.h5", "test": "digits_test.h5", "window": 500.0}
DIGITS |= {"validation": 0.4}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "own.npz"
    np.savez(path, **own_arrays("events"))
    return path


def recordings(own, **options) -> RecordingsFile:
    return RecordingsFile(dt=2.0, file=own, **{"validation": 0.3, "test": 0.3} | options)


def as_arrays(trials):
    return trials._replace(stimulus=jax.vmap(Events.dense)(trials.stimulus))


def same(one, other) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("more", [{}, {"bin": 20.0}, {"delays": (0.0, 30.0), "value": "root"}])
def test_spoken_digits_are_the_same_as_lists(more):
    lists, arrays = (SpokenDigits(**DIGITS, form=form, **more) for form in ("events", "dense"))
    for one, other in [(lists.split("test"), arrays.split("test"))] + [
        (task(0), task(1)) for task in [lambda k: (lists, arrays)[k].batch(jax.random.key(1), 3, 5)]
    ]:
        assert isinstance(one.stimulus, Events)
        assert one.stimulus.ordered
        same(as_arrays(one), other)
    # Changes in training are made of the spikes, before.
    lists, arrays = (
        SpokenDigits(**DIGITS, form=form, blend=0.5, jitter=5.0, shift=20.0, **more)
        for form in ("rows", "dense")
    )
    drawn = lists.batch(jax.random.key(2), 1, 4)
    assert drawn.stimulus.path == "rows"
    same(as_arrays(drawn), arrays.batch(jax.random.key(2), 1, 4))


def test_recordings_are_the_same_as_lists(own):
    lists, arrays = recordings(own, form="events"), recordings(own)
    for split in SPLITS[1:]:
        one, other = lists.split(split), arrays.split(split)
        assert isinstance(one.stimulus, Events)
        same(as_arrays(one), other)
        assert one.stimulus.shape == other.stimulus.shape
    same(as_arrays(lists.batch(jax.random.key(0), 2, 7)), arrays.batch(jax.random.key(0), 2, 7))
    # A shift in time moves the same way.
    lists, arrays = (recordings(own, form=form, shift=8.0) for form in ("loop", "dense"))
    drawn = lists.batch(jax.random.key(0), 2, 7)
    assert drawn.stimulus.path == "loop"
    assert drawn.stimulus.ordered
    same(as_arrays(drawn), arrays.batch(jax.random.key(0), 2, 7))


def test_events_are_deleted_at_the_given_rate(own):
    kept = [
        recordings(own, form="events", drop=drop).batch(jax.random.key(0), step, 12).stimulus.value
        for drop in (0.0, 0.3)
        for step in range(40)
    ]
    there = [sum(float(jnp.sum(x > 0)) for x in half) for half in (kept[:40], kept[40:])]
    assert abs(there[1] / there[0] - 0.7) < 0.04


def test_sparse_recordings_are_lists_if_that_is_left_open(own):
    assert not isinstance(recordings(own, form="auto").split("test").stimulus, Events)
    assert isinstance(recordings(own, form="auto", units=500).split("test").stimulus, Events)
    samples = Recordings.from_arrays(np.ones((9, 4, 2)), np.arange(9) % 3, validation=0.3, test=0.3)
    assert samples.split("test").stimulus.shape == (3, 4, 2)
    with pytest.raises(ValueError, match="`form` is events, but the stimuli are samples: set it to dense"):
        Recordings(samples.stimuli, samples.targets, labels=samples.labels, form="events").split("test")


def small(task) -> Network:
    return Network.dense(
        task.channels, (6,), task.outputs, neuron=LIF(tau_mem=5.0), synapse=Exponential(5.0), input_scale=4.0,
        recurrent_scale=0.3, bias=(0.5, 1.2), key=jax.random.key(0),
    )  # fmt: skip


@pytest.mark.nightly
def test_training_evaluation_and_calibration_are_the_same(own):
    lists, arrays = recordings(own, form="events"), recordings(own)
    network, loss, simulator = small(arrays), CrossEntropy(), ClockDriven(Gate(), 2.0)
    params, fixed = eqx.partition(network, trainable(network, ("weight", "bias")))
    optimiser, noise = optax.sgd(0.1), Noise(0.1, 0.1)
    found = []
    for task in (lists, arrays):
        step = make_train_step(fixed, loss, optimiser, accumulate=3, noise=noise, warn=False)
        state = start(params, optimiser)
        for i in range(2):
            state, metrics = step(state, task.batch(jax.random.key(1), i, 6), simulator)
        found.append((state.params, metrics))
        result = make_evaluate(loss, at_once=2, warn=False)(network, task.parts("test"), simulator)
        found.append((result.metrics, result.labels, result.counts))
        found.append(calibrate(network, task.batch(jax.random.key(1), 0, 12), 30.0, simulator))
        one = jax.tree.map(lambda x: x[0], first_trials(task.parts("test"), 4).stimulus)
        found.append(jacobians(network, one, simulator))
    half = len(found) // 2
    for one, other in zip(found[:half], found[half:], strict=True):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=1e-9, atol=1e-12)


def config(own, form: str) -> dict:
    return {
        "dt": 2.0,
        "task": {"kind": "recordings", "file": str(own), "validation": 0.3, "test": 0.3, "form": form},
        "network": {
            "layers": [
                {
                    "size": 5,
                    "neuron": {"kind": "lif", "tau_mem": 5.0},
                    "synapse": {"tau_syn": [5.0]},
                    "feedforward": {"scale": 4.0},
                    "bias": [0.5, 1.2],
                }
            ]
        },
        "training": {"steps": 3, "batch": 4, "evaluate_every": 3, "checkpoint_every": 3},
    }


@pytest.mark.nightly
def test_all_commands_are_the_same(own, tmp_path):
    """Train, evaluate, analyse and plot, by the command line and in Python."""
    numbers, traces = [], []
    for form in ("events", "dense"):
        text, run = tmp_path / f"{form}.toml", tmp_path / form
        text.write_text(tomli_w.dumps(config(own, form)))
        assert cli.main(["train", str(text), "--out", str(run)]) == 0
        for command in ("evaluate", "analyse", "plot") if form == "events" else ():
            assert cli.main([command, str(run)]) == 0, command
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        summary = json.loads((run / "summary.json").read_text())
        numbers.append([line["loss"] for line in lines if "loss" in line] + [summary["smooth"]["loss"]])
        loaded = load_run(run)
        assert isinstance(loaded.trials(3).stimulus, Events) == (form == "events")
        traces.append(loaded.record(("v",), 2))
        assert (run / "figures" / "raster.png").stat().st_size > 1000
    np.testing.assert_allclose(*numbers, rtol=1e-5)
    np.testing.assert_allclose(traces[0].stimulus, traces[1].stimulus)
    np.testing.assert_allclose(traces[0]["v"], traces[1]["v"], atol=1e-4)


def test_a_form_that_there_is_not(own, tmp_path, capsys):
    (tmp_path / "a.toml").write_text(tomli_w.dumps(config(own, "list")))
    error = fails(capsys, "train", tmp_path / "a.toml", "--out", tmp_path / "run")
    assert "task.form" in error
    assert "dense" in error
