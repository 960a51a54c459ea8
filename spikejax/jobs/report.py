"""All analyses of a trained network: numbers, and what draws the figures behind them."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from ..analysis import (
    Ablation,
    Recording,
    ablate_neurons,
    ablate_synapses,
    decode,
    grouping,
    growth,
    jacobians,
    one_step_eigenvalues,
    principal_components,
    raster_similarity,
    record,
)
from ..connections import Dense
from ..losses import AbstractLoss
from ..network import Network
from ..noise import Noise
from ..parameters import resolve
from ..plotting import analysis as figures
from ..simulators import ClockDriven
from ..stimulus import as_array
from ..tasks import Trial
from ..tasks.base import Probe

LARGEST = 600
"""Largest state (numbers) of which a Jacobian is taken at every step."""
FEW_VALUES = 30
"""Most values of a property that is decoded: chance and folds make no sense with more."""
FEW_TRIALS = 60
"""Trials on which neurons and synapses are removed."""
COMPONENTS = 10
"""Principal components."""
DIRECTIONS = 100
"""Lyapunov exponents that are computed."""
EIGENVALUES = 40 * 512**3
"""Most steps whose eigenvalues are computed, times the cube of the state's size: their time goes with it."""
EXPONENTS = 10
"""Lyapunov exponents that are written down, the largest."""


PARTS = ("recording", "state space", "decoding", "similarity of rasters", "ablation", "stability", "figures")
"""What an analysis consists of, one after the other."""


class Report(NamedTuple):
    """What one or several analyses found."""

    numbers: dict[str, Any]
    """For a file of JSON."""
    figures: dict[str, Callable[[], Figure]]
    """What draws each figure, by name."""


