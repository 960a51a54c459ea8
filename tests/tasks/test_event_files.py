"""Recordings of event cameras in files: every kind to the last bit, damaged ones refused in one line."""

import gzip
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejax.reading import FileError
from spikejax.tasks.event_files import CameraEvents, read_events

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
