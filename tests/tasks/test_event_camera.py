"""Recordings of event cameras as a task: folders, files of many and data sets of tonic's, changed in
training, trained by the command line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tomli_w

from spikejax import Events, cli
from spikejax.reading import FileError
from spikejax.tasks import EventCamera, Recordings, from_tonic
from spikejax.tasks.event_collections import read_collection
from spikejax.tasks.event_files import CameraEvents
from spikejax.tasks.image_changes import ImageChanges

from ..command_line import fails
from ..spike_recordings import camera_arrays
from .test_event_files import written


def parts(arrays: dict) -> list[tuple[CameraEvents, int]]:
    at = arrays["offset"]
    return [
        (CameraEvents(*(arrays[name][a:b] for name in ("x", "y", "p", "t_us"))), int(k))
        for a, b, k in zip(at[:-1], at[1:], arrays["label"], strict=True)
    ]


def structured(events: CameraEvents) -> np.ndarray:
    found = np.zeros(len(events.t), [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "?")])
    found["x"], found["y"], found["p"], found["t"] = events
    return found


HELD = {"validation": 0.3, "test_fraction": 0.3}
CAMERA = {"dt": 2.0, "sensor": (5, 4), "duration": 40.0, "form": "dense"}


@pytest.fixture
def many(tmp_path):
    np.savez(tmp_path / "many.npz", **camera_arrays())
    return tmp_path / "many.npz"


def same(one, other) -> None:
    for name in ("train", "validation", "test"):
        a, b = one.split(name), other.split(name)
        np.testing.assert_array_equal(a.stimulus, b.stimulus)
        np.testing.assert_array_equal(a.label, b.label)


def test_a_folder_a_file_and_a_data_set_are_one_task(tmp_path, many):
    arrays = camera_arrays()
    task = EventCamera(train=many, **CAMERA, **HELD)
    for i, (events, label) in enumerate(parts(arrays)):
        folder = tmp_path / "folder" / f"{label}"
        folder.mkdir(parents=True, exist_ok=True)
        written(folder / f"{i:05d}.bin", events)
    (tmp_path / "folder" / ".hidden").mkdir()
    (tmp_path / "folder" / "0" / ".hidden").write_text("no recording")
    by_folder = EventCamera(train=tmp_path / "folder", test=tmp_path / "folder", **CAMERA, validation=0.3)
    pairs = [(structured(events), label) for events, label in parts(arrays)]
    settings = {name: CAMERA[name] for name in ("sensor", "dt", "duration", "form")}
    same(task, from_tonic(pairs, **settings, **HELD))
    # A folder sorts them by class.
    order = np.argsort(arrays["label"], kind="stable")
    same(
        by_folder,
        from_tonic([pairs[i] for i in order], test=[pairs[i] for i in order], **settings, validation=0.3),
    )
    assert by_folder.labels == ("0", "1", "2")
    assert len(by_folder.split("test").label) == 24


def expected(events: CameraEvents, steps: int = 20) -> np.ndarray:
    found = np.zeros((steps, 2, 5, 4))
    for x, y, p, t in zip(*events, strict=True):
        found[t // 2000, p, y, x] += 1
    return found


def test_the_stimulus_is_polarity_rows_and_columns(many):
    arrays = camera_arrays()
    task = EventCamera(train=many, **CAMERA, **HELD)
    assert (task.channels, task.outputs, task.labels) == ((2, 5, 4), 3, ("0", "1", "2"))
    every = {expected(events).tobytes(): label for events, label in parts(arrays)}
    test = task.split("test")
    for x, label in zip(np.asarray(test.stimulus), test.label, strict=True):
        assert every[x.tobytes()] == label
    lists = EventCamera(train=many, **CAMERA | {"form": "events"}, **HELD).split("test").stimulus
    assert isinstance(lists, Events)
    assert lists.channels == (2, 5, 4)
    np.testing.assert_array_equal(jax.vmap(Events.dense)(lists), test.stimulus)


def test_what_is_seen_of_the_sensor(many):
    whole = EventCamera(train=many, **CAMERA, **HELD).split("test").stimulus
    seen = lambda **more: EventCamera(train=many, **CAMERA, **HELD, **more).split("test").stimulus
    cut = whole[:, :, :, 1:5, 0:2]
    np.testing.assert_array_equal(seen(crop=(1, 0, 4, 2)), cut)
    summed = cut.reshape(*cut.shape[:3], 2, 2, 1, 2).sum((4, 6))
    np.testing.assert_array_equal(seen(crop=(1, 0, 4, 2), downsample=2), summed)
    np.testing.assert_array_equal(seen(polarity="merged"), whole.sum(2, keepdims=True))
    np.testing.assert_array_equal(seen(polarity="on"), whole[:, :, 1:])
    np.testing.assert_array_equal(seen(polarity="off"), whole[:, :, :1])
    np.testing.assert_array_equal(seen(value="binary"), np.minimum(whole, 1))
    short = EventCamera(train=many, **CAMERA | {"duration": 21.0, "overflow": "cut"}, **HELD).split("test")
    np.testing.assert_array_equal(short.stimulus, whole[:, :11])


def test_shifts_move_the_image(many):
    plain, moved = (
        EventCamera(train=many, **CAMERA | {"form": "events"}, shift_pixels=by, **HELD).batch(
            jax.random.key(0), 0, 9
        )
        for by in (0, 2)
    )
    images = [np.asarray(jax.vmap(Events.dense)(x.stimulus)) for x in (plain, moved)]
    shifts = set()
    for before, after in zip(*images, strict=True):
        wide = np.pad(before, ((0, 0), (0, 0), (2, 2), (2, 2)))
        found = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if np.array_equal(wide[:, :, 2 - dy : 7 - dy, 2 - dx : 6 - dx], after)
        ]
        assert found
        shifts |= {found[0]}
    assert len(shifts) > 4
    dense = EventCamera(train=many, **CAMERA, shift_pixels=2, **HELD).batch(jax.random.key(0), 0, 9)
    np.testing.assert_array_equal(dense.stimulus, images[1])


def image(rows: list[tuple[int, int]], size: int = 9) -> Events:
    """Events of one trial at (row, column) of an image with two kinds, all of the second."""
    channel = [size * size + row * size + column for row, column in rows]
    return Events(jnp.zeros(len(rows), int), jnp.asarray(channel), steps=1, channels=(2, size, size))


def places(events: Events) -> list[tuple[int, int]]:
    """(row, column) of the events of one trial that are still there, in their order."""
    kind, row, column = jnp.unravel_index(events.channel, events.channels)
    there = np.asarray(events.value) > 0
    assert (np.asarray(kind)[there] == 1).all()
    return list(zip(np.asarray(row)[there].tolist(), np.asarray(column)[there].tolist(), strict=True))


def turned(rows: list[tuple[int, int]], matrix: list[list[float]], by=(0, 0)) -> list[tuple[int, int]]:
    return places(image(rows).shifted(jnp.asarray(by), jnp.asarray(matrix)))


def test_a_linear_map_moves_events_from_the_middle_on():
    middle, right, corner = (4, 4), (4, 7), (0, 8)
    assert turned([middle, right, corner], [[1.0, 0.0], [0.0, 1.0]]) == [middle, right, corner]
    # A quarter of a turn: what was on the right is at the bottom.
    assert turned([middle, right, corner], [[0.0, 1.0], [-1.0, 0.0]]) == [middle, (7, 4), (8, 8)]
    # Twice as far from the middle: 3 columns become 6, outside, and are lost; 1.4 times: 4.2, which rounds.
    assert turned([middle, right, (4, 5)], [[2.0, 0.0], [0.0, 2.0]]) == [middle, (4, 6)]
    assert turned([right], [[1.4, 0.0], [0.0, 1.4]]) == [(4, 8)]
    # A column for every row from the middle; then by whole pixels.
    assert turned([middle, (6, 4), (2, 4)], [[1.0, 0.0], [1.0, 1.0]]) == [middle, (6, 6), (2, 2)]
    assert turned([middle, (6, 4)], [[1.0, 0.0], [1.0, 1.0]], by=(-1, 1)) == [(3, 5), (5, 7)]


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        # Lengths and angles of two legs from the middle, of 20 pixels: along rows, and along columns.
        ({"rotate": 30.0}, lambda a, b, turn: abs(a - 1) < 0.05 and abs(b - 1) < 0.05 and abs(turn) < 31),
        ({"zoom": 0.2}, lambda a, b, turn: abs(a - b) < 0.06 and 0.78 < a < 1.22 and abs(turn) < 2),
        ({"shear": 0.5}, lambda a, b, turn: abs(b - 1) < 0.03 and abs(turn) < 2),
    ],
)
def test_changes_of_the_image(changes, kept):
    size, leg, trials = 81, 20, 60
    one = image([(40, 40), (40 + leg, 40), (40, 40 + leg)], size)
    batch = jax.tree.map(lambda x: jnp.broadcast_to(x, (trials, *x.shape)), one)
    change, key = ImageChanges(**changes), jax.random.key(3)
    found = [places(jax.tree.map(lambda x, i=i: x[i], change(batch, key))) for i in range(trials)]
    assert found == [places(jax.tree.map(lambda x, i=i: x[i], change(batch, key))) for i in range(trials)]
    assert found[0] != [places(jax.tree.map(lambda x: x[0], change(batch, jax.random.key(4))))]
    ends = []
    for middle, down, right in found:
        assert middle == (40, 40)
        (a, b), (c, d) = (np.subtract(end, middle) / leg for end in (down, right))
        # The leg along columns says the angle; a shear leaves it alone.
        assert kept(
            np.hypot(a, b) if "shear" not in changes else a, np.hypot(c, d), np.rad2deg(np.arctan2(c, d))
        )
        ends.append((a, b, c, d))
    assert np.ptp(ends, axis=0).max() > 0.3  # they differ, on both sides of nothing
    assert np.abs(np.mean(ends, axis=0) - [1, 0, 0, 1]).max() < 0.1


def test_the_image_changes_in_training_alone(many):
    options = {**CAMERA, **HELD, "rotate": 40.0, "zoom": 0.3, "shear": 0.5}
    task, plain = EventCamera(train=many, **options), EventCamera(train=many, **CAMERA, **HELD)
    np.testing.assert_array_equal(task.split("test").stimulus, plain.split("test").stimulus)
    one, again, later = (task.batch(jax.random.key(0), step, 9).stimulus for step in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, later)
    before = plain.batch(jax.random.key(0), 0, 9).stimulus
    assert not np.array_equal(one, before)
    assert (np.asarray(one).sum((2, 3, 4)) <= np.asarray(before).sum((2, 3, 4))).all()
    lists = EventCamera(train=many, **options | {"form": "events"}).batch(jax.random.key(0), 0, 9).stimulus
    np.testing.assert_allclose(jax.vmap(Events.dense)(lists), one, atol=1e-6)
    with pytest.raises(ValueError, match="`rotate`, `zoom` and `shear` are of events of an image"):
        Recordings(
            dict.fromkeys(("train", "validation", "test"), jnp.zeros((2, 5, 3))),
            dict.fromkeys(("train", "validation", "test"), jnp.arange(2)),
            labels=("a", "b"),
            rotate=3.0,
        )


def test_two_layouts_of_a_file_of_many(tmp_path):
    arrays = camera_arrays()
    apart = {
        f"{i}/{name}": x
        for i, (events, _) in enumerate(parts(arrays))
        for name, x in zip(("x", "y", "p", "t_us"), events, strict=True)
    }
    np.savez(tmp_path / "apart.npz", **apart)
    np.savez(tmp_path / "many.npz", **arrays)
    one, other = (read_collection(tmp_path / f"{name}.npz") for name in ("apart", "many"))
    assert one.labels is None
    assert len(one.recordings) == len(other.recordings) == 24
    for a, b in zip(one.recordings, other.recordings, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(FileError, match=r"apart\.npz has no array label"):
        EventCamera(train=tmp_path / "apart.npz", **CAMERA).split("test")


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"offset": np.arange(25)}, {}, "offset must rise from 0 to the number of events"),
        ({"label": np.arange(9)}, {}, r"label has 9 entries for 24 recordings \(offset\)"),
        (
            {"labels": np.arange(24)},
            {},
            "has an array 'labels': leave it out; known are x, y, p, t_us, offset",
        ),
        ({}, {"sensor": (3, 4)}, r"recording 0: event \d+ has y \d, but the sensor is 3 pixels high"),
        ({}, {"duration": 20.0}, "has events at or past the end of 20 ms"),
        ({"t_us": np.arange(1000)[::-1]}, {}, "run backwards"),
        ({"groups": np.arange(24) % 2}, {}, "`groups` has 2"),
    ],
)
def test_files_of_many_that_are_refused(tmp_path, change, options, said):
    arrays = camera_arrays()
    change = {name: x[: len(arrays["x"])] if name == "t_us" else x for name, x in change.items()}
    np.savez(tmp_path / "a.npz", **arrays | change)
    with pytest.raises(ValueError, match=said) as error:
        EventCamera(train=tmp_path / "a.npz", **CAMERA | options).split("test")
    assert str(tmp_path / "a.npz") in str(error.value)


def test_folders_that_are_refused(tmp_path):
    task = lambda: EventCamera(train=tmp_path / "f", **CAMERA).split("test")
    with pytest.raises(FileError, match=r"f cannot be read \(No such file"):
        task()
    (tmp_path / "f").mkdir()
    with pytest.raises(FileError, match="has no sub-folder for every class"):
        task()
    (tmp_path / "f" / "a").mkdir()
    with pytest.raises(FileError, match="a has no recordings: leave the class out"):
        task()
    (tmp_path / "f" / "a" / "notes.txt").write_text("")
    with pytest.raises(FileError, match=r"notes\.txt is no recording: known endings are"):
        task()


def test_options_that_do_not_fit():
    for options, said in (
        (
            {"crop": (2, 0, 4, 4)},
            "`crop` of top 2, left 0, height 4 and width 4 reaches outside the `sensor`",
        ),
        ({"crop": (2, 0)}, "`crop` has 2 numbers"),
        ({"downsample": 2}, r"`downsample` \(2\) must divide height and width, 5 x 4"),
    ):
        with pytest.raises(ValueError, match=said):
            EventCamera(train="nowhere.npz", **CAMERA | options)
    with pytest.raises(ValueError, match="`dataset`: recording 0 has no field t"):
        from_tonic([(np.zeros(3), 0)], sensor=(5, 4), dt=1.0)


@pytest.mark.nightly
def test_trained_by_the_command_line(many, tmp_path, capsys):
    config = {
        "dt": 2.0,
        "task": {"kind": "event_camera", "train": str(many), "sensor": [5, 4], "form": "events", **HELD},
        "network": {"layers": [{"size": 5, "neuron": {"kind": "lif"}, "synapse": {"tau_syn": [5.0]}}]},
        "training": {"steps": 2, "batch": 4, "evaluate_every": 2, "checkpoint_every": 2},
    }
    (tmp_path / "a.toml").write_text(tomli_w.dumps(config))
    assert cli.main(["train", str(tmp_path / "a.toml"), "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "figures" / "raster.png").exists()
    many.write_bytes(many.read_bytes()[:-200])
    assert str(many) in fails(capsys, "train", tmp_path / "a.toml", "--out", tmp_path / "other")