def analyse(
    network: Network,
    probe: Probe,
    loss: AbstractLoss,
    simulator: ClockDriven,
    *,
    every: float = 10.0,
    noise: Noise | None = None,
    part: Callable[[str], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> Report:
    """Run the analyses that the probe of a task allows.

    **Arguments:** `simulator`: with a smooth gate, which linearisation and the gradient of ablation need;
    `every`: spacing of the decoders in time, ms; `noise`: what is random within a trial (linearisation is
    without); `part`: a context for each of `PARTS`, by its name.
    """
    with part("recording"):
        recording = record(network, probe.trials, simulator, noise=noise)
    found = [
        Report({"trials": len(recording.v), "sharpness": np.asarray(simulator.gate.sharpness).tolist()}, {})
    ]
    few = jax.tree.map(lambda x: x[:FEW_TRIALS], probe.trials)
    last = network.layers[-1].recurrent, network.readout.connection
    dense = all(connection is None or isinstance(connection, Dense) for connection in last)
    small = sum(x.size for x in jax.tree.leaves(resolve(network).init())) <= LARGEST
    # In the order of `PARTS`: whether it can be done, and how.
    analyses: dict[str, tuple[bool, Callable[[], Report]]] = {
        "state space": (True, lambda: _components(recording, probe)),
        "decoding": (bool(probe.groups), lambda: _decoding(recording, probe, every)),
        "similarity of rasters": (bool(probe.windows), lambda: _similarity(recording, probe)),
        "ablation": (dense, lambda: _ablation(network, few, loss, simulator, noise)),
        "stability": (small, lambda: _stability(network, probe, simulator)),
    }
    for name, (possible, run) in analyses.items():
        with part(name):
            found += [run()] if possible else []
    numbers, pages = {}, {}
    for one in found:
        numbers, pages = numbers | one.numbers, pages | one.figures
    return Report(numbers, pages)


def _components(recording: Recording, probe: Probe) -> Report:
    found = principal_components(recording.activation, COMPONENTS, recording.mask)
    pages = {}
    if len(found.explained) > 1:
        pages["trajectories"] = partial(figures.trajectories, found, recording, probe)
    return Report({"explained_variance": found.explained.tolist()}, pages)


def _decoding(recording: Recording, probe: Probe, every: float) -> Report:
    stride = max(round(every / recording.dt), 1)
    seen, time = recording.activation[:, stride - 1 :: stride], recording.time[stride - 1 :: stride]
    names = [name for name in probe.groups if len(probe.names[name]) <= FEW_VALUES]
    curves = {name: decode(seen, probe.groups[name]) for name in names}
    frozen = {}
    if len(probe.moments) > 1:
        at = max(int(np.searchsorted(time, sorted(probe.moments.values())[-2])) - 1, 0)
        frozen = {name: decode(seen, probe.groups[name], train_at=at) for name in names}
    numbers = {"time": time.tolist()} | {name: curve.tolist() for name, curve in curves.items()}
    return Report({"decoding": numbers}, {"decoding": partial(figures.decoding, curves, frozen, time, probe)})


def _similarity(recording: Recording, probe: Probe) -> Report:
    matrices = {
        window: raster_similarity(recording.release, recording.dt, begin, end)
        for window, (begin, end, _) in probe.windows.items()
    }
    scores = {
        window: {name: grouping(matrix, group) for name, group in probe.groups.items()}
        for window, matrix in matrices.items()
    }
    numbers = {
        window: {name: {"same": same, "different": other} for name, (same, other) in each.items()}
        for window, each in scores.items()
    }
    pages = {"similarity": partial(figures.similarity, matrices, scores, probe)}
    return Report({"raster_similarity": numbers}, pages)


def _ablation(
    network: Network, trials: Trial, loss: AbstractLoss, simulator: ClockDriven, noise: Noise | None
) -> Report:
    """What neurons and synapses of the last layer are needed for."""
    last = len(network.layers) - 1
    neurons = ablate_neurons(network, trials, loss, simulator, layer=last, noise=noise)
    numbers: dict[str, Any] = {
        "intact": neurons.whole,
        "neuron_loss": neurons.loss.tolist(),
        "neuron_accuracy": neurons.accuracy.tolist(),
    }
    if np.isnan(neurons.whole[1]):  # the loss reports no accuracy
        numbers |= {"intact": neurons.whole[:1], "neuron_accuracy": None}
    synapses: Ablation | None = None
    if network.layers[-1].recurrent is not None:
        synapses = ablate_synapses(network, trials, loss, simulator, layer=last, noise=noise)
        numbers |= {
            "synapses": synapses.parts.tolist(),
            "synapse_loss": synapses.loss.tolist(),
            "synapse_loss_predicted": None if synapses.predicted is None else synapses.predicted.tolist(),
        }
    return Report({"ablation": numbers}, {"ablation": partial(figures.ablation, neurons, synapses)})


def _stability(network: Network, probe: Probe, simulator: ClockDriven) -> Report:
    """Eigenvalues and Lyapunov exponents along the first trial."""
    dt = simulator.dt
    stimulus = as_array(jax.tree.map(lambda x: x[0], probe.trials.stimulus))
    steps = len(stimulus) if probe.trials.mask is None else int(np.asarray(probe.trials.mask[0]).sum())
    jacobian = np.asarray(jacobians(network, stimulus[:steps], simulator))
    spans = _spans(probe, steps * dt)
    parts = {name: jacobian[round(begin / dt) : round(end / dt)] for name, (begin, end) in spans.items()}
    exponents = {name: growth(part, dt, DIRECTIONS) for name, part in parts.items() if len(part)}
    centres = [(begin + end) / 2 for begin, end in spans.values()]
    middles = {f"at {at:.0f} ms": min(round(at / dt), steps - 1) for at in centres}
    # Eigenvalues of every step, or where those would take minutes of as many, evenly spread.
    many = min(steps, max(round(EIGENVALUES / len(jacobian[0]) ** 3), 2))
    looked_at = np.unique([*np.linspace(0, steps - 1, many).round().astype(int), *middles.values()])
    values = one_step_eigenvalues(jacobian[looked_at])
    radius = np.abs(values).max(axis=1)
    chosen = {name: values[np.searchsorted(looked_at, at)] for name, at in middles.items()}
    numbers = {
        "lyapunov": {name: each[:EXPONENTS].tolist() for name, each in exponents.items()},
        "largest_eigenvalue": {
            "median": float(np.median(radius)),
            "max": float(radius.max()),
            "steps": len(looked_at),
        },
    }
    time: Float[np.ndarray, " time"] = (looked_at + 1) * dt
    return Report(numbers, {"stability": partial(figures.stability, chosen, exponents, radius, time, probe)})


def _spans(probe: Probe, end: float) -> dict[str, tuple[float, float]]:
    """Begin and end (ms) of the stretches of a trial between its moments, else of its two halves."""
    if not probe.moments:
        return {"first half": (0.0, end / 2), "second half": (end / 2, end)}
    moments = sorted(probe.moments.items(), key=lambda item: item[1])
    ends = [*moments[1:], ("end", end)]
    return {
        f"from {name} to {after}": (at, until)
        for (name, at), (after, until) in zip(moments, ends, strict=True)
    }


__all__ = ["Report", "analyse"]
