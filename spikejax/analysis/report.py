"""All analyses of a finished run: figures, and the numbers behind them."""

from pathlib import Path
from typing import Any

import jax
import matplotlib as mpl
import numpy as np

from ..build import Run
from ..connections import Dense
from ..network import Network
from ..noise import Noise
from ..parameters import resolve
from ..plotting import STYLE
from . import figures
from .ablation import ablate_neurons, ablate_synapses
from .decoding import decode
from .linearisation import growth, jacobians, one_step_eigenvalues
from .record import record
from .spikes import grouping, raster_similarity
from .statespace import principal_components

LARGEST = 600
"""Largest state (numbers) of which a Jacobian is taken at every step."""


def analyse(
    run: Run,
    network: Network,
    dt: float,
    target: Path,
    *,
    size: int = 240,
    every: float = 10.0,
    noise: Noise | None = None,
) -> dict[str, Any]:
    """Run the analyses that the task's probe allows, write their figures into `target` and return their
    numbers.

    **Arguments:** `dt` in ms; `size`: trials of the probe; `every`: spacing of the decoders in time, ms;
    `noise`: what is random within a trial (linearisation is without).
    """
    probe = run.task.probe(dt, size)
    # Linearisation and ablation's gradient need the smooth gate; the rest uses the same, so that all figures
    # show one network.
    gate = run.final_gate
    recording = record(network, probe.trials, gate=gate, dt=dt, noise=noise)
    pages, summary = {}, {"trials": len(recording.v), "sharpness": np.asarray(gate.sharpness).tolist()}

    components = principal_components(recording.activation, 10, recording.mask)
    if len(components.explained) > 1:
        pages["trajectories"] = lambda: figures.trajectories(components, recording, probe)
    summary["explained_variance"] = components.explained.tolist()

    if probe.groups:
        stride = max(round(every / dt), 1)
        seen = recording.activation[:, stride - 1 :: stride]
        time = recording.time[stride - 1 :: stride]
        # Only properties with a handful of values: chance and folds make no sense with more.
        names = [n for n in probe.groups if len(probe.names[n]) <= 30]
        curves = {n: decode(seen, probe.groups[n]) for n in names}
        frozen = {}
        if len(probe.moments) > 1:
            at = max(int(np.searchsorted(time, sorted(probe.moments.values())[-2])) - 1, 0)
            frozen = {n: decode(seen, probe.groups[n], train_at=at) for n in names}
        pages["decoding"] = lambda: figures.decoding(curves, frozen, time, probe)
        summary["decoding"] = {"time": time.tolist(), **{n: c.tolist() for n, c in curves.items()}}

    if probe.windows:
        matrices = {
            w: raster_similarity(recording.release, dt, a, b) for w, (a, b, _) in probe.windows.items()
        }
        scores = {w: {n: grouping(m, g) for n, g in probe.groups.items()} for w, m in matrices.items()}
        pages["similarity"] = lambda: figures.similarity(matrices, scores, probe)
        summary["raster_similarity"] = {
            w: {n: {"same": a, "different": b} for n, (a, b) in s.items()} for w, s in scores.items()
        }

    few = jax.tree.map(lambda x: x[: min(size, 60)], probe.trials)
    dense = all(
        isinstance(c, Dense)
        for c in (network.layers[-1].recurrent, network.readout.connection)
        if c is not None
    )
    if dense:
        last = len(network.layers) - 1
        neurons = ablate_neurons(network, few, run.loss, gate=gate, dt=dt, layer=last, noise=noise)
        synapses = None
        if network.layers[-1].recurrent is not None:
            synapses = ablate_synapses(network, few, run.loss, gate=gate, dt=dt, layer=last, noise=noise)
        pages["ablation"] = lambda: figures.ablation(neurons, synapses)
        summary["ablation"] = {
            "intact": neurons.whole,
            "neuron_loss": neurons.loss.tolist(),
            "neuron_accuracy": neurons.accuracy.tolist(),
        }
        if np.isnan(neurons.whole[1]):  # the loss reports no accuracy
            summary["ablation"] |= {"intact": neurons.whole[:1], "neuron_accuracy": None}
        if synapses is not None:
            summary["ablation"] |= {
                "synapses": synapses.parts.tolist(),
                "synapse_loss": synapses.loss.tolist(),
                "synapse_loss_predicted": synapses.predicted.tolist(),
            }

    if sum(x.size for x in jax.tree.leaves(resolve(network).init())) <= LARGEST:
        pages["stability"] = _stability(network, probe, gate, dt, summary)

    target.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for name, draw in pages.items():
            draw().savefig(target / f"{name}.png")
    return summary


def _stability(network, probe, gate, dt, summary):
    stimulus = probe.trials.stimulus[0]
    steps = len(stimulus) if probe.trials.mask is None else int(np.asarray(probe.trials.mask[0]).sum())
    jacobian = np.asarray(jacobians(network, stimulus[:steps], gate, dt))
    time = (np.arange(steps) + 1) * dt
    values = one_step_eigenvalues(jacobian)
    radius = np.abs(values).max(axis=1)
    if probe.moments:
        edges = dict(sorted(probe.moments.items(), key=lambda item: item[1]))
        names, at = list(edges), [*edges.values(), steps * dt]
        spans = {
            f"from {n} to {names[i + 1] if i + 1 < len(names) else 'end'}": (at[i], at[i + 1])
            for i, n in enumerate(names)
        }
    else:
        spans = {"first half": (0.0, steps * dt / 2), "second half": (steps * dt / 2, steps * dt)}
    parts = {n: jacobian[round(a / dt) : round(b / dt)] for n, (a, b) in spans.items()}
    exponents = {n: growth(j, dt) for n, j in parts.items() if len(j)}
    chosen = {
        f"at {(a + b) / 2:.0f} ms": values[min(round((a + b) / 2 / dt), steps - 1)] for a, b in spans.values()
    }
    summary["lyapunov"] = {n: e[:10].tolist() for n, e in exponents.items()}
    summary["largest_eigenvalue"] = {"median": float(np.median(radius)), "max": float(radius.max())}
    return lambda: figures.stability(chosen, exponents, radius, time, probe)


__all__ = ["analyse"]
