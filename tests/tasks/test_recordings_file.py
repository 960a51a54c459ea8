"""A user's own recordings in a file: read as they are given in Python, from .npz and HDF5, or refused in one
line; trained, resumed, evaluated, drawn and analysed."""

import gzip
import json
import shutil

import h5py
import jax
import numpy as np
import pytest

from spikejax import cli
from spikejax.tasks import Recordings, RecordingsFile

from ..by_day import by_day
from ..command_line import fails
from ..configs import toml
from ..spike_recordings import own_arrays

KINDS = ("events", "samples", "signals")
SPLITS = ("train", "validation", "test")


def saved(path, arrays):
    """A file of the kind that the name ends in."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return path
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for name, array in arrays.items():
            file[name] = array.astype(h5py.string_dtype()) if array.dtype.kind == "U" else array
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(path.with_suffix(".h5").read_bytes()))
    return path


def options(kind: str) -> dict:
    of = {"events": {}, "samples": {"period": 2.0}, "signals": {"period": 2.0, "target": "signal"}}
    return {"dt": 2.0, "validation": 0.3} | of[kind]


def same(one, other) -> bool:
    """Whether two tasks have the same trials, classes and splits."""
    assert one.labels == other.labels
    parts = [[jax.tree.map(np.asarray, task.split(name)[:4]) for name in SPLITS] for task in (one, other)]
    return jax.tree.all(jax.tree.map(np.array_equal, *parts))


def in_python(kind: str, arrays: dict, **more) -> Recordings:
    common = (
        {name: arrays[name] for name in ("groups", "split") if name in arrays} | {"validation": 0.3} | more
    )
    if kind == "events":
        given = (arrays[name] for name in ("times", "units", "trial", "targets"))
        return Recordings.from_events(*given, dt=2.0, duration=arrays["duration"], **common)
    return Recordings.from_arrays(arrays["stimuli"], arrays["targets"], lengths=arrays["lengths"], **common)


@pytest.mark.parametrize("name", ["own.npz", "own.h5", "own.gz"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_what_its_arrays_are(tmp_path, kind, name):
    arrays = own_arrays(kind)
    if kind == "samples":  # words, in whatever way they are stored
        arrays |= {"targets": np.array(["b", "a", "é"])[arrays["targets"]], "groups": np.arange(24) % 5}
    if kind == "signals":
        arrays["split"] = np.array(["train", "validation", "test"])[np.arange(24) % 3]
    task = RecordingsFile(file=saved(tmp_path / name, arrays), **options(kind))
    assert same(task, in_python(kind, arrays))
    assert task.channels == (5 if kind == "events" else 3)


def test_other_ways_to_say_the_same(tmp_path):
    arrays = own_arrays("events")
    expected = in_python("events", arrays)
    order = np.argsort(arrays["trial"], kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(arrays["trial"], minlength=24))])
    rest = {"targets": arrays["targets"], "duration": arrays["duration"]}
    by_offsets = {"times": arrays["times"][order], "units": arrays["units"][order], "offsets": offsets} | rest
    assert same(
        RecordingsFile(file=saved(tmp_path / "offsets.npz", by_offsets), **options("events")), expected
    )
    for unit, factor in (("s", 1e-3), ("us", 1e3)):
        scaled = arrays | {"times": factor * arrays["times"], "duration": factor * arrays["duration"]}
        path = saved(tmp_path / f"{unit}.npz", scaled)
        assert same(RecordingsFile(file=path, time_unit=unit, **options("events")), expected)
    cut = RecordingsFile(file=path, time_unit="us", duration=10.0, overflow="cut", **options("events"))
    assert np.array_equal(cut.split("test").stimulus, expected.split("test").stimulus[:, :5])
    with pytest.raises(ValueError, match=r"us\.npz: `times` holds .* ms in trial .* or overflow = cut"):
        _ = RecordingsFile(file=path, time_unit="us", duration=10.0, **options("events")).stimuli


@pytest.mark.parametrize("kind", by_day(KINDS, ["events"]))
def test_a_file_for_testing(tmp_path, kind):
    arrays, other = own_arrays(kind), own_arrays(kind, trials=6, seed=3)
    for name in ("stimuli", "targets"):  # padded less
        if kind != "events" and other[name].ndim == 3:
            arrays[name] = np.pad(arrays[name], ((0, 0), (0, 4), (0, 0)))
    paths = saved(tmp_path / "train.npz", arrays), saved(tmp_path / "test.h5", other)
    task = RecordingsFile(file=paths[0], test_file=paths[1], **options(kind))
    test = task.split("test")
    assert len(test.stimulus) == 6
    split = {"train": [0, 1, 2], "validation": [3], "test": [4, 5]}
    expected = in_python(kind, other, split=split)
    whole = np.concatenate([expected.split(name).stimulus for name in split])
    assert np.array_equal(np.asarray(test.stimulus)[:, : whole.shape[1]], whole)
    assert not np.asarray(test.stimulus)[:, whole.shape[1] :].any()
    assert task.trials + len(task.split("validation").stimulus) == 24
    if kind == "events":
        with pytest.raises(ValueError, match="only one of the two files has groups"):
            saved(paths[0], arrays | {"groups": np.arange(24)})
            _ = task.stimuli


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_lasts_as_long_at_every_step(tmp_path, kind):
    path = saved(tmp_path / "own.npz", own_arrays(kind))
    coarse, fine = (
        RecordingsFile(file=path, **options(kind) | {"dt": dt}).split("test") for dt in (2.0, 1.0)
    )
    assert np.array_equal(2 * np.asarray(coarse.mask).sum(axis=1), np.asarray(fine.mask).sum(axis=1))
    total = np.asarray(fine.stimulus).reshape(len(fine.stimulus), -1, 2, fine.stimulus.shape[-1])
    np.testing.assert_allclose(total.sum(axis=2) if kind == "events" else total.mean(axis=2), coarse.stimulus)


def test_a_file_that_changes_is_read_again(tmp_path):
    arrays = own_arrays("samples")
    task = RecordingsFile(file=saved(tmp_path / "own.npz", arrays), **options("samples"))
    before = task.split("test").stimulus
    assert task.stimuli["test"] is task.stimuli["test"]
    saved(tmp_path / "own.npz", arrays | {"stimuli": 2 * arrays["stimuli"]})
    assert np.array_equal(task.split("test").stimulus, 2 * before)


def without(*names):
    return lambda arrays: {name: x for name, x in arrays.items() if name not in names}


def with_(**more):
    return lambda arrays: arrays | more


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.parametrize(
    ("kind", "change", "more", "match"),
    [
        ("events", without("targets"), {}, "no .* '?targets'?: it has duration, times, trial, units"),
        ("events", without("times"), {}, "'?times'?: it has duration, targets, trial, units"),
        ("events", without("units", "times"), {}, "has no events .* no samples .*: it has d"),
        ("events", without("trial"), {}, "has neither trial nor offsets, .*: it has d"),
        ("events", with_(stimuli=np.ones((24, 3, 2))), {}, "has events .* and samples .*: put them"),
        ("events", with_(group=np.arange(24)), {}, "has an array group: did you mean groups?"),
        ("events", with_(who=np.arange(24)), {}, "has an array who: leave it out; known are times"),
        ("events", with_(groups=np.arange(9)), {}, "groups has 9 entries for 24 trials"),
        ("events", with_(targets=np.linspace(0, 1, 24)), {}, "targets holds 0.04.*, but must hold whole"),
        ("events", with_(targets=np.ones((24, 3, 1))), {}, "for signals set task.target = signal"),
        ("events", with_(units=np.arange(3)), {}, "`units` 3 and `trial`"),
        ("events", with_(duration=np.full(24, 99.0)), {"units": 2}, "holds unit 4, but there are 2"),
        ("events", with_(split=np.array(["train", "tests"] * 12)), {}, "`split` has the word 'tests'"),
        ("events", with_(labels=np.array(["a", "b"])), {}, "classes from 0 to 2, but there are 2"),
        ("events", with_(), {"standardise": True}, "task.standardise is of samples, but"),
        ("events", with_(), {"period": 4.0}, "task.period is of samples, but"),
        ("samples", with_(), {"duration": 4.0}, "task.duration is of events, but the file has samples"),
        ("samples", with_(), {"units": 4}, "task.units is of events, but the file has samples"),
        ("samples", with_(), {"period": None}, "stimuli are samples: say in task.period how long one lasts"),
        ("samples", with_(lengths=np.full(24, 21)), {}, "its number of samples, 1 to 20"),
        ("samples", with_(stimuli=np.ones((24, 20))), {}, r"stimuli has shape \(24, 20\); expected 3 axes"),
        ("samples", with_(stimuli=np.ones((24, 20, 3)) * np.nan), {}, "stimuli holds values that are not"),
        ("samples", with_(), {"target": "signal"}, r"shape \(24,\), but task.target is signal"),
        ("signals", with_(targets=np.ones((24, 19, 1))), {}, "signal of trial .* has 19 steps, and its"),
    ],
)  # fmt: skip
def test_what_a_file_may_not_say(tmp_path, suffix, kind, change, more, match):
    path = saved(tmp_path / f"own.{suffix}", change(own_arrays(kind)))
    task = RecordingsFile(file=path, **options(kind) | more)
    with pytest.raises(ValueError, match=match) as caught:
        _ = task.stimuli
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_of_recordings(tmp_path):
    def refused(path, match):
        with pytest.raises(ValueError, match=match) as caught:
            _ = RecordingsFile(file=path, **options("events")).stimuli
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    refused(tmp_path / "absent.npz", "cannot be read .*: set task.file to your recordings")
    refused(tmp_path, "cannot be read")
    objects = np.array([np.ones(2), np.ones(3)], dtype=object)
    np.savez(tmp_path / "pickled.npz", **own_arrays("events") | {"times": objects})
    refused(tmp_path / "pickled.npz", "times holds Python objects, which are never loaded")
    np.save(tmp_path / "one.npy", np.ones(3))
    refused(tmp_path / "one.npy", "is one array, not an .npz file of several")
    (tmp_path / "text.npz").write_text("times, units")
    refused(tmp_path / "text.npz", "is neither a complete .npz nor a complete HDF5 file")
    for name in ("cut.npz", "cut.h5"):
        content = saved(tmp_path / name, own_arrays("events")).read_bytes()
        for part in (0.9, 0.5, 0.01):
            (tmp_path / name).write_bytes(content[: int(part * len(content))])
            refused(tmp_path / name, r"cannot be read|complete HDF5 file")
    with h5py.File(tmp_path / "lists.h5", "w") as file:
        for key, x in own_arrays("events").items():
            file[key] = x
        del file["times"]
        file.create_dataset("times", (24,), h5py.vlen_dtype(np.float32))[0] = [1.0, 2.0]
    refused(tmp_path / "lists.h5", "times holds lists, not one number")


NETWORK = {
    "layers": [
        {
            "size": 6,
            "bias": [1.1, 1.6],
            "neuron": {"kind": "lif", "tau_mem": 5.0},
            "synapse": {"tau_syn": [3.0, 9.0]},
        }
    ]
}


def prepared(tmp_path, kind: str) -> None:
    """A file of recordings, and a configuration for it."""
    saved(tmp_path / "own.npz", own_arrays(kind))
    task = {"kind": "recordings", "file": "own.npz", **options(kind)}
    config = {"dt": task.pop("dt"), "task": task, "network": NETWORK}
    config |= {"training": {"steps": 4, "batch": 6, "evaluate_every": 2, "checkpoint_every": 1}}
    if kind == "signals":
        config["loss"] = "squared_error"
    (tmp_path / "mine.toml").write_text(toml(config), encoding="utf-8")


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["events", "signals"])
def test_trained_interrupted_and_resumed(tmp_path, kind, capsys, monkeypatch):
    """In one go, and once more interrupted and resumed: the same to the last bit."""
    monkeypatch.chdir(tmp_path)
    prepared(tmp_path, kind)
    folders, draw = [tmp_path / name for name in ("whole", "cut")], RecordingsFile.batch
    monkeypatch.setattr("spikejax.plotting.save_figures", lambda *_: [])  # other tests draw them
    assert cli.main(["train", "mine.toml", "--out", "whole", "--quiet"]) == 0

    def interrupted(self, key, step, size):
        if not isinstance(step, jax.core.Tracer) and int(step) == 2:
            raise KeyboardInterrupt
        return draw(self, key, step, size)

    with monkeypatch.context() as patch:
        patch.setattr(RecordingsFile, "batch", interrupted)
        assert cli.main(["train", "mine.toml", "--out", "cut", "--quiet"]) == 130
    assert cli.main(["train", "mine.toml", "--out", "cut", "--resume", "--quiet"]) == 0
    checkpoints = [(folder / "last.ckpt").read_bytes() for folder in folders]
    assert checkpoints[0] == checkpoints[1]
    score = "accuracy" if kind == "events" else "error"
    assert f"test, smooth threshold: {score}" in capsys.readouterr().out
    (tmp_path / "own.npz").unlink()
    for command in (("evaluate", "cut"), ("train", "mine.toml", "--out", "new")):
        assert "own.npz cannot be read" in fails(capsys, *command)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
def test_evaluated_drawn_and_analysed(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepared(tmp_path, kind)
    assert cli.main(["train", "mine.toml", "--out", "run", "--quiet"]) == 0
    run = tmp_path / "run"
    shutil.rmtree(run / "figures")
    for command in ("evaluate", "plot", "analyse"):
        assert cli.main([command, "run"]) == 0
    assert json.loads((run / "evaluation.json").read_text())["trials"] == (5 if kind == "signals" else 6)
    assert (run / "figures" / "raster.png").exists()
    assert (run / "figures" / "confusion.png").exists() == (kind != "signals")
    found = json.loads((run / "analysis" / "analysis.json").read_text())
    assert ("decoding" in found) == (kind != "signals")
    assert found["trials"] > 4
