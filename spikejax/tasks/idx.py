"""Reading IDX files, in which MNIST and its relatives are published, strictly: whatever is wrong with one is
a `FileError` in one line.

Two bytes of 0, one for the type of the numbers, one for the number of axes, a number of four bytes for the
length of every axis, and the numbers, high bytes first. A file may be compressed by gzip.
"""

import gzip
import math
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ..reading import FileError, allowance, one_line

UNSIGNED = 8
"""The type of bytes, which is all that images and classes are published in."""
PACKED = b"\x1f\x8b"
"""How a file begins that is compressed by gzip."""


def read_idx(path: Path, ndim: int, what: str) -> UInt8[np.ndarray, "..."]:
    """The numbers of a file.

    **Arguments:** `ndim`: how many axes they are to have; `what` they are, for errors, such as "images".

    **Raises:** `FileError` in one line that names the file, for one that is absent, of another kind, damaged
    or cut off.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror}): it is to be a file of {what}") from None
    if content.startswith(PACKED):
        content = _unpacked(path, content)
    head = 4 + 4 * ndim
    if content[:3] != bytes([0, 0, UNSIGNED]) or len(content) < 4:
        raise FileError(
            f"{path} is no IDX file of bytes: it begins with {content[:4].hex() or 'nothing'}, not with "
            f"{bytes([0, 0, UNSIGNED, ndim]).hex()}, as {what} do"
        )
    if content[3] != ndim:
        raise FileError(
            f"{path} has {content[3]} axes, but {what} have {ndim}: is it another file of the set?"
        )
    if len(content) < head:
        raise FileError(f"{path} is cut off: it ends within its first {head} bytes")
    shape = tuple(int.from_bytes(content[4 * k : 4 * k + 4], "big") for k in range(1, ndim + 1))
    if len(content) - head != math.prod(shape):
        raise FileError(
            f"{path} is damaged or cut off: it says {' x '.join(map(str, shape))} bytes of {what}, but holds "
            f"{len(content) - head}"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _unpacked(path: Path, content: bytes) -> bytes:
    limit = allowance(len(content))
    with one_line(f"{path} cannot be unpacked, it is damaged or cut off"), gzip.open(path) as stream:
        found = stream.read(limit + 1)
        if len(found) > limit:
            raise FileError(
                f"{path} unpacks to more than {limit} bytes, which a file of its size is not trusted with"
            )
    return found


__all__ = ["read_idx"]
