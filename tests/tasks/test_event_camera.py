"""Recordings of event cameras: every kind of file to the last bit, damaged ones refused in one line, folders,
files of many and data sets of tonic's as a task, trained by the command line."""

import gzip
import sys
import types

import jax
import numpy as np
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejax import Events, cli
from spikejax.reading import FileError
from spikejax.tasks import EventCamera, from_tonic
from spikejax.tasks.event_collections import read_collection
from spikejax.tasks.event_files import CameraEvents, read_events

from ..command_line import fails
from ..spike_recordings import camera_arrays

LARGE = {
    ".bin": (240, 256, 2**23),
    ".bs2": (240, 256, 2**23),
    ".bs1": (1, 2**16, 2**23),
    ".bs3": (2**12, 2**12, 2**24),
}


def packed(kind: str, x, y, p, t) -> bytes:
    """Records as they stand in a file."""
    x, y, p, t = (int(a) for a in (x, y, p, t))
    if kind == ".bs1":
        head = x << 24
    elif kind == ".bs3":
        return (x << 44 | y << 32 | p << 24 | t).to_bytes(7, "big")
    else:
        head = x << 32 | y << 24
    return (head | p << 23 | t).to_bytes(5, "big")


def written(path, events: CameraEvents):
    path.write_bytes(b"".join(packed(path.suffix, *one) for one in zip(*events, strict=True)))
    return path


def drawn(kind: str, count: int = 50, seed: int = 0) -> CameraEvents:
    rng = np.random.default_rng(seed)
    rows, columns, end = LARGE[kind]
    y = np.zeros(count, int) if kind == ".bs1" else rng.integers(0, rows, count)
    return CameraEvents(
        rng.integers(0, columns, count), y, rng.integers(0, 2, count), np.sort(rng.integers(0, end, count))
    )


@pytest.mark.parametrize("kind", LARGE)
def test_every_bit_is_read(tmp_path, kind):
    events = drawn(kind)
    found = read_events(written(tmp_path / f"one{kind}", events))
    for a, b in zip(found, events, strict=True):
        np.testing.assert_array_equal(a, b)


def test_known_bytes(tmp_path):
    """Column 10, row 33, brighter, at 0x012345 us; then darker."""
    (tmp_path / "a.bin").write_bytes(bytes([10, 33, 0x81, 0x23, 0x45, 11, 0, 0x01, 0x23, 0x46]))
    found = read_events(tmp_path / "a.bin", (34, 34))
    assert [x.tolist() for x in found] == [[10, 11], [33, 0], [1, 0], [0x12345, 0x12346]]


def test_time_that_has_passed(tmp_path):
    """A record of row 240 is no event, and moves every later one by 2^13 us."""
    rows = [(1, 2, 1, 8000), (0, 240, 0, 8191), (3, 4, 0, 5), (0, 240, 1, 0), (0, 240, 0, 0), (5, 6, 1, 7)]
    path = written(tmp_path / "a.bin", CameraEvents(*np.array(rows).T))
    found = read_events(path, (34, 34))
    assert found.t.tolist() == [8000, 5 + 8192, 7 + 3 * 8192]
    assert found.x.tolist() == [1, 3, 5]


def test_spikes_of_neurons_come_in_any_order(tmp_path):
    path = written(
        tmp_path / "a.bs1", CameraEvents(*np.array([(7, 0, 1, 30), (2, 0, 1, 10), (900, 0, 0, 10)]).T)
    )
    found = read_events(path)
    assert (found.t.tolist(), found.x.tolist()) == ([10, 10, 30], [2, 900, 7])


