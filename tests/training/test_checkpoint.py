"""Checkpoints: every change of a file is noticed, before memory is taken for what it says."""

import hashlib
import json
import warnings

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax.training import checkpoint
from spikejax.training.checkpoint import CheckpointError, DamagedCheckpoint

TREE = {"w": jnp.arange(6.0).reshape(2, 3), "n": jnp.asarray(3), "b": jnp.zeros((0, 2))}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, TREE, step=7, sessions=[{"best_score": -0.25}])
    return path


def old(path):
    """The same checkpoint as earlier versions wrote it."""
    line, rest = path.read_bytes().split(b"\n", 1)
    header = json.loads(line) | {"format": 1}
    path.write_bytes(json.dumps(header).encode() + b"\n" + rest[: -2 * hashlib.sha256().digest_size - 1])


def test_what_is_read_is_what_was_written(saved):
    tree, header = checkpoint.load(saved, TREE)
    assert eqx.tree_equal(tree, TREE)
    assert (header["step"], header["sessions"]) == (7, [{"best_score": -0.25}])


def _noticed(path, data, place):
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(path, TREE)
    assert "\n" not in str(error.value), place
    assert str(path) in str(error.value), place


def test_a_flipped_bit_is_noticed_in_every_byte(saved):
    whole, rng = saved.read_bytes(), np.random.default_rng(0)
    for i in range(len(whole)):
        bit = 1 << int(rng.integers(8))
        _noticed(saved, whole[:i] + bytes([whole[i] ^ bit]) + whole[i + 1 :], (i, bit))


@pytest.mark.nightly
def test_every_flipped_bit_is_noticed(saved):
    whole = saved.read_bytes()
    for i in range(len(whole)):
        for bit in range(8):
            _noticed(saved, whole[:i] + bytes([whole[i] ^ 1 << bit]) + whole[i + 1 :], (i, bit))


def test_a_cut_or_longer_file_is_noticed(saved):
    whole = saved.read_bytes()
    for length in range(0, len(whole), 7):
        _noticed(saved, whole[:length], length)
    for more in (b"\0", b"\n", whole):
        _noticed(saved, whole + more, more)


def test_an_old_checkpoint_is_read_and_said_to_be_one(saved):
    old(saved)
    with pytest.warns(UserWarning, match="without a checksum: damage may go unnoticed"):
        tree, _ = checkpoint.load(saved, TREE)
    assert eqx.tree_equal(tree, TREE)


@pytest.mark.filterwarnings("ignore:.*without a checksum")
@pytest.mark.parametrize(
    ("there", "instead", "words"),
    [
        # Otherwise NumPy would take the memory first.
        (b"(2, 3), }", b"(99999,)}", "shape"),
        (b"'descr': '<f8'", b"'descr': '<i8'", "is int64"),
        (b"'descr': '<f8'", b"'descr': '|O8'", "object"),
        (b"False, 'shape': (2, 3), }", b"True,  'shape': (2, 3), }", "shape"),
        (b'"layout": {', b'"layout": [', "not a complete checkpoint"),
    ],
)
def test_arrays_agree_with_the_header_without_a_checksum_too(saved, there, instead, words):
    old(saved)
    whole = saved.read_bytes()
    assert there in whole
    assert len(there) == len(instead)
    saved.write_bytes(whole.replace(there, instead, 1))
    with pytest.raises(DamagedCheckpoint, match="not a complete checkpoint") as error:
        checkpoint.load(saved, TREE)
    assert words in str(error.value)


@pytest.mark.filterwarnings("ignore:.*without a checksum")
@pytest.mark.parametrize(
    "text", [b"", b"\n", b"null\n", b"[" * 5000, b'{"format": 1e999}\n', b"\xff\n", b"{}\n"]
)
def test_what_is_no_checkpoint(saved, text):
    saved.write_bytes(text)
    with pytest.raises(CheckpointError):
        checkpoint.load(saved, TREE)


def test_another_format_and_another_network(saved):
    line = saved.read_bytes().split(b"\n", 1)[0]
    saved.write_bytes(json.dumps(json.loads(line) | {"format": 9}).encode() + b"\n")
    with pytest.raises(CheckpointError, match="format 9; this version reads 2 and 1"):
        checkpoint.load(saved, TREE)
    checkpoint.save(saved, {"w": TREE["w"]})
    with pytest.raises(CheckpointError, match="of another network: b is absent"):
        checkpoint.load(saved, TREE)


def _fuzzed(path, seed, count):
    """Files that were changed at random: each is refused in one line, or with an old one read; never anything
    else."""
    rng, whole = np.random.default_rng(seed), path.read_bytes()
    for _ in range(count):
        data = bytearray(whole)
        for _ in range(int(rng.integers(1, 6))):
            at, kind = int(rng.integers(len(data) + 1)), int(rng.integers(4))
            if kind == 0:
                data[at : at + int(rng.integers(20))] = b""
            elif kind == 1:
                data[at:at] = rng.bytes(int(rng.integers(1, 9)))
            elif kind == 2:
                data[at : at + 1] = bytes([int(rng.choice(list(b'0123456789-eE.[]{},:"nul')))])
            else:
                other = int(rng.integers(len(data) + 1))
                data[at : at + 30] = data[other : other + 30]
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            problem = ""
            try:
                found, header = checkpoint.load(path, TREE)
            except CheckpointError as error:
                problem = str(error)
            assert "\n" not in problem
            if not problem:
                assert bytes(data) == whole or header["format"] == 1
                assert {k: x.shape for k, x in found.items()} == {k: x.shape for k, x in TREE.items()}


@pytest.mark.parametrize("earlier", [False, True])
def test_fuzzed_checkpoints(saved, earlier):
    if earlier:
        old(saved)
    _fuzzed(saved, 0, 300)


@pytest.mark.nightly
@pytest.mark.parametrize("earlier", [False, True])
def test_many_fuzzed_checkpoints(saved, earlier):
    if earlier:
        old(saved)
    _fuzzed(saved, 1, 30_000)
