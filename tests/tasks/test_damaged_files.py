"""Files of recordings that are damaged, or lie about themselves: refused in one line, or read as they
were."""

import gzip
import io
import zipfile

import h5py
import jax
import numpy as np
import pytest

from spikejax.fitting import read_current_clamp, read_sound_spikes
from spikejax.reading import FREE, RATIO, arrays_of, class_numbers, whole_numbers
from spikejax.tasks import RecordingsFile, braille, spike_file
from spikejax.tasks.recordings_file import _read

from ..damage import bytes_damaged, each_bit, peak, refused_or_read, same
from ..spike_recordings import own_arrays, write

RECORDINGS = [([0.1, 0.2, 0.4], [1, 69, 3]), ([], []), ([0.3], [5]), ([0.0, 0.5], [0, 2])]


def clamp_arrays(rng) -> dict[str, np.ndarray]:
    return {
        "recordings": np.array(["R"]),
        "dt_s": np.array(1e-4),
        "R/v_0p01mV": rng.integers(-7000, 3000, (3, 40)).astype(np.int16),
        "R/i_pA": rng.normal(size=(3, 40)),
        "R/sweep": np.arange(3),
        "R/spike_count": np.array([1, 0, 2]),
        "R/spike_sample": np.array([5, 7, 9]),
    }


def sound_arrays(rng) -> dict[str, np.ndarray]:
    times = {"spike_times_1": np.array([0.001, 0.002]), "spike_times_2": np.array([])}
    return {"stimulus": rng.random((2, 50)), "dt": np.array(1e-4), **times}


def braille_arrays(rng) -> dict[str, np.ndarray]:
    x = rng.integers(0, 256, (6, 4, 12)).astype(np.uint8)
    return {"x": x, "y": np.array([0, 1, 2, 0, 1, 2], np.uint8), "letters": np.array(["A", "B", "C"])}


def own_recordings(path):
    """What a user's own file holds, as the task that is made of it."""
    _read.cache_clear()
    task = RecordingsFile(dt=2.0, file=path, validation=0.3)
    lengths = task.lengths or {}
    return task.labels, [
        [np.asarray(x) for x in jax.tree.leaves((task.targets[name], lengths.get(name), task.stimuli[name]))]
        for name in ("train", "validation", "test")
    ]


def own_in_words(rng) -> dict[str, np.ndarray]:
    arrays = own_arrays("events")
    return arrays | {"targets": np.array(["a", "b", "c"])[arrays["targets"]], "groups": np.arange(24) % 5}


NPZ = {
    "clamp": (clamp_arrays, lambda path: read_current_clamp(path, "R")),
    "sound": (sound_arrays, read_sound_spikes),
    "braille": (braille_arrays, braille.load),
    "own": (own_in_words, own_recordings),
}


def saved(arrays, packed: bool = True) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **arrays)
    return file.getvalue()


def read_h5(path):
    spike_file._load.cache_clear()
    return spike_file.load(path, 70)


def npz_survives(kind, tmp_path, damaged):
    make, read = NPZ[kind]
    path = tmp_path / "file.npz"
    path.write_bytes(saved(make(np.random.default_rng(1))))
    intact = read(path)
    for content in damaged(path.read_bytes()):
        path.write_bytes(content)
        found = refused_or_read(lambda: read(path), path)
        assert found is None or same(found, intact)


@pytest.mark.parametrize("kind", NPZ)
def test_damaged_npz(tmp_path, kind):
    rng = np.random.default_rng(0)
    npz_survives(kind, tmp_path, lambda content: (bytes_damaged(content, rng) for _ in range(150)))


@pytest.mark.nightly
@pytest.mark.parametrize("kind", NPZ)
def test_every_bit_of_an_npz(tmp_path, kind):
    npz_survives(kind, tmp_path, each_bit)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", NPZ)
@pytest.mark.parametrize("seed", range(1, 6))
def test_npz_damaged_at_random(tmp_path, kind, seed):
    rng = np.random.default_rng(seed)
    npz_survives(kind, tmp_path, lambda content: (bytes_damaged(content, rng) for _ in range(2000)))


