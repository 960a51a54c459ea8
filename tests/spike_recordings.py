"""Recordings for the tests of the tasks that read them: on disk in the layout of the Spiking Heidelberg
Digits, and the arrays of a user's own file."""

import h5py
import numpy as np

from . import places

DATA = places.DATA / "spoken_digits"


def write(
    path, recordings, labels, speakers=None, *, names=3, times=np.float16, units=np.uint16, leave_out=()
):
    """A file in the layout of the Spiking Heidelberg Digits, from pairs (times in s, units)."""
    with h5py.File(path, "w") as file:
        for k, (name, kind) in enumerate((("spikes/times", times), ("spikes/units", units))):
            data = file.create_dataset(name, (len(recordings),), dtype=h5py.vlen_dtype(kind))
            for i, recording in enumerate(recordings):
                data[i] = np.asarray(recording[k], kind)
        file["labels"] = np.asarray(labels, np.int64)
        file["extra/speaker"] = (
            np.zeros(len(labels), np.uint16) if speakers is None else np.asarray(speakers, np.uint16)
        )
        file["extra/keys"] = np.array([f"w{i}" for i in range(names)], dtype="S4")
        for name in leave_out:
            del file[name]
    return path


def own_arrays(kind: str, trials: int = 24, seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of a file of a user's own: ``"events"`` with classes, ``"samples"`` with classes, trials of
    different length, or ``"signals"`` with both."""
    rng = np.random.default_rng(seed)
    lengths = np.append(rng.integers(8, 20, trials - 1), 20)
    if kind == "events":
        count = rng.integers(0, 12, trials)
        trial = np.repeat(np.arange(trials), count)
        times = rng.uniform(0, 2 * lengths[trial])
        order = rng.permutation(len(trial))
        found = {"times": times[order], "units": rng.integers(0, 5, len(trial)), "trial": trial[order]}
        found["duration"] = 2.0 * lengths
    else:
        inside = np.arange(20) < lengths[:, None]
        found = {"stimuli": rng.normal(size=(trials, 20, 3)) * inside[..., None], "lengths": lengths}
    if kind == "signals":
        return found | {"targets": np.cumsum(found["stimuli"][..., :2], axis=1)}
    return found | {"targets": np.arange(trials) % 3}


def camera_arrays(recordings: int = 24, seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of a file of many recordings of a camera of 5 x 4 pixels, 40 ms each, three classes."""
    rng = np.random.default_rng(seed)
    count = rng.integers(3, 12, recordings)
    size = int(count.sum())
    found = {"x": rng.integers(0, 4, size), "y": rng.integers(0, 5, size), "p": rng.integers(0, 2, size)}
    found["t_us"] = np.concatenate([np.sort(rng.integers(0, 40_000, n)) for n in count])
    found |= {"offset": np.concatenate([[0], np.cumsum(count)]), "label": np.arange(recordings) % 3}
    return found