ONE = [(1, 2, 1, 10), (3, 4, 0, 20), (5, 6, 1, 30)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            lambda raw: raw[:-2],
            "has 13 bytes, which is 2 records of 5 and 3 more (from byte 10 on): it is cut off",
        ),
        (lambda raw: b"", "is empty"),
        (lambda raw: raw[:5] + bytes([34]) + raw[6:], "event 1 has x 34, but the sensor is 34 pixels wide"),
        (lambda raw: raw[:6] + bytes([99]) + raw[7:], "event 1 has y 99, but the sensor is 34 pixels high"),
        (lambda raw: raw[:5] + raw[10:] + raw[5:10], "event 2 is at 20 us and the one before at 30 us"),
        (gzip.compress, "is compressed (gzip): unpack it first"),
    ],
)
def test_damaged_records(tmp_path, content, said):
    path = written(tmp_path / "a.bin", CameraEvents(*np.array(ONE).T))
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(FileError, match="^[^\n]*$") as error:
        read_events(path, (34, 34))
    assert str(error.value).startswith(f"{path}")
    assert said in str(error.value)
    if "run backwards" in str(error.value):
        assert read_events(path, (34, 34), order="sort").t.tolist() == [10, 20, 30]


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileError, match=r"a\.bin cannot be read \(No such file or directory\)"):
        read_events(tmp_path / "a.bin")
    with pytest.raises(FileError, match=r"a\.txt is of no known kind: expected one of \.bin, \.bs1"):
        read_events(tmp_path / "a.txt")
    (tmp_path / "a.aedat4").write_bytes(b"#!AER-DAT2.0\r\n")
    with pytest.raises(FileError, match="does not begin as AEDAT 4 does"):
        read_events(tmp_path / "a.aedat4")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"p": np.full(9, 2)}, "event 0 has polarity 2"),
        ({"x": np.zeros(8, int)}, r"the arrays differ in shape, x \(8,\)"),
        ({"t_us": np.r_[np.nan, np.arange(8.0)]}, "t_us holds values that are not finite"),
        ({"t_us": np.arange(9) - 3}, "event 0 is at -3 us: times start at 0"),
        ({"y": np.full(9, 0.5)}, "y holds 0.5, but must hold whole numbers"),
    ],
)
def test_damaged_arrays(tmp_path, change, said):
    arrays = {"x": np.arange(9) % 4, "y": np.arange(9) % 5, "p": np.arange(9) % 2, "t_us": np.arange(9)}
    np.savez(tmp_path / "a.npz", **arrays)
    assert len(read_events(tmp_path / "a.npz", (5, 4)).t) == 9
    np.savez(tmp_path / "a.npz", **arrays | change)
    with pytest.raises(FileError, match=said):
        read_events(tmp_path / "a.npz", (5, 4))


@given(raw=st.binary(max_size=64), kind=st.sampled_from([".bin", ".bs1", ".bs2", ".bs3", ".npz", ".aedat4"]))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_events_or_an_error_in_one_line(tmp_path_factory, raw, kind):
    path = tmp_path_factory.mktemp("any") / f"a{kind}"
    path.write_bytes(raw)
    found, said = None, ""
    try:
        found = read_events(path)
    except FileError as error:
        said = str(error)
    if found is None:
        assert str(path) in said
        assert "\n" not in said
    else:
        assert len({len(x) for x in found}) == 1
        assert (np.diff(found.t) >= 0).all()


def test_aedat(tmp_path, monkeypatch):
    """By the package of that name, whose interface is stood in for."""
    path = tmp_path / "a.aedat4"
    path.write_bytes(b"#!AER-DAT4.0\r\n")
    monkeypatch.setitem(sys.modules, "aedat", None)
    with pytest.raises(FileError, match=r"AEDAT needs the package aedat: pip install 'spikejax\[aedat\]'"):
        read_events(path)
    kind = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "?")])
    packets = [
        {"stream_id": 0, "events": np.array([(10**15, 3, 4, True), (10**15 + 5, 1, 2, False)], kind)},
        {"stream_id": 1, "frame": {}},
        {"stream_id": 0, "events": np.array([(10**15 + 9, 7, 8, True)], kind)},
    ]
    fake = types.SimpleNamespace(Decoder=lambda name: iter(packets))
    monkeypatch.setitem(sys.modules, "aedat", fake)
    found = read_events(path, (10, 10))
    assert [x.tolist() for x in found] == [[3, 1, 7], [4, 2, 8], [1, 0, 1], [0, 5, 9]]

    def broken(name):
        raise RuntimeError("the packet does not have a size prefix\nat all")

    monkeypatch.setitem(sys.modules, "aedat", types.SimpleNamespace(Decoder=broken))
    with pytest.raises(
        FileError, match=r"cannot be read as AEDAT 4: the packet does not have a size prefix$"
    ):
        read_events(path)


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
