"""Recordings of real neurons: current clamp and sound-driven spikes, read strictly and brought to the model's
time step by a stated method.

Two layouts of ``.npz`` files:

```
current clamp   recordings        names
                dt_s              sampling step, s
                and of each recording R
                R/v_0p01mV        voltage in 0.01 mV, int16 (sweeps, samples)
                R/i_pA            current (sweeps, samples)
                R/sweep           number of each sweep (sweeps)
                R/spike_count     spikes of each sweep (sweeps)
                R/spike_sample    sample of each spike's peak, sweep after sweep
sound           stimulus          amplitude (trials, samples)
                dt                sampling step, s
                spike_times_1, spike_times_2, ...   s, one array for each trial
```
"""

from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from ..reading import Arrays, FileError, arrays_of, whole_numbers
from ..stimulus import steps_in

__all__ = [
    "CurrentClamp",
    "Resample",
    "SoundSpikes",
    "Stepped",
    "bin_spikes",
    "read_current_clamp",
    "read_sound_spikes",
    "recording_names",
    "samples_per_step",
    "step_current_clamp",
]

Resample: TypeAlias = Literal["refuse", "average"]
"""What to do if the time step is not the sampling step: raise an error, or average."""
ADVICE = "set data.file to your recordings"
SHORTEST, LONGEST = 1e-9, 1e3
"""Sampling steps that are possible, s."""


class CurrentClamp(NamedTuple):
    """One recording: current steps into a neuron and its membrane potential."""

    name: str
    sample: float
    """Sampling step, ms."""
    current: Float[np.ndarray, "sweeps samples"]
    """Command current, pA."""
    voltage: Float[np.ndarray, "sweeps samples"]
    """Membrane potential, mV."""
    sweeps: Int[np.ndarray, " sweeps"]
    """Number of each sweep in the recording."""
    spikes: tuple[Float[np.ndarray, " _"], ...]
    """Times of the spikes' peaks in each sweep, ms."""


class SoundSpikes(NamedTuple):
    """Trials of a stimulus and the spikes it drove."""

    sample: float
    """Sampling step of the stimulus, ms."""
    stimulus: Float[np.ndarray, "trials samples"]
    """Amplitude of the sound, in the file's units."""
    spikes: tuple[Float[np.ndarray, " _"], ...]
    """Spike times of each trial, ms."""

    @property
    def duration(self) -> float:
        """Duration of a trial, ms."""
        return self.stimulus.shape[1] * self.sample


class Stepped(NamedTuple):
    """A current-clamp recording on the model's grid: step k is the time from ``k dt`` to ``(k+1) dt``."""

    dt: float
    """Time step, ms."""
    current: Float[np.ndarray, "sweeps steps"]
    """Mean over the step, pA."""
    voltage: Float[np.ndarray, "sweeps steps"]
    """At the end of the step, mV."""
    start: Float[np.ndarray, " sweeps"]
    """Voltage at time 0, mV."""
    counts: Float[np.ndarray, "sweeps steps"]
    """Spikes in the step."""
    sweeps: Int[np.ndarray, " sweeps"]
    """Number of each sweep in the recording."""


def read_current_clamp(path: Path, name: str) -> CurrentClamp:
    """One recording of a file in the current-clamp layout.

    **Raises:** `ValueError` in one line naming file and array, for a file that cannot be read, an unknown
    recording, an array that is missing or of the wrong shape, values that are not finite, spikes outside
    their sweep or not in order, and counts that do not add up.
    """
    with arrays_of(path, ADVICE) as file:
        names = file.text("recordings")
        if name not in names:
            raise FileError(f"{path} has no recording {name!r}: choose from {', '.join(names)}")
        sample = _sampling(file, "dt_s")
        voltage = 0.01 * file.numbers(f"{name}/v_0p01mV", 2).astype(np.float64)
        current = file.numbers(f"{name}/i_pA", 2).astype(np.float64)
        if current.shape != voltage.shape or not voltage.size:
            raise FileError(
                f"{path}: {name}/i_pA has shape {current.shape}, {name}/v_0p01mV {voltage.shape}; "
                "expected the same, not empty"
            )
        numbers, counts, peaks = (
            whole_numbers(f"{path}: {name}/{key}", file.get(f"{name}/{key}", 1))
            for key in ("sweep", "spike_count", "spike_sample")
        )
    sweeps, samples = voltage.shape
    for key, array in (("sweep", numbers), ("spike_count", counts)):
        if len(array) != sweeps:
            raise FileError(f"{path}: {name}/{key} has {len(array)} entries for {sweeps} sweeps")
    if len(set(numbers.tolist())) != sweeps:
        raise FileError(f"{path}: {name}/sweep names a sweep twice")
    if (counts < 0).any() or counts.sum() != len(peaks):
        raise FileError(
            f"{path}: {name}/spike_count adds up to {counts.sum()}, but {name}/spike_sample has {len(peaks)} "
            "entries"
        )
    parts = np.split(peaks, np.cumsum(counts)[:-1])
    for number, part in zip(numbers, parts, strict=True):
        if len(part) and (part.min() < 0 or part.max() >= samples):
            raise FileError(
                f"{path}: {name}/spike_sample of sweep {number} reaches {part.max()}, outside the sweep's "
                f"{samples} samples"
            )
        if (np.diff(part) <= 0).any():
            raise FileError(f"{path}: {name}/spike_sample of sweep {number} is not in order of time")
    return CurrentClamp(name, sample, current, voltage, numbers, tuple(part * sample for part in parts))


