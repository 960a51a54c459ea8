"""Figures of a run: how training went, and what the trained network does."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..activity import rates
from ..gates import Gate
from ..metrics import confusion
from ..network import Network
from ..parameters import resolve
from ..simulate import Solution
from ..training import Evaluation
from .style import page

SHOWN_NEURONS = 4
"""Neurons of a layer whose membrane potentials are drawn."""
FEW_OUTPUTS = 10
"""Readout units up to which each is a line; more are an image."""


class ShownTrial(NamedTuple):
    """One trial, simulated."""

    name: str
    stimulus: Float[np.ndarray, "time *channels"]
    solution: Solution
    """With `release`, `v` and `activation` saved."""
    network: Network
    gate: Gate
    dt: float
    """ms."""


def run_figures(
    metrics: list[dict[str, Any]], shown: ShownTrial, result: Evaluation, labels: tuple[str, ...]
) -> dict[str, Callable[[], Figure]]:
    """What draws each figure of a run, by name.

    **Arguments:** `metrics`: of every update, may be empty; `shown`: a trial; `result`: the evaluation on the
    test split; `labels`: names of the classes.
    """
    figures: dict[str, Callable[[], Figure]] = {"training": partial(training, metrics)} if metrics else {}
    figures |= {
        "raster": partial(raster, shown),
        "voltages": partial(voltages, shown),
        "activations": partial(activations, shown),
        "rates": partial(firing_rates, result.counts, result.durations),
    }
    if result.labels is not None:
        table = confusion(np.asarray(result.classes), np.asarray(result.labels), len(labels))
        figures["confusion"] = partial(confusion_matrix, table, labels)
    return figures


def training(metrics: list[dict[str, Any]]) -> Figure:
    """Loss and held-out score, gradient norm, and the gate's sharpness over the updates."""
    figure, axes = page(3, 1, 7.0, 6.0, sharex=True)
    losses, gradients, sharpness = axes[:, 0]
    _losses(losses, metrics)
    _gradients(gradients, metrics)
    values = [np.ravel(np.array(m.get("sharpness"), float)) for m in metrics]  # None becomes nan
    layers = max(map(len, values))
    for i in range(layers):
        one = [x[i] if i < len(x) else np.nan for x in values]
        sharpness.plot(_steps(metrics), one, color=f"C{2 + i}", label=f"layer {i}")
    if layers > 1:
        sharpness.legend(frameon=False, fontsize=6)
    sharpness.set(ylabel="gate sharpness a", xlabel="update")
    return figure


def _steps(metrics: list[dict[str, Any]]) -> list[int]:
    return [m["step"] for m in metrics]


def _series(metrics: list[dict[str, Any]], name: str) -> np.ndarray:
    """Values of a metric, nan where it is missing or no number."""
    values = [m.get(name) for m in metrics]
    return np.array([x if isinstance(x, bool | int | float) else np.nan for x in values], float)


def _losses(ax: Axes, metrics: list[dict[str, Any]]) -> None:
    ax.plot(_steps(metrics), _series(metrics, "loss"), color="0.6", lw=0.7, label="training batch")
    held = [m for m in metrics if "held_out/loss" in m]
    ax.plot(_steps(held), _series(held, "held_out/loss"), "o-", ms=3, color="C0", label="held-out trials")
    ax.set(ylabel="loss", yscale="log")
    ax.legend(frameon=False, loc="upper right")
    if held and "held_out/accuracy" in held[0]:
        twin = ax.twinx()
        twin.spines["right"].set_visible(True)
        twin.plot(_steps(held), _series(held, "held_out/accuracy"), "s--", ms=3, color="C3")
        twin.set_ylim(0, 1)
        twin.set_ylabel("held-out accuracy", color="C3")


def _gradients(ax: Axes, metrics: list[dict[str, Any]]) -> None:
    steps = _steps(metrics)
    ax.plot(steps, _series(metrics, "gradient"), lw=0.7, color="0.3", label="all")
    for i, name in enumerate(sorted({n for m in metrics for n in m if n.startswith("gradient/")})):
        label = name.removeprefix("gradient/")
        ax.plot(steps, _series(metrics, name), lw=0.6, color=f"C{i}", alpha=0.7, label=label)
    ax.set(ylabel="gradient norm", yscale="log")
    ax.legend(frameon=False, fontsize=6, ncols=3)


def _time(steps: int, dt: float) -> np.ndarray:
    """End of each step, ms."""
    return (np.arange(steps) + 1) * dt


def raster(shown: ShownTrial) -> Figure:
    """Input spikes, and the charge released by every neuron: one dot per step, as dark as the charge is
    large."""
    layers, dt, length = shown.solution.layers, shown.dt, len(shown.stimulus)
    figure, axes = page(1 + len(layers), 1, 7.0, 2.0 + 2.6 * len(layers), sharex=True)
    top, *others = axes[:, 0]
    t, channel = np.nonzero(shown.stimulus.reshape(length, -1))
    top.scatter((t + 1) * dt, channel, s=3, marker="|", color="k")
    top.set(ylabel="input channel", title=f"Input spikes and released charge, {shown.name}")
    for i, (ax, record) in enumerate(zip(others, layers, strict=True)):
        release = np.clip(np.asarray(record.release).reshape(length, -1), -1, 1)
        t, n = np.nonzero(np.abs(release) > 0.02)
        dots = ax.scatter((t + 1) * dt, n, s=5, marker="|", c=release[t, n], cmap="RdGy", vmin=-1, vmax=1)
        ax.set(ylabel=f"neuron (layer {i})")
        figure.colorbar(dots, ax=ax, label="charge released\nin the step", pad=0.01)
    others[-1].set(xlabel="time (ms)")
    return figure


