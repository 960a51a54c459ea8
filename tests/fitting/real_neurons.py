"""Excerpts of recordings, and one made up."""

import numpy as np

from spikejax.fitting.recordings import CurrentClamp

from ..places import DATA

CLAMP, SOUND = DATA / "fitting" / "patchclamp.npz", DATA / "fitting" / "grasshopper.npz"
R = "18713001"


def ramp(steps=41, sample=0.1):
    v = np.arange(steps)[None] * 1.0
    return CurrentClamp("ramp", sample, 10 * v, v, np.array([0]), (np.array([0.0, 0.5, 0.6, 1.0, 3.9]),))


def changed(tmp_path, source, leave_out=(), **arrays):
    """A copy of a file of recordings with other arrays."""
    with np.load(source) as file:
        content = {name: file[name] for name in file.files if name not in leave_out}
    np.savez(tmp_path / "changed.npz", **(content | arrays))
    return tmp_path / "changed.npz"
