"""Where many recordings of an event camera are: a folder of folders, one file of many, a data set of
tonic's."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..reading import FileError, arrays_of, whole_numbers, words
from .event_files import NAMES, READERS, CameraEvents, checked, read_events

COLLECTION = ("offset", "label", "id", "names", "groups", "split")
"""Arrays that a file of many recordings may have beside those of its events."""


class Recording(NamedTuple):
    """One recording, what it is called in an error, and its class."""

    where: str
    events: CameraEvents
    label: Any


def folder_recordings(folder: Path, sensor: tuple[int, int], order: str) -> Iterator[Recording]:
    """The recordings of a folder with a sub-folder for every class.

    **Raises:** `FileError` for a folder that is none, has no sub-folders, or a file of an unknown kind.
    """
    classes = [] if not folder.is_dir() else sorted(p for p in folder.iterdir() if p.is_dir() and _shown(p))
    if not classes:
        raise FileError(
            f"{folder} has no sub-folder for every class: set task.train to a folder that has, or to an .npz"
        )
    for one in classes:
        files = sorted(p for p in one.iterdir() if _shown(p))
        if not files:
            raise FileError(f"{one} has no recordings: leave the class out")
        for file in files:
            if file.suffix.lower() not in READERS:
                raise FileError(f"{file} is no recording: known endings are {', '.join(READERS)}; remove it")
            yield Recording(str(file), read_events(file, sensor, order=order), one.name)


def _shown(path: Path) -> bool:
    return not path.name.startswith(".")


class Collection(NamedTuple):
    """Many recordings from one file."""

    recordings: list[CameraEvents]
    labels: Sequence[Any] | None
    """Class of each; None if the file does not say."""
    groups: np.ndarray | None
    split: np.ndarray | None


def read_collection(path: Path) -> Collection:
    """The recordings of an ``.npz`` file.

    Its arrays are ``x``, ``y``, ``p`` and ``t_us`` of all events, recording i from ``offset[i]`` to
    ``offset[i + 1]``, with ``label``, a number or word for each, and, optional, ``names`` of the classes,
    ``groups``, ``split`` and ``id``; or the four of every recording apart, as ``1/x``, ``1/y``, ...

    **Raises:** `FileError` in one line that names file and array.
    """
    path = Path(path)
    with arrays_of(path, "set task.train to recordings") as file:
        apart = sorted({name.rpartition("/")[0] for name in file.names if "/" in name}, key=_natural)
        if apart and not any(name in file for name in NAMES):
            found = []
            for k in apart:
                given = {name: file.numbers(f"{k}/{name}", 1) for name in NAMES}
                found.append(checked(f"{path}: {k}", given))
            return Collection(found, None, None, None)
        for name in file.names:
            if name not in (*NAMES, *COLLECTION):
                known = ", ".join((*NAMES, *COLLECTION))
                raise FileError(f"{path} has an array {name!r}: leave it out; known are {known}")
        events = checked(path, {name: file.numbers(name, 1) for name in NAMES})
        offset = whole_numbers(f"{path}: offset", file.get("offset", 1))
        count = len(events.t)
        if len(offset) < 2 or offset[0] != 0 or offset[-1] != count or (np.diff(offset) < 0).any():
            raise FileError(f"{path}: offset must rise from 0 to the number of events, {count}")
        size = len(offset) - 1
        columns = {name: _column(file, name) for name in ("label", "groups", "split") if name in file}
        for name, column in columns.items():
            if len(column) != size:
                raise FileError(f"{path}: {name} has {len(column)} entries for {size} recordings (offset)")
        labels: Sequence[Any] | None = columns["label"].tolist() if "label" in columns else None
        if labels is not None and "names" in file:
            names = file.text("names")
            if max(labels) >= len(names) or min(labels) < 0:
                raise FileError(f"{path}: label has class {max(labels)}, but there are {len(names)} names")
            labels = [names[k] for k in labels]
    parts = [CameraEvents(*(x[a:b] for x in events)) for a, b in itertools.pairwise(offset)]
    return Collection(parts, labels, columns.get("groups"), columns.get("split"))


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (1 << 62, name)


def _column(file: Any, name: str) -> np.ndarray:
    """Whole numbers or words."""
    found = file.get(name, 1)
    if found.dtype.kind in "USO":
        return np.array(words(f"{file.path}: {name}", found))
    return whole_numbers(f"{file.path}: {name}", found)


def dataset_recordings(name: str, dataset: Iterable[tuple[Any, Any]]) -> Iterator[Recording]:
    # By number: what has a length is asked for no more, as a data set of tonic's would go on to an error.
    sized: Any = dataset
    pairs = (sized[i] for i in range(len(sized))) if hasattr(sized, "__len__") else dataset
    for i, (events, label) in enumerate(pairs):
        where = f"`{name}`: recording {i}"
        fields = getattr(getattr(events, "dtype", None), "names", None) or ()
        missing = [field for field in ("t", "x", "p") if field not in fields]
        if missing:
            raise ValueError(f"{where} has no field {missing[0]}: give structured arrays with x, y, t and p")
        y = events["y"] if "y" in fields else np.zeros(len(events), np.int64)
        arrays = {"x": events["x"], "y": y, "p": events["p"], "t_us": events["t"]}
        yield Recording(where, checked(where, arrays), label)


__all__ = ["Collection", "Recording", "dataset_recordings", "folder_recordings", "read_collection"]
