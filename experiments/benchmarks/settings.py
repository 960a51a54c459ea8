"""What is computed: one layer of LIF neurons, recurrent or not, and a leaky readout, at several sizes; and
its input, labels and weights, which the driver draws and every contestant reads.

    v_t = beta (v_{t-1} - s_{t-1}) + W_in x_t + W_rec s_{t-1},    s_t = 1 where v_t >= 1
    o_t = beta o_{t-1} + W_out s_t,    loss = cross-entropy of mean_t o_t, mean over trials

A spike has the derivative ``1/(1 + 10 |v - 1|)^2`` (the fast sigmoid), in the reset too. Asked for is the
gradient of every weight. NumPy alone, as every environment has it.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

BETA, SLOPE, DENSITY = 0.9, 10.0, 0.02
"""Decay of a step, of membrane and readout; slope of the surrogate; probability of an input spike."""
INPUT_SCALE, RECURRENT_SCALE = 2.0, 0.5
"""Weights are ``N(0, scale^2/fan_in)``; those of the readout have the scale 1."""


class Setting(NamedTuple):
    """A size."""

    channels: tuple[int, ...]
    neurons: tuple[int, ...]
    outputs: int
    steps: int
    batch: int
    recurrent: bool = False
    kernel: int = 0
    """Extent of the kernel of a convolution without padding; 0: dense."""
    pool: int = 1
    """Extent of the windows over which spikes are averaged before the readout."""

    @property
    def read(self) -> int:
        """Inputs of the readout."""
        channels, *space = self.neurons
        return channels * int(np.prod([n // self.pool for n in space], dtype=int))


SETTINGS = {
    "ff": Setting((700,), (256,), 20, steps=100, batch=128),
    "rec": Setting((700,), (256,), 20, steps=100, batch=128, recurrent=True),
    "long": Setting((100,), (128,), 2, steps=1000, batch=32, recurrent=True),
    "huge": Setting((100,), (128,), 2, steps=10_000, batch=8, recurrent=True),
    "conv": Setting((2, 34, 34), (8, 30, 30), 10, steps=50, batch=16, kernel=5, pool=2),
}


class Problem(NamedTuple):
    """A setting with its numbers. The input is there as a recording has it: spikes in the order of trials and
    steps."""

    setting: Setting
    step: np.ndarray
    """Of every spike, ``(spikes,)``."""
    channel: np.ndarray
    """Of every spike, counted through all axes."""
    count: np.ndarray
    """Spikes of every trial, ``(batch,)``."""
    labels: np.ndarray
    """Class of every trial."""
    weights: dict[str, np.ndarray]
    """``in``: ``(*neurons, *channels)``, or ``(channels out, channels in, kernel, kernel)``; ``recurrent``:
    ``(neurons, neurons)``; ``out``: ``(outputs, read)``."""

    def dense(self) -> np.ndarray:
        """The input as an array ``(batch, steps, *channels)``, in the precision of the weights."""
        batch, steps, channels = self.setting.batch, self.setting.steps, self.setting.channels
        x = np.zeros((batch, steps, int(np.prod(channels))), self.weights["in"].dtype)
        x[np.repeat(np.arange(batch), self.count), self.step, self.channel] = 1.0
        return x.reshape(batch, steps, *channels)


def draw(setting: Setting, seed: int = 0) -> Problem:
    """The problem of a setting."""
    rng = np.random.default_rng(seed)
    shape = setting.batch, setting.steps, int(np.prod(setting.channels))
    trial, step, channel = np.nonzero(rng.random(shape, np.float32) < DENSITY)
    count = np.bincount(trial, minlength=setting.batch)
    if setting.kernel:
        of_input = (setting.neurons[0], setting.channels[0], setting.kernel, setting.kernel)
    else:
        of_input = (*setting.neurons, *setting.channels)
    shapes = {"in": of_input, "out": (setting.outputs, setting.read)}
    scales = {"in": INPUT_SCALE, "out": 1.0}
    if setting.recurrent:
        shapes["recurrent"], scales["recurrent"] = setting.neurons * 2, RECURRENT_SCALE
    weights = {
        name: (scales[name] / np.sqrt(np.prod(own[1:])) * rng.standard_normal(own)).astype(np.float32)
        for name, own in shapes.items()
    }
    labels = rng.integers(0, setting.outputs, setting.batch).astype(np.int32)
    return Problem(setting, step.astype(np.int32), channel.astype(np.int32), count, labels, weights)


def store(problem: Problem, path: Path) -> None:
    """Write the numbers of a problem to a file."""
    given = {name: getattr(problem, name) for name in ("step", "channel", "count", "labels")}
    np.savez(path, **given, **{f"weight {name}": w for name, w in problem.weights.items()})


def load(name: str, path: Path) -> Problem:
    """The problem of a setting from its file."""
    with np.load(path) as found:
        weights = {key.split()[1]: found[key] for key in found.files if key.startswith("weight ")}
        given = (found[key] for key in ("step", "channel", "count", "labels"))
        return Problem(SETTINGS[name], *given, weights)
