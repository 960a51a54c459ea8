"""Damaged files, as disks, networks and programs leave them: seeded, for the tests of what reads them."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

LONGEST, MOST = 20.0, 400
"""Seconds and MB that a reader may take for a file of some kB."""


def bytes_damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """`content` with one kind of damage: bits or bytes changed, cut, a piece lost, doubled or blank."""
    data, size = bytearray(content), len(content)
    a, b = sorted(rng.integers(0, size + 1, 2))
    b = min(b, a + int(rng.integers(1, 400)))
    kind = rng.integers(8)
    if kind == 0:
        return content[:a]
    if kind == 1:
        return content[:a] + content[b:]
    if kind == 2:
        return content[:b] + content[a:]
    if kind == 3:
        return content[:a] + rng.bytes(b - a) + content[b:]
    if kind == 4:
        data[a:b] = bytes(b - a)
    elif kind == 5:
        data[a:b] = b"\xff" * (b - a)
    else:
        for place in rng.integers(0, size, rng.integers(1, 4)):
            data[place] = data[place] ^ (1 << rng.integers(8)) if kind == 6 else rng.integers(256)
    return bytes(data)


def each_bit(content: bytes, begin: int = 0, step: int = 1) -> Iterator[bytes]:
    """`content` with one bit changed, at every `step`-th place from `begin`."""
    for place in range(8 * begin, 8 * len(content), step):
        data = bytearray(content)
        data[place // 8] ^= 1 << place % 8
        yield bytes(data)


def peak() -> float:
    """Most memory that this process ever held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def refused_or_read(read: Callable[[], object], names: str | Path) -> object | None:
    """What `read` returns, or None if it refuses in one line that names the file; in either case soon and
    with little memory."""
    before, begin = peak(), time.monotonic()
    try:
        found = read()
    except ValueError as error:
        found, told = None, str(error)
        assert len(told.splitlines()) == 1
        assert str(names) in told
    assert time.monotonic() - begin < LONGEST
    assert peak() - before < MOST
    return found


def same(one, other) -> bool:
    """Whether two readings are the same in everything: arrays, texts, numbers."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


__all__ = ["bytes_damaged", "each_bit", "refused_or_read", "same"]
