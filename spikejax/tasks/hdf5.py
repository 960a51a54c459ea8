"""Reading HDF5 files of others strictly, plain or compressed as a whole by gzip."""

import gzip
import math
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Int

from ..reading import AbstractArrays, FileError, one_line


@contextmanager
def opened(path: Path, limit: int):
    """The file as h5py reads it, and its bytes; unpacked it has at most `limit` of them."""
    import h5py  # slow to import, and only needed here

    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not packed:
            with h5py.File(path, "r") as file:
                yield file, raw
            return
        # On disk: HDF5 jumps to and fro, which a compressed stream does not.
        with tempfile.TemporaryFile() as plain:
            with gzip.open(raw) as stream:
                while part := stream.read(1 << 20):
                    plain.write(part)
                    if plain.tell() > limit:
                        raise FileError(
                            f"{path} unpacks to more than {limit} bytes, which a file of its size is not "
                            "trusted with"
                        )
            with h5py.File(plain, "r") as file:
                yield file, plain


class HDF5File(AbstractArrays):
    """An opened file, whose datasets are looked at before they are read."""

    def __init__(self, path: Path, file: Any, raw: IO[bytes], limit: int, layout: str = ""):
        self.path, self._file, self._raw, self._left, self._layout = path, file, raw, limit, layout

    @property
    def names(self):
        """The groups and datasets at the root."""
        return tuple(self._file)

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def dataset(self, name: str, ndim: int | None) -> Any:
        """A dataset with so many axes, small enough to be held."""
        import h5py

        if name not in self._file:
            hint = self._layout or self.inventory()
            raise FileError(f"{self.path} has no dataset {name}: {hint}")
        found = self._file[name]
        if not isinstance(found, h5py.Dataset):
            raise FileError(f"{self.path}: {name} is a {type(found).__name__.lower()}, not a dataset")
        with one_line(f"{self.path}: {name} cannot be read"):
            shape, kind = found.shape, found.dtype
        if shape is None or (ndim is not None and len(shape) != ndim):
            raise FileError(f"{self.path}: {name} has shape {shape}; expected {ndim} axes")
        if found.is_virtual or found.external:
            raise FileError(f"{self.path}: {name} is kept in other files: put everything into one")
        count = math.prod(shape)
        if count and not found.id.get_storage_size():
            raise FileError(f"{self.path}: {name} says {count} entries, but there is nothing in it")
        self._take(name, count * kind.itemsize)
        return found

    def get(self, key, ndim=None):
        """A dataset of numbers or text."""
        import h5py

        found = self.dataset(key, ndim)
        if found.dtype.kind == "O":
            if h5py.check_string_dtype(found.dtype) is None:
                raise FileError(f"{self.path}: {key} holds lists, not one number or text for every entry")
            self._take_lists(key, found, 1, "texts")
        with one_line(f"{self.path}: {key} cannot be read"):
            return np.asarray(found[()])

    def lists(self, name: str, kinds: str, what: str) -> Any:
        """A dataset of a list for every recording, of numbers of these kinds."""
        import h5py

        found = self.dataset(name, 1)
        inner = h5py.check_vlen_dtype(found.dtype)
        if not isinstance(inner, np.dtype) or inner.kind not in kinds:
            raise FileError(
                f"{self.path}: {name} holds {inner or found.dtype}; expected {what}, one list for "
                "each recording"
            )
        self._take_lists(name, found, 0, "lists")
        return found

    def _take_lists(self, name: str, found: Any, kind: int, what: str) -> None:
        """Check a dataset whose entries have a length of their own; `kind`: of lists 0, of texts 1."""
        import h5py

        inner = h5py.check_vlen_dtype(found.dtype)
        with one_line(f"{self.path}: {name} cannot be read"):
            # The lowest bits of what follows the class say whether it is a list or a text. At anything else
            # the HDF5 library ends the process.
            if found.id.get_type().encode()[3] & 0x0F != kind:
                raise FileError(f"{self.path}: {name} is damaged: its entries are no {what}")
            lengths = self._lengths(found)
        if lengths is not None:
            self._take(name, int(lengths.sum()) * (inner.itemsize if isinstance(inner, np.dtype) else 1))

    def _take(self, name: str, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise FileError(
                f"{self.path}: {name} is said to be {size} bytes large, which a file of this size is not "
                "trusted with"
            )

    def _lengths(self, found: Any) -> Int[np.ndarray, " entries"] | None:
        """Length of every list of a dataset, which stands beside the list's address; None if it is stored in
        a way that hides them.

        HDF5 itself takes the memory for a list of the length that is written there before it looks whether
        there is such a list.
        """
        if found.file.id.get_create_plist().get_sizes() != (8, 8):  # bytes of an address, and of a size
            return None
        entry = np.dtype([("length", "<u4"), ("address", "<u8"), ("number", "<u4")])
        pieces = [(found.id.get_offset(), found.id.get_storage_size())]
        if found.chunks is not None:
            if found.compression is not None or found.shuffle or found.fletcher32:
                return None
            infos = (found.id.get_chunk_info(i) for i in range(found.id.get_num_chunks()))
            pieces = [(info.byte_offset, info.size) for info in infos]
        if any(offset is None for offset, _ in pieces):
            return None
        parts = []
        for offset, size in pieces:
            self._raw.seek(offset)
            piece = self._raw.read(size)
            parts.append(np.frombuffer(piece, entry, len(piece) // entry.itemsize))
        entries = np.concatenate(parts)
        for address in np.unique(entries["address"][entries["length"] > 0]).tolist():
            self._check_heap(found.file.userblock_size + address)
        return entries["length"].astype(np.int64)

    def _check_heap(self, address: int) -> None:
        """Raise an error unless the objects of a piece of the file's heap, where lists stand, fill it up: the
        HDF5 library looks for the next object without end in one that is damaged."""
        self._raw.seek(0, 2)
        left = self._raw.tell() - address
        self._raw.seek(max(address, 0) if left > 0 else 0)
        head = self._raw.read(16)
        size = int.from_bytes(head[8:], "little")
        if head[:5] != b"GCOL\x01" or not 16 <= size <= left:
            raise ValueError("there is no list where one should be")
        heap, at = head + self._raw.read(size - 16), 16
        while at + 16 <= size:
            number, length = (int.from_bytes(heap[at + a : at + b], "little") for a, b in ((0, 2), (8, 16)))
            # The free space at the end counts its own head.
            step = 16 + (length + 7) // 8 * 8 if number else length
            if not 16 <= step <= size - at or (not number and at + step != size):
                raise ValueError("the lists run into each other")
            at += step


__all__ = ["HDF5File", "opened"]
