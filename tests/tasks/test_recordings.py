"""A user's own recordings from Python: events and arrays, classes and signals, trials of different length,
splits."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spikejax import LIF, ClockDriven, Exponential, Gate, Network
from spikejax.encoders import bin_events
from spikejax.losses import CrossEntropy, SquaredError
from spikejax.tasks import Recordings, Trial, recordings
from spikejax.tasks.splits import split_trials
from spikejax.training import make_evaluate, make_train_step, start

from ..spike_recordings import own_arrays

KEY, DT = jax.random.key(0), 2.0
SPLITS = ("train", "validation", "test")


def made(kind: str, **options) -> Recordings:
    arrays = own_arrays(kind)
    if kind == "events":
        events = (arrays[name] for name in ("times", "units", "trial", "targets"))
        return Recordings.from_events(*events, **({"dt": DT, "duration": arrays["duration"]} | options))
    return Recordings.from_arrays(
        arrays["stimuli"], arrays["targets"], **({"lengths": arrays["lengths"]} | options)
    )


def whole(task: Recordings) -> np.ndarray:
    """The stimuli of all splits as numbers, each trial by its sum, in order."""
    return np.sort(np.concatenate([np.asarray(task.split(name).stimulus).sum((1, 2)) for name in SPLITS]))


def test_events_are_counted_in_steps():
    arrays, task = own_arrays("events"), made("events", split={"train": range(20), "test": range(20, 24)})
    expected = bin_events(
        arrays["times"], arrays["units"], arrays["trial"], dt=DT, steps=20, channels=5, trials=24
    )
    test = task.split("test")
    assert np.array_equal(test.stimulus, expected[20:])
    assert np.array_equal(test.mask, np.arange(20) < arrays["duration"][20:, None] / DT)
    assert np.array_equal(test.target, arrays["targets"][20:])
    assert task.labels == ("0", "1", "2")
    assert float(expected.max()) > 1
    for value, kept in (("root", np.sqrt(expected)), ("binary", np.minimum(expected, 1))):
        task = made("events", split={"train": range(20), "test": range(20, 24)}, value=value)
        assert np.allclose(task.split("test").stimulus, kept[20:])
    # The trials of a batch are those of training.
    batch = task.batch(KEY, 0, 6)
    train = np.asarray(expected)[:20]
    for x in np.asarray(batch.stimulus):
        assert any(np.array_equal(x, np.minimum(y, 1)) for y in train)


def test_a_list_for_every_trial_is_the_same():
    arrays, flat = own_arrays("events"), made("events")
    lists = [[arrays[name][arrays["trial"] == i].tolist() for i in range(24)] for name in ("times", "units")]
    task = Recordings.from_events(*lists, None, arrays["targets"], dt=DT, duration=arrays["duration"])
    assert jax.tree.all(jax.tree.map(np.array_equal, task.stimuli, flat.stimuli))


def test_silence_is_a_trial():
    task = Recordings.from_events([], [], [], [0, 1] * 10, dt=1.0, duration=5.0, channels=3)
    assert task.split("test").stimulus.shape == (4, 5, 3)
    assert float(jnp.abs(task.batch(KEY, 0, 4).stimulus).max()) == 0


def test_lists_of_arrays_are_filled_up():
    rng = np.random.default_rng(0)
    lists = [rng.normal(size=(n, 2)) for n in rng.integers(3, 9, 20)]
    task = Recordings.from_arrays(lists, ["left", "right"] * 10, period=4.0, dt=2.0)
    assert task.labels == ("left", "right")
    longest = 2 * max(map(len, lists))
    for name in SPLITS:
        trials = task.split(name)
        assert trials.stimulus.shape[1:] == (longest, 2)
        for x, there in zip(np.asarray(trials.stimulus), np.asarray(trials.mask), strict=True):
            own = [y for y in lists if 2 * len(y) == there.sum()]
            assert any(np.array_equal(x[there], np.repeat(y, 2, axis=0)) for y in own)
            assert not x[~there].any()
    equal = Recordings.from_arrays([x[:3] for x in lists], ["left", "right"] * 10)
    assert equal.lengths is None
    assert equal.split("test").mask is None


def test_numbers_of_named_classes():
    task = made("samples", labels=("a", "b", "c", "d"))
    assert task.outputs == 4
    assert np.array_equal(np.sort(np.concatenate(list(task.targets.values()))), np.repeat([0, 1, 2], 8))
    words = Recordings.from_arrays(np.ones((24, 5, 2)), np.array(["b", "a"] * 12), labels=("b", "a"))
    assert words.labels == ("b", "a")
    gaps = Recordings.from_arrays(np.ones((24, 5, 2)), [3.0, 7.0] * 12)
    assert gaps.labels == ("3", "7")


@pytest.mark.parametrize("kind", [pytest.param("events", marks=pytest.mark.nightly), "samples"])
def test_no_trial_is_lost(kind):
    tasks = [made(kind), made(kind, seed=1), made(kind, groups=np.arange(24) % 5)]
    for task in tasks[1:]:
        np.testing.assert_allclose(whole(task), whole(tasks[0]))
    assert np.array_equal(tasks[0].split("test").stimulus, tasks[1].split("test").stimulus)
    assert not np.array_equal(tasks[0].split("validation").stimulus, tasks[1].split("validation").stimulus)


def test_splits_by_fraction_are_stratified():
    classes = np.repeat([0, 1], [100, 40])
    parts = split_trials(140, classes=classes, test=0.2, validation=0.25)
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(140))
    counts = {name: np.bincount(classes[index]).tolist() for name, index in parts.items()}
    assert counts == {"train": [60, 24], "validation": [20, 8], "test": [20, 8]}


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_in_two_splits(seed):
    rng = np.random.default_rng(seed)
    groups = np.array([f"subject {i}" for i in rng.integers(0, 8, 200)])
    classes = rng.integers(0, 2, 200)
    parts = split_trials(200, classes=classes, groups=groups, seed=seed)
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(200))
    found = [set(groups[index]) for index in parts.values()]
    assert all(found)
    assert sum(map(len, found)) == len(set(groups))


def test_splits_that_are_given():
    words = np.array(["test", "train"] * 10)
    parts = split_trials(20, split=words, validation=0.3)
    assert np.array_equal(parts["test"], np.arange(0, 20, 2))
    assert len(parts["validation"]) == 3
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(20))
    given = {"train": [3, 1], "validation": [0], "test": [2]}
    assert {name: index.tolist() for name, index in split_trials(9, split=given).items()} == given


def network(task, windows=1):
    return Network.dense(
        task.channels, (6,), windows * task.outputs, neuron=LIF(tau_mem=5.0), synapse=Exponential((3.0, 9.0)),
        bias=(1.1, 1.8), key=KEY,
    )  # fmt: skip


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("kind", "loss"), [("samples", CrossEntropy(windows=3)), ("signals", SquaredError())]
)
def test_how_far_trials_are_filled_up_changes_nothing(kind, loss, relative):
    """Update, loss, scores and rates: the same with a hundred steps more, whatever stands there, and the mean
    over trials that are each as long as it is."""
    arrays = own_arrays(kind)
    names = ["stimuli", *(["targets"] if kind == "signals" else [])]
    longer = {name: np.pad(arrays[name], ((0, 0), (0, 100), (0, 0)), constant_values=7.0) for name in names}
    longer["targets"] = longer.get("targets", arrays["targets"])
    tasks = [
        Recordings.from_arrays(x["stimuli"], x["targets"], lengths=arrays["lengths"])
        for x in (arrays, arrays | longer)
    ]
    assert [task.split("test").stimulus.shape[1] for task in tasks] == [20, 120]
    model = network(tasks[0], getattr(loss, "windows", 1))
    simulator, evaluate = ClockDriven(Gate(), DT), make_evaluate(loss)
    params, fixed = eqx.partition(model, eqx.is_inexact_array)
    step, optimiser = make_train_step(fixed, loss, optax.sgd(0.1)), optax.sgd(0.1)
    states, metrics, results = [], [], []
    for task in tasks:
        state, found = step(start(params, optimiser), task.batch(KEY, 0, 6), simulator)
        states, metrics = [*states, state.params], [*metrics, found | {"finite": found["finite"] * 1.0}]
        results.append(evaluate(model, task.parts("test"), simulator))
    assert relative(states[1], states[0]) < 1e-12
    assert relative(metrics[1], metrics[0]) < 1e-12
    assert float(metrics[0]["gradient"]) > 1e-3
    for name, value in results[0].metrics.items():
        assert results[1].metrics[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name
    assert np.array_equal(results[0].durations, results[1].durations)
    # And as a trial by itself, which is not filled up at all.
    lengths = np.asarray(tasks[1].lengths["test"])
    i = int(np.argmin(lengths))
    n, one = lengths[i], jax.tree.map(lambda x: x[i : i + 1], tasks[1].split("test")._replace(key=None))
    target = one.target if kind == "samples" else one.target[:, :n]
    alone = Trial(one.stimulus[:, :n], target, None, one.label)
    found, expected = (evaluate(model, x, simulator).metrics for x in (one, alone))
    assert n < 20
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_a_split_comes_in_parts_that_fit(monkeypatch):
    task = made("signals")
    monkeypatch.setattr(recordings, "MOST", 2 * 20 * 3)
    parts, test = list(task.parts("test")), task.split("test")
    assert [len(part.stimulus) for part in parts] == [2, 2, 1]
    joined = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
    for name in ("stimulus", "target", "mask"):
        assert np.array_equal(getattr(joined, name), getattr(test, name))


def test_standardised_by_the_training_trials():
    arrays = own_arrays("samples")
    arrays["stimuli"][..., 1] = 4.0  # does not vary
    split = {"train": range(10), "validation": range(10, 14), "test": range(14, 24)}
    arrays["stimuli"][14:, :, 0] += 100.0
    task = Recordings.from_arrays(
        arrays["stimuli"], arrays["targets"], lengths=arrays["lengths"], split=split, standardise=True
    )
    train = task.split("train")
    x = np.asarray(train.stimulus)[np.asarray(train.mask)]
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(axis=0), [1, 0, 1], atol=1e-12)
    assert not np.asarray(train.stimulus)[~np.asarray(train.mask)].any()
    assert np.asarray(task.split("test").stimulus)[:, 0, 0].mean() > 50


def test_a_signal_moves_with_its_stimulus():
    x = np.random.default_rng(0).normal(size=(12, 15, 2))
    task = Recordings.from_arrays(x, x, shift_steps=4)
    batch = task.batch(KEY, 3, 6)
    assert np.array_equal(batch.stimulus, batch.target)
    plain = Recordings.from_arrays(x, x).batch(KEY, 3, 6)
    assert not np.array_equal(batch.stimulus, plain.stimulus)
    dropped = Recordings.from_arrays(x, x, drop=0.4).batch(KEY, 3, 6)
    gone = np.asarray(dropped.stimulus == 0)
    assert 0.2 < gone.mean() < 0.6
    assert np.array_equal(np.asarray(dropped.stimulus)[~gone], np.asarray(plain.stimulus)[~gone])
    assert np.array_equal(dropped.target, plain.target)


X, CLASSES = np.ones((12, 5, 2)), [0, 1] * 6


def arrays(stimuli=X, targets=CLASSES, **options):
    return Recordings.from_arrays(stimuli, targets, **({"validation": 0.3} | options))


E, U, T = [1.0, 2.0, 30.0], [0, 1, 0], [0, 1, 11]


def events(times=E, units=U, trial=T, targets=CLASSES, **options):
    return Recordings.from_events(times, units, trial, targets, **({"dt": 1.0} | options))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        # Events.
        (lambda: events(times=[1.0, 2.0]), "`times` has 2 entries, `units` 3 and `trial` 3: give one each"),
        (lambda: events(times=[1.0, -2.0, 3.0]), r"`times` holds -2 \(event 1\): times start at 0"),
        (lambda: events(times=[1.0, np.nan, 3.0]), "`times` holds values that are not finite"),
        (lambda: events(times=[[1.0], [2.0, 3.0], []]), "`times` is a ragged list"),
        (lambda: events(times=["a", "b", "c"]), "`times` is of shape .* give a list of numbers"),
        (lambda: events(units=[0, 1.5, 0]), "`units` holds 1.5, but must hold whole numbers"),
        (lambda: events(channels=1), "`units` holds unit 1, but there are 1: 0 to 0"),
        (lambda: events(units=[0, -1, 0]), "`units` holds unit -1"),
        (lambda: events(trial=[0, 1, 12]), "`trial` goes from 0 to 12, but there are 12 trials"),
        (lambda: events(times=[1.0, 2.0, 1e8]), r"a trial of 100000001 steps .* is each time in ms"),
        (lambda: events(units=[0, 1, 10**9]), "of 1000000001 units is more than"),
        (lambda: events(times=[1.0, 2.0, 1e14]), "the time up to the last event of 1e.14 ms has more than"),
        (lambda: events(duration=30.0), "holds 30 ms in trial 11, at or past its end of 30 ms, and 1 "),
        (lambda: events(duration=[30.0] * 11), r"`duration` has shape \(11,\) for 12 trials"),
        (lambda: events(duration=-3.0), "`duration` holds -3 ms: a trial is longer than 0"),
        (lambda: events(overflow="wrap"), "`overflow` is 'wrap', but must be one of refuse, cut"),
        (lambda: events(value="sum"), "`value` is 'sum', but must be one of count, root, binary"),
        (lambda: events(trial=None), "`times` has 3 entries for 12 trials: give a list for each trial"),
        (lambda: events([[1.0]] * 12, [[0]] * 11 + [[0, 1]], None), "trial 11 has 1 `times` and 2 `units`"),
        (lambda: events([[1.0]] * 11 + [[[1], [2, 3]]], [[0]] * 12, None), "`times` of trial 11 is a ragged"),
        # Samples.
        (lambda: arrays(X[0], CLASSES), "`stimuli` has shape .*expected .trials, time, channels"),
        (lambda: arrays(targets=CLASSES[:-1]), "there are 12 `stimuli` and 11 `targets`"),
        (lambda: arrays(X * np.nan, CLASSES), "`stimuli` holds values that are not finite"),
        (lambda: arrays(X * 1j, CLASSES), "`stimuli` holds complex128, not numbers"),
        (lambda: arrays([*X[:11], [[1, 2], [3]]], CLASSES), "trial 11 is a ragged list"),
        (lambda: arrays([*X[:11], X[0, :, :1]], CLASSES), "trial 11 has 1 channels, and trial 0 2"),
        (lambda: arrays([*X[:11], X[0, :0]], CLASSES), r"trial 11 has shape \(0, 2\)"),
        (lambda: arrays([], CLASSES), "`stimuli` is empty"),
        (lambda: arrays(lengths=[6] * 12), "its number of samples, 1 to 5"),
        (lambda: arrays(lengths=[5] * 9), r"`lengths` has shape \(9,\)"),
        (lambda: arrays(list(X), CLASSES, lengths=[5] * 12), None),
        (lambda: arrays([*X[:11], X[0, :2]], CLASSES, lengths=[5] * 12), "`lengths` is given, but"),
        (lambda: arrays(period=10.0), "`period` is 10 ms: give `dt` too"),
        (lambda: arrays(period=10.0, dt=3.0), "does not divide the data's period"),
        # Targets.
        (lambda: arrays(targets=[0, 1.5] * 6), "`targets` holds 1.5, but must hold whole numbers"),
        (lambda: arrays(targets=X[:, 0]), "`targets` has shape .12, 2.: give classes .trials,. or signals"),
        (lambda: arrays(targets=[0, 2] * 6, labels=("a", "b")), "`targets` has classes from 0 to 2"),
        (lambda: arrays(targets=["a", "c"] * 6, labels=("a", "b")), "class 'c', which `labels` does not"),
        (lambda: arrays(targets=X, labels=("a", "b")), "`labels` names classes, but `targets` are signals"),
        (lambda: arrays(targets=X[:, :4]), "signal of trial 0 has 4 steps, and its stimulus 5"),
        (lambda: arrays([*X[:11], X[0, :2]], list(X)), "signal of trial 11 has 5 steps, and its stimulus 2"),
        (lambda: events(targets=X, duration=40.0), "signal of trial 0 has 5 steps, and its stimulus 40"),
        (lambda: events(targets=X), "`times` holds 30 ms in trial 11, at or past its end of 5 ms"),
        # Splits.
        (lambda: arrays(test=0.0), "`test` is 0.0, but must be a fraction"),
        (lambda: arrays(validation=0.01), "the validation split has no trial: hold out a"),
        (lambda: arrays(groups=[0, 1] * 6), "`groups` has 2, which cannot be parted"),
        (lambda: arrays(groups=[0, 1, 2]), "`groups` has 3 entries for 12 trials"),
        (
            lambda: arrays(groups=np.arange(12), test=0.9),
            "the (train|validation) split has no trial",
        ),
        (
            lambda: arrays(groups=[7, 7, 1, 2, 3, 4] * 2, split=["train", "test"] * 6),
            "`split` puts group 7 into .* and test: keep",
        ),
        (lambda: arrays(split=["train", "tset"] * 6), "has the word 'tset', but the"),
        (lambda: arrays(split=["train"] * 3), "`split` has 3 words for 12 trials"),
        (lambda: arrays(split=["train"] * 12), "the test split has no trial: put some into"),
        (lambda: arrays(split={"trian": [0]}), "`split` names 'trian', but the splits are"),
        (lambda: arrays(split={"train": [0, 1], "test": [1]}), "names trial 1 twice"),
        (lambda: arrays(split={"train": [0], "test": [12]}), "test has trials from 12 to 12"),
        (
            lambda: arrays(targets=["a", "b"] * 6, split=["train", "test"] * 6, validation=0.2),
            "class b is in the test split and in no training trial",
        ),
        (lambda: arrays(drop=1.0), "Recordings: `drop` is 1, but must be"),
    ],
)  # fmt: skip
def test_what_is_no_recording_is_refused(make, match):
    if match is None:
        make()
        return
    with pytest.raises(ValueError, match=match) as caught:
        make()
    assert "\n" not in str(caught.value)