def h5_survives(tmp_path, damaged, packed: bool):
    """HDF5 has no checksums: what is read of a damaged file is possible, and of a packed one what it was."""
    path = write(tmp_path / "plain.h5", RECORDINGS, [0, 1, 2, 0])
    content = path.read_bytes()
    if packed:
        path = tmp_path / "file.h5"
        content = gzip.compress(content)
        path.write_bytes(content)
    intact = read_h5(path)
    for one in damaged(content):
        path.write_bytes(one)
        found = refused_or_read(lambda: read_h5(path), path)
        if found is None:
            continue
        # The first bytes of a packed file say that it is one: without them it is none, or an HDF5 file.
        if packed:
            assert same(found, intact)
        assert len(found.labels) == len(found.offsets) - 1
        assert found.offsets[-1] == len(found.times) == len(found.units)
        assert 0 <= found.labels.min() <= found.labels.max() < len(found.names)
        assert np.isfinite(found.times).all()
        assert not len(found.times) or (found.times.min() >= 0 and found.units.max() < 70)


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_hdf5(tmp_path, packed):
    rng = np.random.default_rng(0)
    h5_survives(tmp_path, lambda content: (bytes_damaged(content, rng) for _ in range(150)), packed)


@pytest.mark.nightly
@pytest.mark.parametrize("packed", [False, True])
def test_bits_of_an_hdf5_file(tmp_path, packed):
    # Of the plain file one bit of nearly every byte: the others take ten minutes.
    h5_survives(tmp_path, lambda content: each_bit(content, step=1 if packed else 9), packed)


@pytest.mark.nightly
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("seed", range(1, 6))
def test_hdf5_damaged_at_random(tmp_path, packed, seed):
    rng = np.random.default_rng(seed)
    h5_survives(tmp_path, lambda content: (bytes_damaged(content, rng) for _ in range(3000)), packed)


def own_h5_survives(tmp_path, damaged):
    path, arrays = tmp_path / "own.h5", own_in_words(None)
    with h5py.File(path, "w") as file:
        for name, x in arrays.items():
            file[name] = x.astype(h5py.string_dtype()) if x.dtype.kind == "U" else x
    for one in damaged(path.read_bytes()):
        path.write_bytes(one)
        found = refused_or_read(lambda: own_recordings(path), path)
        if found is not None:
            for target, *rest in found[1]:
                assert all(np.isfinite(x).all() for x in rest)
                assert 0 <= target.min() <= target.max() < len(found[0])


def test_own_hdf5_damaged(tmp_path):
    rng = np.random.default_rng(0)
    own_h5_survives(tmp_path, lambda content: (bytes_damaged(content, rng) for _ in range(100)))


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1, 4))
def test_own_hdf5_damaged_at_random(tmp_path, seed):
    rng = np.random.default_rng(seed)
    own_h5_survives(tmp_path, lambda content: (bytes_damaged(content, rng) for _ in range(3000)))


