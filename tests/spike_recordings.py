"""Spike recordings on disk, in the layout of the Spiking Heidelberg Digits, for the tests of the tasks that
read them."""

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
