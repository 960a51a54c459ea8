"""Regression of spike trains: answer one raster with another; a pair of them is shipped with the package."""

import functools
from importlib import resources
from pathlib import Path
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..component import option
from ..reading import FileError
from ..stimulus import steps_in
from .base import TASKS, AbstractTask, Trial
from .event_files import read_events

MOST = 1 << 26
"""Numbers in a raster, at most: 256 MB in single precision."""


@TASKS.register("spike_trains")
class SpikeTrains(AbstractTask):
    """Answer one raster of spikes with another, spike by spike: one trial, for training and to be judged by.

    By default 200 input and 200 target trains of 1.9 s, shipped with the package; the target shows a house of
    Oxford. What is learned is one answer: there is nothing to generalise to.

    **Arguments:** `dt` (ms); `input`, `output`: other files of events of neurons (``.bs1``); `duration` of
    the trial, ms (default: to the last spike of either file).

    **Raises:** `ValueError`, when trials are first asked for, for files that cannot be used
    (`spikejax.tasks.event_files.read_events`) or are too large together.

    **Reference:** data of lava-dl (BSD-3-Clause), after Zenke & Ganguli, Neural Comput. 2018.
    """

    target: ClassVar[str] = "spikes"

    dt: float = option(unit="ms", doc="time step", above=0.0, in_table=False, kw_only=False)
    input: Path | None = option(None, doc="file with the input spikes, .bs1", staged=False)
    output: Path | None = option(None, doc="file with the target spikes, .bs1", staged=False)
    duration: float | None = option(
        None, unit="ms", doc="length of the trial; default: to the last spike", above=0.0, staged=False
    )
    labels: tuple[str, ...] = eqx.field(static=True, default=(), init=False)

    @property
    def trials(self) -> int:
        return 1

    @property
    def channels(self) -> int:
        return self._pair[0].shape[1]

    @property
    def outputs(self) -> int:
        return self._pair[1].shape[1]

    @property
    def channel_label(self) -> str:
        return "input neuron"

    @property
    def _pair(self) -> tuple[Float[np.ndarray, "time channels"], Float[np.ndarray, "time out"]]:
        data = Path(str(resources.files("spikejax.tasks") / "data"))
        paths = self.input or data / "oxford_input.bs1", self.output or data / "oxford_output.bs1"
        changed = tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)
        return _rasters(paths, changed, self.dt, self.duration)

    def batch(self, key, step, size):
        del key, step
        return self._trials(size)

    def split(self, name):
        del name
        return self._trials(1)

    def _trials(self, size: int) -> Trial:
        dtype = jnp.result_type(float)
        several = lambda x: jnp.broadcast_to(jnp.asarray(x, dtype), (size, *x.shape))
        given, wanted = self._pair
        return Trial(several(given), several(wanted))


@functools.lru_cache(maxsize=4)
def _rasters(
    paths: tuple[Path, Path], changed: tuple[int, ...], dt: float, duration: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Spikes a step of both files, read once, and again when a file has changed."""
    del changed  # part of what is remembered
    files = [read_events(path) for path in paths]
    # Times are in us.
    end = max(float(events.t[-1] + 1) for events in files) * 1e-3 if duration is None else duration
    steps = int(np.ceil(steps_in(end, dt, "`duration`") * (1 - 1e-9)))
    found = []
    for path, events in zip(paths, files, strict=True):
        neurons = int(events.x.max()) + 1
        if steps * neurons > MOST:
            raise FileError(
                f"{path}: {steps} steps of {dt:g} ms and {neurons} neurons are more than a trial can have: "
                "use a longer dt or a shorter `duration`"
            )
        step = (events.t * 1e-3 / dt).astype(int)
        raster = np.zeros((steps, neurons), np.float32)
        np.add.at(raster, (step[step < steps], events.x[step < steps]), 1)
        found.append(raster)
    return found[0], found[1]


__all__ = ["SpikeTrains"]