def member(name: str, content: bytes, path, **others: bytes):
    """An ``.npz`` file of one member that is written byte by byte, and others that are in order."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, data in {name: content, **others}.items():
            archive.writestr(f"{key}.npy", data)
    return path


def npy(header: str, data: bytes = b"", version=(1, 0)) -> bytes:
    text = header.encode() + b"\n"
    length = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + text + data


def shaped(shape, descr="<f8") -> str:
    return repr({"descr": descr, "fortran_order": False, "shape": shape})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npy(shaped((10**12,))), "is damaged"),
        (npy(shaped((2**62, 2**62))), "is damaged"),
        (npy(shaped((-1,)), bytes(8)), "shape"),
        (npy(shaped((2,)), bytes(8)), "is damaged"),
        (npy(shaped((2,)), bytes(24)), "is damaged"),
        (npy(shaped((1,), "|O"), bytes(8)), "Python objects"),
        (npy(shaped((1,), [("a", "<f8")]), bytes(8)), "not numbers"),
        (npy("f()", bytes(8)), "cannot be read"),
        (npy("(" * 5000, bytes(8)), "cannot be read"),
        (npy(shaped((1,)) + " " * 60_000, bytes(8)), "cannot be read"),
        (npy(shaped((1,)), bytes(8), version=(3, 0)), "version 3.0"),
        (npy(shaped((1,)), np.array([np.nan]).tobytes()), "not finite"),
        (npy(shaped((1,)), np.array([1e300]).tobytes()), "1e+300"),
        (npy(shaped((1,), "<c16"), bytes(16)), "not numbers"),
        (b"", "cannot be read"),
    ],
)
def test_a_header_that_lies(tmp_path, content, words):
    path = member("x", content, tmp_path / "file.npz")
    with pytest.raises(ValueError, match=r"file\.npz: x ") as error, arrays_of(path) as file:
        file.numbers("x")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_what_expands_without_end_is_not_read(tmp_path):
    """A thousand times its size, as deflate packs zeros: the file of 200 kB would take 200 MB."""
    size = 200_000_000
    path = tmp_path / "zeros.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        file.write(npy(shaped((size,), "|u1")))
        for _ in range(size // 1_000_000):
            file.write(bytes(1_000_000))
    assert path.stat().st_size * RATIO < size
    before = peak()
    with (
        pytest.raises(ValueError, match="more than a file of this size is trusted with"),
        arrays_of(path) as file,
    ):
        file.get("x")
    assert peak() - before < 50
    # Many small ones are as large as a large one.
    part = npy(shaped((FREE // 2,), "|u1"), bytes(FREE // 2))
    member("x", part, path, y=part, z=part)
    with pytest.raises(ValueError, match="z is 33554432 bytes"), arrays_of(path) as file:
        for key in "xyz":
            assert file.get(key).shape == (FREE // 2,)


def test_hdf5_that_lies_about_its_size(tmp_path):
    path = write(tmp_path / "a.h5", RECORDINGS, [0, 1, 2, 0])
    with h5py.File(path, "a") as file:
        del file["labels"]
        file.create_dataset("labels", (10**11,), np.int64)
        place = file["spikes/times"].id.get_offset()
    with pytest.raises(ValueError, match=r"a\.h5: labels says 100000000000 entries"):
        read_h5(path)
    with h5py.File(path, "a") as file:
        del file["labels"]
        file.create_dataset("labels", (10**11,), np.int64, chunks=(4,))[:4] = 1
    with pytest.raises(ValueError, match=r"a\.h5: labels is said to be 800000000000 bytes"):
        read_h5(path)
    # A list of 4 billion spikes, of which there are three.
    path = write(tmp_path / "b.h5", RECORDINGS, [0, 1, 2, 0])
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        place = file["spikes/times"].id.get_offset()
    assert int.from_bytes(content[place : place + 4], "little") == 3
    content[place : place + 4] = b"\xff" * 4
    path.write_bytes(content)
    before = peak()
    with pytest.raises(ValueError, match=r"b\.h5: spikes/times is said to be 8\d+ bytes"):
        read_h5(path)
    assert peak() - before < 50
    packed = tmp_path / "c.h5"
    with gzip.open(packed, "wb") as file:
        for _ in range(FREE // 1_000_000 + 2):
            file.write(bytes(1_000_000))
    with pytest.raises(ValueError, match=r"c\.h5 unpacks to more than"):
        read_h5(packed)


@pytest.mark.parametrize("chunked", [False, True])
def test_long_files_are_read_as_ever(tmp_path, chunked):
    """The lengths of the lists are found, and do not count twice."""
    rng = np.random.default_rng(0)
    recordings = [(np.sort(rng.random(n)), rng.integers(0, 70, n)) for n in rng.integers(0, 60, 600)]
    path = write(tmp_path / "long.h5", recordings, [0] * 600)
    if chunked:
        with h5py.File(path, "a") as file:
            for name, kind in (("spikes/times", np.float16), ("spikes/units", np.uint16)):
                old = list(file[name][:])
                del file[name]
                data = file.create_dataset(name, (600,), h5py.vlen_dtype(kind), chunks=(100,))
                for i, x in enumerate(old):
                    data[i] = x
    events = read_h5(path)
    assert np.array_equal(np.diff(events.offsets), [len(t) for t, _ in recordings])
    np.testing.assert_array_equal(events.units, np.concatenate([u for _, u in recordings]))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("labels", np.array([0, 1, 0.5, 0]), "labels holds 0.5, but must hold whole numbers"),
        ("labels", np.array([0, 1, np.nan, 0]), "labels holds values that are not finite"),
        ("labels", np.array([0, 1, 2, 0]) > 0, "labels holds bool, not numbers"),
        ("labels", np.array([1, 2, 3, 1]), "labels has classes from 1 to 3, but there are 3"),
        ("labels", np.zeros((4, 1), int), "labels has shape (4, 1)"),
        ("labels", np.array([b"a"] * 4), "labels holds |S1, not numbers"),
        ("labels", None, "no dataset labels"),
        ("extra/keys", np.array([1, 2, 3]), "extra/keys holds int64"),
        ("extra/keys", b"abc", "extra/keys has shape ()"),
        ("extra/speaker", np.array([b"ann"] * 4), "extra/speaker holds |S3, not numbers"),
        ("extra/speaker", np.array(["ann"] * 4, object), "extra/speaker holds object, not numbers"),
        ("extra/speaker", np.array([0, 1, 2, -1]), "extra/speaker"),
        ("extra/speaker", np.array([0, 1]), "extra/speaker (2,)"),
        ("spikes/units", np.zeros((4, 2), np.uint16), "spikes/units has shape (4, 2)"),
    ],
)
def test_datasets_of_another_kind(tmp_path, name, value, words):
    path = write(tmp_path / "a.h5", RECORDINGS, [0, 1, 2, 0], leave_out=[name])
    if value is not None:
        with h5py.File(path, "a") as file:
            file[name] = value
    with pytest.raises(ValueError, match=r"a\.h5") as error:
        read_h5(path)
    assert words in str(error.value)
    group = write(tmp_path / "a.h5", RECORDINGS, [0, 1, 2, 0], leave_out=[name])
    with h5py.File(group, "a") as file:
        file.create_group(name)
    with pytest.raises(ValueError, match=f"{name} is a group, not a dataset"):
        read_h5(group)


def test_what_need_not_be_there(tmp_path):
    path = write(tmp_path / "a.h5", RECORDINGS, [0, 1, 2, 0], leave_out=["extra/speaker"])
    assert read_h5(path).speakers is None
    with h5py.File(path, "a") as file:
        del file["labels"]
        file["labels"] = np.array([0.0, 1.0, 2.0, 0.0])  # as Matlab writes them
    assert read_h5(path).labels.tolist() == [0, 1, 2, 0]
    quiet = write(tmp_path / "quiet.h5", [([], [])] * 3, [0, 1, 2])
    assert np.array_equal(read_h5(quiet).offsets, [0, 0, 0, 0])


def test_silent_sweeps_and_names_as_bytes(tmp_path):
    arrays = clamp_arrays(np.random.default_rng(0))
    arrays |= {"R/spike_count": np.zeros(3, int), "R/spike_sample": np.array([])}
    arrays |= {"recordings": np.array([b"R"]), "R/sweep": np.arange(3.0)}
    np.savez(tmp_path / "a.npz", **arrays)
    found = read_current_clamp(tmp_path / "a.npz", "R")
    assert [len(x) for x in found.spikes] == [0, 0, 0]
    assert found.sweeps.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("y", np.array([0, 1, 2, 0, 1, 1.5]), "y holds 1.5"),
        ("y", np.full(6, np.nan), "y holds values that are not finite"),
        ("y", np.full(6, 2**63, np.uint64), "y holds 9.22337e+18"),
        ("y", np.array([1, 2, 3, 1, 2, 3]), "y has classes from 1 to 3, but there are 3"),
        ("y", np.array(3), "y has shape ()"),
        ("y", np.zeros(6, bool), "y holds bool"),
        ("letters", np.array("A"), "letters has shape ()"),
        ("letters", np.arange(3), "letters holds int64"),
        ("x", np.zeros((6, 0, 12)), "x has shape (6, 0, 12)"),
        ("x", np.full((6, 4, 12), 256.0), "x goes from 256 to 256"),
        ("x", np.zeros((6, 4, 12), complex), "x holds complex128"),
        ("x", np.full((6, 4, 12), "a"), "x holds <U1"),
    ],
)
def test_braille_arrays_of_another_kind(tmp_path, name, value, words):
    path = tmp_path / "a.npz"
    path.write_bytes(saved(braille_arrays(np.random.default_rng(0)) | {name: value}))
    with pytest.raises(ValueError, match=r"a\.npz") as error:
        braille.load(path)
    assert words in str(error.value)


def test_whole_numbers_are_never_cut():
    assert whole_numbers("x", np.array([])).dtype == np.int64
    assert whole_numbers("x", np.array([3.0, -2.0])).tolist() == [3, -2]
    for value in (0.5, -1e-9, np.nan, np.inf, 1e16):
        with pytest.raises(ValueError, match="^x holds"):
            whole_numbers("x", np.array([value]))
    with pytest.raises(ValueError, match="number them 0 to 1"):
        class_numbers("x", np.array([1, 2]), 2)


def test_what_the_hdf5_library_does_not_survive(tmp_path):
    """A heap whose size is wrong, where it looks for the next list without end, and a list that is none, at
    which it ends the process."""
    path = write(tmp_path / "a.h5", RECORDINGS, [0, 1, 2, 0])
    content = path.read_bytes()
    heap, kind = content.index(b"GCOL") + 9, h5py.File(path)["spikes/times"].id.get_type().encode()[2:10]
    assert content[heap] == 16  # 4096 bytes
    for place, value in ((heap, 24), (content.index(kind) + 1, 2)):
        damaged = bytearray(content)
        damaged[place] = value
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.h5: spikes/(times|units)") as error:
            read_h5(path)
        assert "run into each other" in str(error.value) or "are no lists" in str(error.value)
