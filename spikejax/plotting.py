"""Figures of a run. Every axis says what it shows and in which unit."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from .build import Run
from .gates import Gate
from .metrics import confusion, rates
from .network import Network
from .noise import Noise
from .parameters import resolve
from .simulate import Solution
from .simulators import ClockDriven
from .tasks.base import first_trials
from .training import make_evaluate, run_trial
from .training.log import read_metrics

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 130,
    "lines.linewidth": 1.1,
}
SHOWN_NEURONS = 4


def run_figures(
    folder: Path, target: Path, run: Run, network: Network, dt: float, noise: Noise | None = None
) -> list[Path]:
    """All figures of a finished run, written as PNG into `target`; returns their paths."""
    test = run.task.parts("test")
    trial = jax.tree.map(lambda x: x[0], first_trials(test, 1))
    gate = run.final_gate

    @eqx.filter_jit
    def simulated(network, trial, simulator):
        return run_trial(network, trial, simulator, save=("release", "v", "activation"))

    simulator = ClockDriven(gate, dt)
    solution = simulated(network, trial, simulator)
    result = make_evaluate(run.loss, noise=noise)(network, test, simulator)
    name = f"test trial 0 ({run.task.labels[int(trial.label)]})" if run.task.labels else "test trial 0"
    with mpl.rc_context(STYLE):
        metrics = read_metrics(folder / "metrics.jsonl")
        figures = {"training": training(metrics)} if metrics else {}
        figures |= {
            "raster": raster(np.asarray(trial.stimulus), solution, dt, name),
            "voltages": voltages(solution, network, gate, dt, name),
            "activations": activations(solution, network, dt, name),
            "rates": firing_rates(result.counts, result.durations),
        }
        if result.labels is not None:
            table = confusion(np.asarray(result.classes), np.asarray(result.labels), len(run.task.labels))
            figures["confusion"] = confusion_matrix(table, run.task.labels)
        paths = []
        for name, figure in figures.items():
            paths.append(target / f"{name}.png")
            figure.savefig(paths[-1])
    return paths


def _figure(rows: int, height: float, width: float = 7.0, **kwargs):
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False, **kwargs)[:, 0]
    return figure, axes


def training(metrics: list[dict]) -> Figure:
    """Loss and held-out score, gradient norm, and the gate's sharpness over the updates."""
    figure, (top, middle, bottom) = _figure(3, 6.0, sharex=True)
    step = [m["step"] for m in metrics]

    def series(name):
        return np.array([np.nan if m.get(name) is None else m[name] for m in metrics], float)

    top.plot(step, series("loss"), color="0.6", lw=0.7, label="training batch")
    held = [m for m in metrics if "held_out/loss" in m]
    top.plot(
        [m["step"] for m in held],
        [m["held_out/loss"] for m in held],
        "o-",
        ms=3,
        color="C0",
        label="held-out trials",
    )
    top.set(ylabel="loss", yscale="log")
    top.legend(frameon=False, loc="upper right")
    if held and "held_out/accuracy" in held[0]:
        twin = top.twinx()
        twin.spines["right"].set_visible(True)
        twin.plot([m["step"] for m in held], [m["held_out/accuracy"] for m in held], "s--", ms=3, color="C3")
        twin.set_ylim(0, 1)
        twin.set_ylabel("held-out accuracy", color="C3")
    middle.plot(step, series("gradient"), lw=0.7, color="0.3", label="all")
    for i, name in enumerate(sorted(n for n in metrics[-1] if n.startswith("gradient/"))):
        middle.plot(
            step, series(name), lw=0.6, color=f"C{i}", alpha=0.7, label=name.removeprefix("gradient/")
        )
    middle.set(ylabel="gradient norm", yscale="log")
    middle.legend(frameon=False, fontsize=6, ncols=3)
    sharpness = np.array([m["sharpness"] for m in metrics], float).reshape(len(metrics), -1)
    for i, one in enumerate(sharpness.T):
        bottom.plot(step, one, color=f"C{2 + i}", label=f"layer {i}")
    if sharpness.shape[1] > 1:
        bottom.legend(frameon=False, fontsize=6)
    bottom.set(ylabel="gate sharpness a", xlabel="update")
    return figure


def _time(steps: int, dt: float) -> np.ndarray:
    return (np.arange(steps) + 1) * dt


def raster(stimulus: np.ndarray, solution: Solution, dt: float, name: str) -> Figure:
    """Input spikes, and the charge released by every neuron: one dot per step, as dark as the charge is
    large."""
    figure, axes = _figure(1 + len(solution.layers), 2.0 + 2.6 * len(solution.layers), sharex=True)
    t, channel = np.nonzero(stimulus.reshape(len(stimulus), -1))
    axes[0].scatter((t + 1) * dt, channel, s=3, marker="|", color="k")
    axes[0].set(ylabel="input channel", title=f"Input spikes and released charge, {name}")
    for i, (ax, record) in enumerate(zip(axes[1:], solution.layers, strict=True)):
        release = np.asarray(record.release).reshape(len(stimulus), -1)
        shown = np.clip(release, -1, 1)
        t, n = np.nonzero(np.abs(shown) > 0.02)
        dots = ax.scatter((t + 1) * dt, n, s=5, marker="|", c=shown[t, n], cmap="RdGy", vmin=-1, vmax=1)
        ax.set(ylabel=f"neuron (layer {i})")
        figure.colorbar(dots, ax=ax, label="charge released\nin the step", pad=0.01)
    axes[-1].set(xlabel="time (ms)")
    return figure


