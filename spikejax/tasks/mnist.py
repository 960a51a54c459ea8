"""MNIST, and what is published like it: small images as spike times."""

import functools
from pathlib import Path
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from ..component import option
from ..encoders import latency_times
from ..reading import FileError, arrays_of, class_numbers
from .base import TASKS
from .encoded import AbstractEncoded, Encodable
from .idx import read_idx
from .options import drop_option, fraction_option, seed_option, spikes_form_option
from .splits import split_trials

CLASSES = 10
BRIGHTEST = 255


def load(path: Path) -> tuple[UInt8[np.ndarray, "n height width"], Int[np.ndarray, " n"]]:
    """Images and their classes: from a file of images in the IDX format (plain or .gz) with its classes in
    the file beside it, or from an .npz file with x and y.

    The file of the classes of ``train-images-idx3-ubyte.gz`` is ``train-labels-idx1-ubyte.gz``, or the same
    without ``.gz`` or with it.

    **Raises:** `FileError` in one line that names the file, for one that cannot be used.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(4)
    except OSError as error:
        raise FileError(
            f"{path} cannot be read ({error.strerror}): give the images of MNIST, such as "
            "train-images-idx3-ubyte.gz, or an .npz file with x and y"
        ) from None
    if start.startswith((b"PK", np.lib.format.MAGIC_PREFIX[:4])):
        with arrays_of(path) as arrays:
            x, y = arrays.numbers("x", 3), arrays.numbers("y", 1)
        if x.size and (x.min() < 0 or x.max() > BRIGHTEST or (x != np.floor(x)).any()):
            raise FileError(
                f"{path}: x goes from {x.min():g} to {x.max():g}, but pixels are whole numbers from 0 to "
                f"{BRIGHTEST}"
            )
        x, named = x.astype(np.uint8), f"{path}: y"
    else:
        x, labels = read_idx(path, 3, "images"), _beside(path)
        y, named = read_idx(labels, 1, "classes"), f"{labels}"
    if len(x) != len(y) or not x.size:
        raise FileError(
            f"{path} has {len(x)} images of {x.shape[1]} x {x.shape[2]} and {len(y)} classes: give one class "
            "for each, and some"
        )
    return x, class_numbers(named, y, CLASSES)


def _beside(images: Path) -> Path:
    """The file of the classes of a file of images."""
    name = images.name.replace("images", "labels").replace("idx3", "idx1")
    if name == images.name:
        raise FileError(
            f"{images}: the file of its classes is not known: name it like train-images-idx3-ubyte, and the "
            "other train-labels-idx1-ubyte"
        )
    found = images.with_name(name)
    other = found.with_name(name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz")
    return other if other.exists() and not found.exists() else found


@TASKS.register("mnist")
class MNIST(AbstractEncoded):
    """Images of handwritten digits as spike times, from files that are not part of the package.

    The official files (IDX, plain or compressed), any other set in their layout with ten classes, or .npz
    files with x ``(n, height, width)`` and y ``(n,)``. A pixel is a channel and spikes once, or not at all:
    with the code "binary" at `early` if it is brighter than `threshold`; with "latency" the earlier the
    brighter, from `early` to `late`.

    **Arguments:** `train`: file with images, see `load`; `test`: another one, all of whose images are the
    test split; `validation`, `test_fraction`: fractions held out of every class, the latter where there is no
    `test`; `code`; `threshold`: 0 to 1, the brightest; `early`, `late` and `duration` of a trial, ms; `drop`:
    probability that a pixel is dark in training; `form`: whether trials are spike times or arrays, with a row
    for every step of `dt` (ms): one step as long as the trial makes one event of a binary image; `seed`: of
    the validation split.

    **Raises:** `ValueError` for times that are not in order; when trials are first asked for, for files that
    cannot be used (`load`) or do not belong together.

    **Reference:** LeCun, Bottou, Bengio & Haffner 1998, doi:10.1109/5.726791.
    """

    labels: ClassVar[tuple[str, ...]] = tuple(map(str, range(CLASSES)))

    dt: float = option(1.0, unit="ms", doc="time step", above=0.0, in_table=False)
    train: Path = option(
        doc="images, such as train-images-idx3-ubyte.gz (the classes are beside it), or .npz with x and y",
        staged=False,
    )
    test: Path | None = option(
        None, doc="another file, whose images are the test split; default: part of the first", staged=False
    )
    validation: float = fraction_option(0.1, "fraction of every class of the training images, held out")
    test_fraction: float = fraction_option(
        0.2, "fraction of every class that is the test split, without a test file"
    )
    code: str = option(
        "binary",
        doc="binary: all pixels above the threshold spike at once; latency: the brighter the earlier",
        choices=("binary", "latency"),
    )
    threshold: float = option(0.5, doc="brightness that a pixel spikes above", at_least=0.0, below=1.0)
    early: float = option(0.0, unit="ms", doc="time of the first spikes", at_least=0.0)
    late: float = option(10.0, unit="ms", doc="latency: time of the faintest pixel", above=0.0)
    duration: float = option(40.0, unit="ms", doc="length of a trial", above=0.0)
    drop: float = drop_option("a pixel")
    form: str = spikes_form_option()
    seed: int = seed_option()

    def __check_init__(self):
        super().__check_init__()
        if self.late <= self.early and self.code == "latency":
            raise ValueError(f"`late` is {self.late:g} ms, but must come after `early`, {self.early:g} ms")

    @property
    def last(self):
        return self.late if self.code == "latency" else self.early

    @property
    def channels(self) -> tuple[int, ...]:
        return (1, *self._data.numbers["train"].shape[1:])

    @property
    def channel_label(self) -> str:
        return "pixel"

    @property
    def _data(self) -> Encodable:
        paths = (self.train,) if self.test is None else (self.train, self.test)
        changed = tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)
        return _read(paths, changed, self.validation, self.test_fraction, self.seed, self.threshold)

    def times(self, numbers):
        x = numbers.reshape(len(numbers), -1)
        times = jnp.full(x.shape, self.early, x.dtype)
        if self.code == "latency":
            span = self.late - self.early
            times = times + latency_times(x / BRIGHTEST, duration=span, threshold=self.threshold)
        # As it is counted in `_read`, in whole numbers.
        return jnp.where(x > self.threshold * BRIGHTEST, times, jnp.inf)


@functools.lru_cache(maxsize=4)
def _read(
    paths: tuple[Path, ...],
    changed: tuple[int, ...],
    validation: float,
    test: float,
    seed: int,
    threshold: float,
) -> Encodable:
    """The images of one or two files by split: read once, and again when a file has changed."""
    del changed  # part of what is remembered
    found = [load(path) for path in paths]
    sizes = {x.shape[1:] for x, _ in found}
    if len(sizes) > 1:
        raise FileError(f"{paths[0]} and {paths[1]} have images of different size")
    x, y = (np.concatenate(parts) for parts in zip(*found, strict=True))
    count: dict[str, Any] = {"validation": validation, "test": test, "seed": seed}
    given = None if len(found) == 1 else np.repeat(["train", "test"], [len(y) for _, y in found])
    try:
        parts = split_trials(len(y), classes=y, names=MNIST.labels, split=given, **count)
    except ValueError as error:
        raise FileError(f"{' and '.join(map(str, paths))}: {error}") from error
    bright = (x > threshold * BRIGHTEST).sum((1, 2))
    return Encodable(
        {name: jnp.asarray(x[index]) for name, index in parts.items()},
        {name: jnp.asarray(y[index]) for name, index in parts.items()},
        max(int(bright.max()), 1),
    )


__all__ = ["CLASSES", "MNIST", "load"]