def voltages(shown: ShownTrial) -> Figure:
    """Membrane potentials of the busiest neurons of each layer, with the active zone shaded."""
    solution = shown.solution
    count = SHOWN_NEURONS * len(solution.layers)
    figure, axes = page(count, 1, 7.0, 1.3 * count + 0.6, sharex=True)
    rows = iter(axes[:, 0])
    for i, (layer, record, counts) in enumerate(
        zip(resolve(shown.network).layers, solution.layers, solution.counts, strict=True)
    ):
        v = np.asarray(record.v).reshape(len(shown.stimulus), -1)
        low, high = (
            np.broadcast_to(np.asarray(edge), layer.shape).reshape(-1)
            for edge in layer.neuron.zone(shown.gate.of_layer(i))
        )
        for n in np.argsort(-np.asarray(counts).reshape(-1))[:SHOWN_NEURONS]:
            ax = next(rows)
            ax.axhspan(low[n], high[n], color="C1", alpha=0.25, lw=0, label="active zone")
            ax.plot(_time(len(v), shown.dt), v[:, n], color="C0")
            ax.set(ylabel=f"v, neuron {n}\n(layer {i}; 1 = threshold)")
            ax.yaxis.label.set_fontsize(7)
    axes[0, 0].legend(frameon=False, loc="lower right")
    axes[0, 0].set(title=f"Membrane potential (dimensionless) of the busiest neurons, {shown.name}")
    for ax in rows:
        ax.set_visible(False)
    axes[-1, 0].set(xlabel="time (ms)")
    return figure


def activations(shown: ShownTrial) -> Figure:
    """Synaptic activations of every layer (each time constant apart), and the readout."""
    layers = resolve(shown.network).layers
    kinds = [(i, k) for i, layer in enumerate(layers) for k in range(layer.synapse.kinds)]
    figure, axes = page(len(kinds) + 1, 1, 7.0, 1.9 * (len(kinds) + 1) + 0.4, sharex=True)
    *images, last = axes[:, 0]
    for ax, (i, k) in zip(images, kinds, strict=True):
        s = np.asarray(shown.solution.layers[i].activation)[:, k].reshape(len(shown.stimulus), -1)
        synapse = layers[i].synapse
        label = f"activation\n(1 = {1e3 * synapse.rate_unit:g} Hz)"
        _image(figure, ax, s, shown.dt, label, cmap="viridis", interpolation="nearest")
        ax.set(ylabel=f"neuron (layer {i})\ntau_syn {float(np.mean(synapse.tau_syn[k])):g} ms")
    out = np.asarray(shown.solution.readout)
    if out.shape[1] <= FEW_OUTPUTS:
        last.plot(_time(len(out), shown.dt), out)
        last.set(ylabel="readout\n(dimensionless)")
    else:
        size = np.abs(out).max()
        _image(figure, last, out, shown.dt, "readout\n(dimensionless)", cmap="RdBu_r", vmin=-size, vmax=size)
        last.set(ylabel="readout unit")
    last.set(xlabel="time (ms)")
    axes[0, 0].set(title=f"Synaptic activation and readout, {shown.name}")
    return figure


def _image(
    figure: Figure, ax: Axes, values: Float[np.ndarray, "time n"], dt: float, label: str, **kwargs: Any
) -> None:
    extent = (0, len(values) * dt, -0.5, values.shape[1] - 0.5)
    image = ax.imshow(values.T, aspect="auto", origin="lower", extent=extent, **kwargs)
    figure.colorbar(image, ax=ax, label=label, pad=0.01)


def firing_rates(counts: tuple[Float[Array, "trials *n"], ...], durations: Float[Array, " trials"]) -> Figure:
    """Histogram of the neurons' mean rates over the test trials.

    **Arguments:** `counts`: released charge in each trial, of every layer; `durations`: of the trials, ms.
    """
    figure, axes = page(len(counts), 1, 7.0, 2.4 * len(counts) + 0.3)
    for i, (ax, count) in enumerate(zip(axes[:, 0], counts, strict=True)):
        rate = np.asarray(rates(jnp.asarray(count), durations)).reshape(-1)
        ax.hist(rate, bins=30, color="C0")
        label = f"mean {rate.mean():.1f} Hz; {np.mean(rate < 0.1):.0%} below 0.1 Hz"
        ax.axvline(rate.mean(), color="k", lw=0.8, ls="--", label=label)
        ax.set(ylabel=f"neurons (layer {i})", xlabel="firing rate over all test trials (Hz)")
        ax.legend(frameon=False)
    return figure


def confusion_matrix(table: Int[np.ndarray, "classes classes"], labels: tuple[str, ...]) -> Figure:
    """How often each class was taken for each other one, on the test split."""
    figure, axes = page(1, 1, 6.8, 6.0)
    ax = axes[0, 0]
    image = ax.imshow(table, cmap="Blues")
    title = f"Test trials: {np.trace(table)} of {table.sum()} correct"
    ax.set(xlabel="predicted class", ylabel="true class", title=title)
    ax.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    ax.set_yticks(range(len(labels)), labels, fontsize=7)
    figure.colorbar(image, ax=ax, label="trials")
    return figure


__all__ = [
    "ShownTrial",
    "activations",
    "confusion_matrix",
    "firing_rates",
    "raster",
    "run_figures",
    "training",
    "voltages",
]