def recording_names(path: Path) -> tuple[str, ...]:
    """The recordings in a file of the current-clamp layout.

    **Raises:** `ValueError` as `read_current_clamp`.
    """
    with arrays_of(path, ADVICE) as file:
        return file.text("recordings")


def read_sound_spikes(path: Path) -> SoundSpikes:
    """A file in the sound layout.

    **Raises:** `ValueError` in one line naming file and array, for a file that cannot be read, an array that
    is missing or of the wrong shape, values that are not finite, a stimulus below 0, and spike times that are
    out of range or not in order.
    """
    with arrays_of(path, ADVICE) as file:
        stimulus = file.numbers("stimulus", 2).astype(np.float64)
        sample = _sampling(file, "dt")
        if not stimulus.size:
            raise FileError(f"{path}: stimulus is empty")
        if stimulus.min() < 0:
            raise FileError(
                f"{path}: stimulus is an amplitude and cannot be negative; its smallest value is "
                f"{stimulus.min():g}"
            )
        spikes = tuple(
            1e3 * file.numbers(f"spike_times_{i + 1}", 1).astype(np.float64) for i in range(len(stimulus))
        )
    end = stimulus.shape[1] * sample
    for i, times in enumerate(spikes):
        if len(times) and (times.min() < 0 or times.max() >= end):
            at = times.min() if times.min() < 0 else times.max()
            raise FileError(
                f"{path}: spike_times_{i + 1} holds {at / 1e3:g} s, outside the stimulus of {end / 1e3:g} s"
            )
        if (np.diff(times) <= 0).any():
            raise FileError(f"{path}: spike_times_{i + 1} is not in order of time")
    return SoundSpikes(sample, stimulus, spikes)


def samples_per_step(sample: float, dt: float, resample: Resample, what: str) -> int:
    """How many samples of `sample` ms a step of `dt` ms holds.

    **Raises:** `ValueError` if dt is not a whole multiple of the sampling step, or is another than it and
    `resample` is ``"refuse"``.
    """
    ratio = steps_in(dt, sample, f"dt, of {what},")
    whole = round(ratio)
    if whole < 1 or abs(ratio - whole) > 1e-6 * whole:
        raise ValueError(
            f"dt of {dt:g} ms is not a whole multiple of the sampling step of {what}, {sample:g} ms"
        )
    if whole > 1 and resample == "refuse":
        raise ValueError(
            f"dt of {dt:g} ms is not the sampling step of {what}, {sample:g} ms: set dt to it, or "
            'data.resample to "average"'
        )
    return whole


def step_current_clamp(recording: CurrentClamp, dt: float, resample: Resample) -> Stepped:
    """The recording on a grid of `dt` ms: the current averaged over every step, the voltage at the step's
    end, the spikes counted.

    With m samples a step, step k averages the current of samples ``k m`` to ``(k+1) m - 1`` (a box; each
    sample is held until the next) and takes the voltage of sample ``(k+1) m``; a spike belongs to the step
    that contains it or ends at it. Samples after the last whole step are left out.

    **Raises:** as `samples_per_step`; for a sweep shorter than a step.
    """
    m = samples_per_step(recording.sample, dt, resample, f"recording {recording.name}")
    steps = (recording.current.shape[1] - 1) // m
    if steps < 1:
        raise ValueError(f"dt of {dt:g} ms is longer than the sweeps of recording {recording.name}")
    current = recording.current[:, : steps * m].reshape(-1, steps, m).mean(axis=2)
    at = [np.maximum(np.ceil(times / dt - 1e-6).astype(int) - 1, 0) for times in recording.spikes]
    counts = np.stack([np.bincount(k[k < steps], minlength=steps) for k in at]).astype(float)
    voltage = recording.voltage[:, m : steps * m + 1 : m]
    return Stepped(dt, current, voltage, recording.voltage[:, 0], counts, recording.sweeps)


def bin_spikes(
    spikes: tuple[Float[np.ndarray, " _"], ...], bins: int, width: float
) -> Float[np.ndarray, "trials bins"]:
    """Spikes counted in bins of `width` ms; a spike at t is in bin ``floor(t/width)``.

    **Arguments:** `spikes`: spike times of each trial, ms; those after the last of the `bins` are left out.
    """
    # Times are multiples of the sampling step that rounding may have moved just below a bin's edge.
    at = [np.floor(times / width + 1e-6).astype(int) for times in spikes]
    return np.stack([np.bincount(k[k < bins], minlength=bins) for k in at]).astype(float)


def _sampling(file: Arrays, key: str) -> float:
    """A sampling step, ms."""
    seconds = float(file.numbers(key, 0))
    if not SHORTEST <= seconds <= LONGEST:
        raise FileError(
            f"{file.path}: {key} is {seconds:g} s: a sampling step is above 0, from {SHORTEST:g} to "
            f"{LONGEST:g} s"
        )
    return 1e3 * seconds