def voltages(solution: Solution, network: Network, gate: Gate, dt: float, name: str) -> Figure:
    """Membrane potentials of the busiest neurons of each layer, with the active zone shaded."""
    figure, axes = _figure(
        SHOWN_NEURONS * len(solution.layers), 1.3 * SHOWN_NEURONS * len(solution.layers) + 0.6, sharex=True
    )
    rows = iter(axes)
    for i, (layer, record, count) in enumerate(
        zip(resolve(network).layers, solution.layers, solution.counts, strict=True)
    ):
        v = np.asarray(record.v).reshape(len(record.v), -1)
        low, high = (
            np.broadcast_to(np.asarray(edge), layer.shape).reshape(-1)
            for edge in layer.neuron.zone(gate.of_layer(i))
        )
        for n in np.argsort(-np.asarray(count).reshape(-1))[:SHOWN_NEURONS]:
            ax = next(rows)
            ax.axhspan(low[n], high[n], color="C1", alpha=0.25, lw=0, label="active zone")
            ax.plot(_time(len(v), dt), v[:, n], color="C0")
            ax.set(ylabel=f"v, neuron {n}\n(layer {i}; 1 = threshold)")
            ax.yaxis.label.set_fontsize(7)
    axes[0].legend(frameon=False, loc="lower right")
    axes[0].set(title=f"Membrane potential (dimensionless) of the busiest neurons, {name}")
    for ax in rows:
        ax.set_visible(False)
    axes[-1].set(xlabel="time (ms)")
    return figure


def activations(solution: Solution, network: Network, dt: float, name: str) -> Figure:
    """Synaptic activations of every layer (each time constant apart), and the readout."""
    layers = resolve(network).layers
    kinds = [(i, k) for i, layer in enumerate(layers) for k in range(layer.synapse.kinds)]
    figure, axes = _figure(len(kinds) + 1, 1.9 * (len(kinds) + 1) + 0.4, sharex=True)
    for ax, (i, k) in zip(axes, kinds, strict=False):
        s = np.asarray(solution.layers[i].activation)[:, k].reshape(len(solution.readout), -1)
        image = ax.imshow(
            s.T,
            aspect="auto",
            origin="lower",
            cmap="viridis",
            extent=(0, len(s) * dt, -0.5, s.shape[1] - 0.5),
            interpolation="nearest",
        )
        tau = float(np.mean(layers[i].synapse.tau_syn[k]))
        ax.set(ylabel=f"neuron (layer {i})\ntau_syn {tau:g} ms")
        figure.colorbar(
            image, ax=ax, label=f"activation\n(1 = {1e3 * layers[i].synapse.rate_unit:g} Hz)", pad=0.01
        )
    out = np.asarray(solution.readout)
    if out.shape[1] <= 10:
        axes[-1].plot(_time(len(out), dt), out)
        axes[-1].set(ylabel="readout\n(dimensionless)")
    else:
        size, extent = np.abs(out).max(), (0, len(out) * dt, -0.5, out.shape[1] - 0.5)
        image = axes[-1].imshow(
            out.T, aspect="auto", origin="lower", cmap="RdBu_r", vmin=-size, vmax=size, extent=extent
        )
        axes[-1].set(ylabel="readout unit")
        figure.colorbar(image, ax=axes[-1], label="readout\n(dimensionless)", pad=0.01)
    axes[-1].set(xlabel="time (ms)")
    axes[0].set(title=f"Synaptic activation and readout, {name}")
    return figure


def firing_rates(counts, duration) -> Figure:
    """Histogram of the neurons' mean rates over the test trials."""
    figure, axes = _figure(len(counts), 2.4 * len(counts) + 0.3)
    for i, (ax, count) in enumerate(zip(axes, counts, strict=True)):
        rate = np.asarray(rates(jnp.asarray(count), duration)).reshape(-1)
        ax.hist(rate, bins=30, color="C0")
        ax.axvline(
            rate.mean(),
            color="k",
            lw=0.8,
            ls="--",
            label=f"mean {rate.mean():.1f} Hz; {np.mean(rate < 0.1):.0%} below 0.1 Hz",
        )
        ax.set(ylabel=f"neurons (layer {i})", xlabel="firing rate over all test trials (Hz)")
        ax.legend(frameon=False)
    return figure


def confusion_matrix(table: np.ndarray, labels: tuple[str, ...]) -> Figure:
    """How often each class was taken for each other one, on the test split."""
    figure, (ax,) = _figure(1, 6.0, 6.8)
    image = ax.imshow(table, cmap="Blues")
    ax.set(
        xlabel="predicted class",
        ylabel="true class",
        title=f"Test trials: {np.trace(table)} of {table.sum()} correct",
    )
    ax.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    ax.set_yticks(range(len(labels)), labels, fontsize=7)
    figure.colorbar(image, ax=ax, label="trials")
    return figure
