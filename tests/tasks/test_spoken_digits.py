"""Spoken digits: reading the files, binning, augmentation, and that no split is ever held as a whole."""

import gzip
import importlib
import tracemalloc

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import ClockDriven
from spikejax.configuration import build, check
from spikejax.tasks import AbstractRecordings, Braille, SpokenDigits, spike_file
from spikejax.tasks.augmentation import binned
from spikejax.tasks.base import first_trials
from spikejax.training import make_evaluate

from ..spike_recordings import DATA, write

KEY = jax.random.key(3)
MODULE = importlib.import_module("spikejax.tasks.spoken_digits")


def random_recordings(count, rng, units=70, longest=0.39, spikes=40):
    sizes = rng.integers(1, spikes, count)
    return [(np.sort(rng.uniform(0, longest, n)), rng.integers(0, units, n)) for n in sizes]


@pytest.fixture
def folder(tmp_path):
    """Files with 36 and 24 recordings of 3 classes by 4 speakers, 70 units."""
    rng = np.random.default_rng(0)
    for name, count in (("a.h5", 36), ("b.h5", 24)):
        write(tmp_path / name, random_recordings(count, rng), np.arange(count) % 3, np.arange(count) // 3 % 4)
    return tmp_path


def task_of(folder, dt=10.0, **options):
    return SpokenDigits(
        dt,
        folder=folder,
        **({"train": "a.h5", "test": "b.h5", "units": 70, "bands": 14, "window": 400.0} | options),
    )


def excerpt(dt=10.0, **options):
    return SpokenDigits(
        dt, folder=DATA, train="digits_train.h5", test="digits_test.h5", window=500.0, **options
    )


def test_the_excerpt_is_read():
    events = spike_file.load(DATA / "digits_train.h5", 700)
    with gzip.open(DATA / "digits_train.h5.gz") as stream, h5py.File(stream, "r") as file:
        assert len(events) == len(file["labels"]) == 30
        assert np.array_equal(events.labels, file["labels"][:])
        assert np.array_equal(events.speakers, file["extra/speaker"][:])
        assert events.names == (
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
        )
        for i in (0, 7, 29):
            part = slice(events.offsets[i], events.offsets[i + 1])
            assert np.array_equal(events.times[part], file["spikes/times"][i])
            assert np.array_equal(events.units[part], file["spikes/units"][i])
        times, units, row = events.of(np.array([29, 7]))
        expected = [file["spikes/times"][i] for i in (29, 7)]
        assert np.array_equal(times, 1e3 * np.concatenate(expected).astype(float))
        assert np.array_equal(row, np.repeat([0, 1], [len(x) for x in expected]))
        assert np.array_equal(units, np.concatenate([file["spikes/units"][i] for i in (29, 7)]))


def test_a_file_is_read_once_and_again_when_it_changes(folder):
    first = spike_file.load(folder / "a.h5", 70)
    assert spike_file.load(folder / "a.h5", 70) is first
    with pytest.raises(ValueError, match="read-only"):
        first.labels[0] = 1
    write(folder / "a.h5", [([0.1], [3])], [1])
    assert len(spike_file.load(folder / "a.h5", 70)) == 1


def test_compressed_and_wide_types_read_the_same(folder):
    rng = np.random.default_rng(1)
    recordings = [(np.float16(t), u) for t, u in random_recordings(600, rng)]  # several chunks
    types = [(np.float16, np.uint16), (np.float32, np.int32), (np.float64, np.int64)]
    files = [
        write(folder / f"{i}.h5", recordings, np.arange(600) % 3, times=t, units=u)
        for i, (t, u) in enumerate(types)
    ]
    (folder / "3.h5.gz").write_bytes(gzip.compress(files[0].read_bytes()))
    reference, *others = (spike_file.load(path, 70) for path in (*files, folder / "3.h5"))
    for other in others:
        for name in ("times", "units", "offsets", "labels"):
            assert np.array_equal(getattr(reference, name), getattr(other, name))
    assert reference.resolution > 1e3 * others[0].resolution


def test_binning_is_a_direct_loop(folder):
    task = task_of(folder)
    with h5py.File(folder / "b.h5") as file:
        expected = np.zeros((24, 40, 14))
        for i in range(24):
            for t, u in zip(file["spikes/times"][i].astype(float), file["spikes/units"][i], strict=True):
                expected[i, int(1000 * t // 10), u // 5] += 1
        found = task.split("test")
        assert np.array_equal(found.stimulus, expected)
        assert np.array_equal(found.label, file["labels"][:])
    assert np.array_equal(task_of(folder, value="binary").split("test").stimulus, expected > 0)
    assert np.allclose(task_of(folder, value="root").split("test").stimulus, expected**0.5)
    # At half the step each bin lasts two steps.
    assert np.array_equal(task_of(folder, 5.0).split("test").stimulus, np.repeat(expected, 2, axis=1))


def test_delays_are_earlier_bins(folder):
    plain, task = task_of(folder), task_of(folder, delays=(0.0, 30.0))
    assert task.channels == 28
    x, whole = np.asarray(task.split("test").stimulus), np.asarray(plain.split("test").stimulus)
    assert np.array_equal(x[:, :, :14], whole)
    assert np.array_equal(x[:, 3:, 14:], whole[:, :-3])
    assert not x[:, :3, 14:].any()
    for delay in (15.0, 400.0):
        with pytest.raises(ValueError, match=f"a delay of {delay:g} ms"):
            task_of(folder, delays=(delay,))


def test_recordings_past_the_window(folder):
    with pytest.raises(
        ValueError,
        match=r"recordings have spikes at or past the end of the window of 200 ms, "
        r"the last at 3\d\d ms: .*cut",
    ):
        _ = task_of(folder, window=200.0).trials
    cut, whole = task_of(folder, window=200.0, overflow="cut"), task_of(folder)
    assert np.array_equal(cut.split("test").stimulus, whole.split("test").stimulus[:, :20])


def test_validation_is_a_stratified_part_of_training(folder):
    task = task_of(folder, validation=0.25)
    assert {name: len(n) for name, n in task.numbers.items()} == {"train": 27, "validation": 9, "test": 24}
    assert np.array_equal(np.bincount(task.classes("validation")), [3, 3, 3])
    both = np.concatenate([task.numbers["train"], task.numbers["validation"]])
    assert np.array_equal(both[np.argsort(both[:, 1]), 1], np.arange(36))
    assert (task.trials, task.channels, task.outputs) == (27, 14, 3)


def test_held_out_speakers_are_the_test_split_and_nothing_else(folder):
    task = task_of(folder, held_out_speakers=(1, 3))
    assert set(task.speakers("train")) == set(task.speakers("validation")) == {0, 2}
    assert set(task.speakers("test")) == {1, 3}
    assert len(task.numbers["test"]) == (36 + 24) // 2
    # Of both files, in the order of the numbers.
    stimulus = task.split("test").stimulus
    for i in (0, 20):
        k, number = task.numbers["test"][i]
        whole = binned(task.events[k].of(np.array([number])), (1, 40, 14), 10.0, 70)
        assert np.array_equal(stimulus[i], whole[0])
    with pytest.raises(ValueError, match="names speaker 7, but the recordings are by 0, 1, 2, 3"):
        _ = task_of(folder, held_out_speakers=(7,)).trials
    with pytest.raises(ValueError, match="no speaker to train on"):
        _ = task_of(folder, held_out_speakers=(0, 1, 2, 3)).trials


def test_batches_are_a_function_of_key_and_step(folder):
    options = {"blend": 0.5, "stretch": 0.1, "shift": 20.0, "channel_shift": 5, "jitter": 4.0, "drop": 0.1}
    task, again = task_of(folder, **options), task_of(folder, **options)
    first = [task.batch(KEY, i, 8) for i in range(4)]
    for i in (3, 1):
        a, b = first[i], again.batch(KEY, jnp.asarray(i), 8)
        assert all(np.array_equal(x, y) for x, y in zip(a[:2], b[:2], strict=True))
        assert np.array_equal(jax.random.key_data(a.key), jax.random.key_data(b.key))
    assert not np.array_equal(first[0].stimulus, first[1].stimulus)
    assert not np.array_equal(first[0].stimulus, task.batch(jax.random.key(4), 0, 8).stimulus)


def test_an_epoch_shows_every_recording_once(folder):
    task = task_of(folder, validation=0.25)
    whole = np.asarray(task.take("train", np.arange(27)).stimulus).reshape(27, -1)
    order = [
        np.concatenate([task.batch(KEY, 3 * epoch + i, 9).stimulus for i in range(3)]).reshape(27, -1)
        for epoch in range(2)
    ]
    for epoch in order:
        assert np.array_equal(np.unique(epoch, axis=0), np.unique(whole, axis=0))
    assert not np.array_equal(order[0], order[1])


def test_partners_are_others_of_the_class(folder):
    task = task_of(folder)
    which = task.numbers["train"]
    partners = task._partners(which, np.random.default_rng(0))
    labels = {tuple(n): label for n, label in zip(which, task.classes("train"), strict=True)}
    assert all(
        labels[tuple(a)] == labels[tuple(b)] and tuple(a) != tuple(b)
        for a, b in zip(which, partners, strict=True)
    )


def test_augmentation_is_for_training_only(folder):
    plain, task = task_of(folder), task_of(folder, blend=1.0, jitter=20.0, channel_shift=20)
    for name in ("validation", "test"):
        assert np.array_equal(plain.split(name).stimulus, task.split(name).stimulus)
    assert not np.array_equal(plain.batch(KEY, 0, 8).stimulus, task.batch(KEY, 0, 8).stimulus)


def tiny(folder=DATA, **changes):
    config = {
        "dt": 10.0,
        "task": {"kind": "spoken_digits", "folder": str(folder), "train": "a.h5", "test": "b.h5", "units": 70,
            "bands": 14,
                 "window": 400.0},
        "network": {"layers": [{"size": 6, "neuron": {"tau_mem": 50.0}, "synapse": {"tau_syn": [50.0]},
                    "bias": [0.5, 1.2]}]},
        "training": {"steps": 2, "batch": 4},
    }  # fmt: skip
    return check(config | changes)


def test_a_stream_is_judged_like_the_whole(folder, monkeypatch):
    run = build(tiny(folder))
    evaluate = make_evaluate(run.loss)
    whole = evaluate(run.network, run.task.split("test"), ClockDriven(run.gate, 10.0))
    monkeypatch.setattr(MODULE, "PART", 10)
    sizes = [len(part.stimulus) for part in run.task.parts("test")]
    assert sizes == [10, 10, 4]
    stream = evaluate(run.network, run.task.parts("test"), ClockDriven(run.gate, 10.0))
    for name, value in whole.metrics.items():
        assert np.isclose(stream.metrics[name], value, rtol=1e-12), name
    for name in ("labels", "classes", "durations"):
        assert np.array_equal(getattr(stream, name), getattr(whole, name))
    assert np.allclose(stream.counts[0], whole.counts[0], rtol=1e-12)


def test_other_tasks_come_in_one_part():
    task = Braille(25.0, clock=25.0)
    assert isinstance(task, AbstractRecordings)
    (part,) = task.parts("test")
    assert np.array_equal(part.stimulus, task.split("test").stimulus)
    assert np.array_equal(first_trials(task.parts("test"), 7).stimulus, part.stimulus[:7])


def test_only_the_parts_that_are_needed_are_made(folder, monkeypatch):
    monkeypatch.setattr(MODULE, "PART", 5)
    task, made = task_of(folder), []
    take = SpokenDigits.take
    monkeypatch.setattr(
        SpokenDigits, "take", lambda self, name, index: made.append(len(index)) or take(self, name, index)
    )
    few = first_trials(task.parts("test"), 7)
    assert np.array_equal(few.stimulus, take(task, "test", np.arange(7)).stimulus)
    assert made == [5, 5]
    probe = task.probe(10.0, 3)
    assert len(probe.trials.stimulus) == len(probe.groups["class"]) == 3
    assert made == [5, 5, 5]


def test_no_split_is_ever_held(tmp_path):
    """A dense test split would have 1000 x 100 x 700 numbers, 280 MB; reading, a batch and the whole split in
    parts stay below 140 MB."""
    rng = np.random.default_rng(0)
    for name in ("a.h5", "b.h5"):
        write(tmp_path / name, random_recordings(1000, rng, units=700, longest=0.99), np.arange(1000) % 3)
    tracemalloc.start()
    try:
        task = task_of(tmp_path, units=700, bands=700, window=1000.0, blend=0.5, jitter=2.0)
        task.batch(KEY, 0, 64)
        total = sum(int(part.stimulus.sum()) for part in task.parts("test"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == len(task.events[1].times)
    assert peak < 140e6


def test_files_that_name_different_classes(folder):
    write(folder / "b.h5", [([0.1, 0.2], [3, 4])], [0], names=5)
    with pytest.raises(ValueError, match="different classes"):
        _ = task_of(folder).labels


def test_a_task_reads_its_files_when_it_is_asked_for_trials(tmp_path):
    task = task_of(tmp_path / "absent", bands=35)
    assert task.channels == 35
    with pytest.raises(ValueError, match=r"absent.a\.h5 cannot be read"):
        _ = task.trials
    for options, words in (
        ({"bands": 15}, r"`bands` \(15\) must be a divisor of `units` \(70\)"),
        ({"bin": 30.0}, r"`window` \(400 ms\) must be a multiple of `bin` \(30 ms\)"),
        ({"overflow": "trim"}, "`overflow` is 'trim', but must be one of refuse, cut"),
        ({"drop": 1.0}, "`drop` is 1, but must be"),
        ({"dt": 3.0}, "does not divide"),
    ):
        with pytest.raises(ValueError, match=words):
            task_of(tmp_path / "absent", **options)
