"""Figures of a run: how training went, and what the trained network does."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..activity import rates
from ..component import declarations
from ..gates import Gate
from ..metrics import confusion
from ..network import Layer, Network
from ..parameters import resolve
from ..simulate import Solution
from ..training import Evaluation
from .events import ShownSpikes, spike_raster
from .style import above, beside, colours, limits, log_axis, mark_outside, named_ticks, page

SHOWN_NEURONS = 4
"""Neurons of a layer whose membrane potentials are drawn."""
MOST_WAYS = 3.0
"""How far from the threshold potentials are shown, in ways there from the reset, or of a neuron that has none
from where it is half of the time."""
FEW_LINES = 10
"""Channels of a signal, and readout units, up to which each is a line; more are an image."""
FEW_CHANNELS = 3
"""Up to so many channels are lines even if they hold whole numbers, such as pulses of some length."""
BRIEF = 2.0
"""Longest mean stretch of steps with an event in all of them for which events count as spikes."""


class ShownTrial(NamedTuple):
    """One trial, simulated, without what follows its end."""

    name: str
    stimulus: Float[np.ndarray, "time *channels"]
    solution: Solution
    """With `release`, `v` and `activation` saved."""
    network: Network
    gate: Gate
    dt: float
    """ms."""
    target: Float[np.ndarray, "time out"] | None = None
    """The signal that the readout should be, if it should be one."""
    wanted: Float[np.ndarray, "time out"] | None = None
    """The spikes that the last layer should have, if it should have certain ones."""
    windows: int = 1
    """Stretches of time with readouts of their own, one for each class."""
    labels: tuple[str, ...] = ()
    """Names of the classes."""
    channel: str = "channel"
    """What the channels of the stimulus are."""


def run_figures(
    metrics: list[dict[str, Any]],
    shown: ShownTrial | ShownSpikes,
    result: Evaluation,
    labels: tuple[str, ...],
) -> dict[str, Callable[[], Figure]]:
    """What draws each figure of a run, by name.

    **Arguments:** `metrics`: of every update, may be empty; `shown`: a trial; `result`: the evaluation on the
    test split; `labels`: names of the classes.
    """
    figures: dict[str, Callable[[], Figure]] = {"training": partial(training, metrics)} if metrics else {}
    if isinstance(shown, ShownSpikes):
        figures["raster"] = partial(spike_raster, shown)
    else:
        figures |= {
            "raster": partial(raster, shown),
            "voltages": partial(voltages, shown),
            "activations": partial(activations, shown),
        }
        if shown.wanted is not None:
            figures["spikes"] = partial(spikes, shown)
    figures["rates"] = partial(firing_rates, result.counts, result.durations)
    if result.labels is not None:
        table = confusion(np.asarray(result.classes), np.asarray(result.labels), len(labels))
        figures["confusion"] = partial(confusion_matrix, table, labels)
    return figures


def training(metrics: list[dict[str, Any]]) -> Figure:
    """Loss and held-out score, gradient norm, and the gate's sharpness over the updates, where it changes."""
    values = [np.ravel(np.array(m.get("sharpness"), float)) for m in metrics]  # None becomes nan
    layers = max(map(len, values))
    courses = np.array([[x[i] if i < len(x) else np.nan for x in values] for i in range(layers)])
    known = courses[np.isfinite(courses)]
    changes = known.size > 0 and np.ptp(known) > 0
    rows = 3 if changes else 2
    figure, axes = page(rows, 1, 7.8, 2.0 * rows, sharex=True)
    _losses(axes[0, 0], metrics)
    _gradients(axes[1, 0], metrics)
    if changes:
        sharpness = axes[2, 0]
        for i, course in enumerate(courses):
            sharpness.plot(_steps(metrics), course, color=f"C{2 + i}", label=f"layer {i}")
        if layers > 1:
            beside(sharpness)
        sharpness.set(ylabel="gate sharpness a\n(1 = as wide as gate.width)")
    axes[-1, 0].set(xlabel="update")
    axes[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _steps(metrics: list[dict[str, Any]]) -> list[int]:
    return [m["step"] for m in metrics]


def _series(metrics: list[dict[str, Any]], name: str) -> np.ndarray:
    """Values of a metric, nan where it is missing or no number."""
    values = [m.get(name) for m in metrics]
    return np.array([x if isinstance(x, bool | int | float) else np.nan for x in values], float)


def _losses(ax: Axes, metrics: list[dict[str, Any]]) -> None:
    loss = _series(metrics, "loss")
    ax.plot(_steps(metrics), loss, color="0.6", lw=0.7, label="training batch")
    held = [m for m in metrics if "held_out/loss" in m]
    held_loss = _series(held, "held_out/loss")
    ax.plot(_steps(held), held_loss, "o-", ms=3, color="C0", label="held-out trials")
    log_axis(ax, "y", [*loss, *held_loss])
    ax.set(ylabel="loss (dimensionless)")
    score = next((name for name in ("accuracy", "error") if held and f"held_out/{name}" in held[0]), None)
    if score is None:
        beside(ax)
        return
    label = {"accuracy": "held-out accuracy\n(fraction)", "error": "held-out error\n(1 = a readout of 0)"}
    values = _series(held, f"held_out/{score}")
    twin = ax.twinx()
    twin.spines["right"].set_visible(True)
    twin.plot(_steps(held), values, "s--", ms=3, color="C3")
    twin.set_ylim((0, 1.05) if score == "accuracy" else limits(values, keep=(0.0,)))
    twin.set_ylabel(label[score], color="C3")
    ax.legend(frameon=False, fontsize=7, ncols=2, loc="lower left", bbox_to_anchor=(0.0, 1.0))


def _gradients(ax: Axes, metrics: list[dict[str, Any]]) -> None:
    steps, every = _steps(metrics), _series(metrics, "gradient")
    ax.plot(steps, every, lw=0.7, color="0.3", label="all")
    names = sorted({n for m in metrics for n in m if n.startswith("gradient/")})
    courses = [_series(metrics, name) for name in names]
    for name, course, colour in zip(names, courses, colours(len(names)), strict=True):
        label = name.removeprefix("gradient/")
        ax.plot(steps, course, lw=0.6, color=colour, alpha=0.7, label=label)
    log_axis(ax, "y", [x for x in np.ravel([every, *courses]) if x > 0])
    ax.set(ylabel="gradient norm\n(loss per unit of weight)")
    beside(ax, fontsize=6)


def _time(steps: int, dt: float) -> np.ndarray:
    """End of each step, ms."""
    return (np.arange(steps) + 1) * dt


def holds_spikes(stimulus: Float[np.ndarray, "time channels"]) -> bool:
    """Whether a stimulus is events: whole numbers, brief ones where there are only a few channels, and not a
    signal."""
    if stimulus.size and (stimulus.min() < 0 or np.any(stimulus != np.round(stimulus))):
        return False
    there = stimulus > 0
    stretches = (there & ~np.roll(there, 1, axis=0))[1:].sum() + there[:1].sum()
    return bool(stimulus.shape[1] > FEW_CHANNELS or there.sum() <= BRIEF * max(stretches, 1))


def raster(shown: ShownTrial) -> Figure:
    """The input, as spikes or signals, and the charge released by every neuron: one dot per step, as dark as
    the charge is large."""
    layers, dt, length = shown.solution.layers, shown.dt, len(shown.stimulus)
    figure, axes = page(1 + len(layers), 1, 7.4, 2.0 + 2.6 * len(layers), sharex=True)
    top, *others = axes[:, 0]
    _input(figure, top, shown)
    figure.suptitle(f"Input and released charge, {shown.name}", fontsize="medium")
    for i, (ax, record) in enumerate(zip(others, layers, strict=True)):
        release = np.asarray(record.release).reshape(length, -1)
        whole = bool(np.all((release == 0) | (release == 1)))
        t, n = np.nonzero(np.abs(release) > 0.02)
        style = {"s": 5, "marker": "|"}
        if whole:  # one shade says nothing
            ax.scatter((t + 1) * dt, n, color="k", **style)
            ax.set(ylabel=f"neuron (layer {i})\na dot: a spike")
        else:
            charge = np.clip(release[t, n], -1, 1)
            dots = ax.scatter((t + 1) * dt, n, c=charge, cmap="RdGy", vmin=-1, vmax=1, **style)
            ax.set(ylabel=f"neuron (layer {i})")
            label = "charge released in a step\n(1: a spike; below 0: v fell\nback through the active zone)"
            figure.colorbar(dots, ax=ax, label=label, pad=0.01)
        ax.set(ylim=(-1, release.shape[1]))
    others[-1].set(xlabel="time (ms)", xlim=(0, length * dt))
    return figure


def spikes(shown: ShownTrial) -> Figure:
    """The spikes that the last layer should have, and those that it has; a charge of less than half is
    none."""
    assert shown.wanted is not None, "a figure of tasks that ask for spikes"
    release = np.asarray(shown.solution.layers[-1].release).reshape(len(shown.wanted), -1)
    figure, axes = page(2, 1, 7.4, 6.4, sharex=True)
    for ax, x, name in zip(axes[:, 0], (shown.wanted, release), ("target", "last layer"), strict=True):
        t, n = np.nonzero(x > 0.5)
        ax.scatter((t + 1) * shown.dt, n, s=2, marker="|", color="k", linewidths=0.6)
        ax.set(ylabel=f"neuron ({name})", ylim=(-1, x.shape[1]))
    axes[-1, 0].set(xlabel="time (ms)", xlim=(0, len(release) * shown.dt))
    figure.suptitle(f"Target and output spikes, {shown.name}", fontsize="medium")
    return figure


def _input(figure: Figure, ax: Axes, shown: ShownTrial) -> None:
    """The stimulus: a dot for every spike; a line for every signal, or an image of many."""
    x = shown.stimulus.reshape(len(shown.stimulus), -1)
    if holds_spikes(x):
        t, channel = np.nonzero(x)
        ax.scatter((t + 1) * shown.dt, channel, s=3, marker="|", color="k")
        ax.set(ylabel=f"input spikes\n({shown.channel})", ylim=(-1, x.shape[1]))
    elif x.shape[1] <= FEW_LINES:
        for k, (row, colour) in enumerate(zip(x.T, colours(x.shape[1]), strict=True)):
            ax.plot(_time(len(x), shown.dt), row, color=colour, label=f"channel {k}")
        ax.set(ylabel="input signal\n(dimensionless)", ylim=limits(x))
        beside(ax)
    else:
        _image(figure, ax, x, shown.dt, "input signal\n(dimensionless)")
        ax.set(ylabel=f"input ({shown.channel})")


def voltages(shown: ShownTrial) -> Figure:
    """Membrane potentials of the busiest neurons of each layer, with the active zone shaded."""
    solution = shown.solution
    layers = resolve(shown.network).layers
    busiest = [np.argsort(-np.asarray(c).reshape(-1))[:SHOWN_NEURONS] for c in solution.counts]
    count = sum(map(len, busiest))
    figure, axes = page(count, 1, 7.4, 1.3 * count + 0.9, sharex=True)
    rows = iter(axes[:, 0])
    for i, (layer, record, some) in enumerate(zip(layers, solution.layers, busiest, strict=True)):
        v = np.asarray(record.v).reshape(len(shown.stimulus), -1)
        low, high = (
            np.broadcast_to(np.asarray(edge), layer.shape).reshape(-1)
            for edge in layer.neuron.zone(shown.gate.of_layer(i))
        )
        unit = unit_of_v(layer)
        rest = np.median(v, axis=0).reshape(layer.shape)
        begin = np.broadcast_to(getattr(layer.neuron, "v_reset", rest), layer.shape).reshape(-1)
        for n in some:
            ax = next(rows)
            ax.axhspan(low[n], high[n], color="C1", alpha=0.25, lw=0, label="active zone of the gate")
            ax.plot(_time(len(v), shown.dt), v[:, n], color="C0", label="membrane potential")
            ax.set_ylabel(f"v ({unit}),\nlayer {i}, neuron {n}", fontsize=7)
            # That way stays a third of the axis, however far v falls.
            edges = float(low[n]), float(high[n])
            way = MOST_WAYS * (edges[1] - min(float(begin[n]), edges[0]))
            ax.set_ylim(limits(np.clip(v[:, n], edges[1] - way, edges[1] + way), keep=edges))
            mark_outside(ax, v[:, n])
    above(figure, axes[0, 0], title=f"Membrane potential of the busiest neurons, {shown.name}")
    axes[-1, 0].set(xlabel="time (ms)", xlim=(0, len(shown.stimulus) * shown.dt))
    return figure


def unit_of_v(layer: Layer) -> str:
    """Unit of the membrane potential of a layer's neurons, for a label."""
    neuron: Any = layer.neuron
    while hasattr(neuron, "neuron"):  # of a wrapper
        neuron = neuron.neuron
    units = (declared.unit for name, declared in declarations(type(neuron)).items() if name.startswith("v_"))
    return next((unit for unit in units if unit), "1 = threshold")


def activations(shown: ShownTrial) -> Figure:
    """Synaptic activations of every layer (each time constant apart), and the readout beside its target."""
    layers = resolve(shown.network).layers
    kinds = [(i, k) for i, layer in enumerate(layers) for k in range(layer.synapse.kinds)]
    figure, axes = page(len(kinds) + 1, 1, 7.4, 1.9 * (len(kinds) + 1) + 0.4, sharex=True)
    *images, last = axes[:, 0]
    for ax, (i, k) in zip(images, kinds, strict=True):
        s = np.asarray(shown.solution.layers[i].activation)[:, k].reshape(len(shown.stimulus), -1)
        synapse = layers[i].synapse
        label = f"activation\n(1 = {1e3 * synapse.rate_unit:g} Hz)"
        _image(figure, ax, s, shown.dt, label)
        tau = float(np.mean(synapse.tau_syn[k]))
        ax.set(ylabel=f"neuron (layer {i})" + (f"\ntau_syn {tau:g} ms" if np.isfinite(tau) else ""))
    _readout(figure, last, shown)
    last.set(xlabel="time (ms)", xlim=(0, len(shown.stimulus) * shown.dt))
    figure.suptitle(f"Synaptic activation and readout, {shown.name}", fontsize="medium")
    return figure


def _readout(figure: Figure, ax: Axes, shown: ShownTrial) -> None:
    """The readout: lines, dashed ones for the target, or an image of many."""
    out, names = np.asarray(shown.solution.readout), shown.labels
    time = _time(len(out), shown.dt)
    each = shown.windows * len(names) == out.shape[1]
    if out.shape[1] > FEW_LINES:
        size = _largest(out)
        _image(figure, ax, out, shown.dt, "readout\n(dimensionless)", cmap="RdBu_r", vmin=-size, vmax=size)
        ax.set(ylabel="readout unit")
        if each and shown.windows > 1:
            begin = np.arange(shown.windows) * len(names)
            for at in begin[1:]:
                ax.axhline(at - 0.5, color="k", lw=0.5)
            windows = [f"{k + 1}" for k in range(shown.windows)]
            named_ticks(ax, "y", begin + (len(names) - 1) / 2, windows, 1.4)
            ax.set(ylabel=f"readout unit: a row for each of\n{len(names)} classes, by window of the trial")
            ax.yaxis.label.set_fontsize(7)
        elif each:
            named_ticks(ax, "y", np.arange(len(names)), names, 1.4)
            ax.set(ylabel="readout unit (class)")
        return
    target = shown.target
    for k, (row, colour) in enumerate(zip(out.T, colours(out.shape[1]), strict=True)):
        # In the order of the units: all classes of a window, then those of the next.
        window = f", window {k // len(names) + 1}" if names and shown.windows > 1 else ""
        name = f"{names[k % len(names)]}{window}" if each and names else f"readout {k}"
        ax.plot(time, row, color=colour, lw=0.9, label=name)
        if target is not None and target.shape == out.shape:
            ax.plot(time, target[:, k], color=colour, ls="--", lw=1.4, alpha=0.6, label=f"target {k}")
    ax.set(ylabel="readout\n(dimensionless)", ylim=limits(out, keep=() if target is None else _ends(target)))
    mark_outside(ax, out)
    beside(ax)


def _ends(x: np.ndarray) -> tuple[float, float]:
    return float(np.min(x)), float(np.max(x))


def _largest(x: np.ndarray) -> float:
    """Size of the bulk of some values, above 0."""
    return max(map(abs, limits(x))) or 1.0


def _image(
    figure: Figure, ax: Axes, values: Float[np.ndarray, "time n"], dt: float, label: str, **kwargs: Any
) -> None:
    """Series of many units as rows of an image; its colours end at the bulk of the values."""
    low, high = limits(values)
    ends = {"vmin": max(low, float(values.min())), "vmax": min(high, float(values.max()))}
    style: dict[str, Any] = {"cmap": "viridis", "interpolation": "nearest"} | ends | kwargs
    extent = (0, len(values) * dt, -0.5, values.shape[1] - 0.5)
    image = ax.imshow(values.T, aspect="auto", origin="lower", extent=extent, **style)
    beyond = values.min() < style["vmin"], values.max() > style["vmax"]
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(beyond, "neither")
    figure.colorbar(image, ax=ax, label=label, pad=0.01, extend=extend)


def firing_rates(counts: tuple[Float[Array, "trials *n"], ...], durations: Float[Array, " trials"]) -> Figure:
    """Histogram of the neurons' mean rates over the test trials.

    **Arguments:** `counts`: released charge in each trial, of every layer; `durations`: of the trials, ms.
    """
    figure, axes = page(len(counts), 1, 7.0, 2.4 * len(counts) + 0.3)
    for i, (ax, count) in enumerate(zip(axes[:, 0], counts, strict=True)):
        rate = np.asarray(rates(jnp.asarray(count), durations)).reshape(-1)
        low, high = limits(rate, keep=(0.0,))
        ax.hist(np.clip(rate, low, high), bins=30, color="C0")
        label = f"mean {rate.mean():.1f} Hz; {np.mean(rate < 0.1):.0%} below 0.1 Hz"
        if rate.max() > high:
            label += f"; up to {rate.max():.3g} Hz, in the last bar"
        ax.axvline(min(rate.mean(), high), color="k", lw=0.8, ls="--", label=label)
        ax.set(ylabel=f"neurons (layer {i})", xlabel="firing rate over all test trials (Hz)")
        ax.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    return figure


def confusion_matrix(table: Int[np.ndarray, "classes columns"], labels: tuple[str, ...]) -> Figure:
    """How often each class was taken for each other one, on the test split; with a column more for no
    answer."""
    side = float(np.clip(1.6 + 0.19 * len(labels), 2.4, 9.0))
    figure, axes = page(1, 1, side + 1.8, side + 1.0)
    ax = axes[0, 0]
    image = ax.imshow(table, cmap="Blues", vmin=0)
    title = f"Test trials: {np.trace(table)} of {table.sum()} correct"
    ax.set(xlabel="predicted class", ylabel="true class", title=title)
    answers = (*labels, "none")[: table.shape[1]]
    for axis, names in (("x", answers), ("y", labels)):
        named_ticks(ax, axis, np.arange(len(names)), names, 0.8 * side)
    figure.colorbar(image, ax=ax, label="number of trials", shrink=0.9)
    return figure


__all__ = [
    "ShownTrial",
    "activations",
    "confusion_matrix",
    "firing_rates",
    "holds_spikes",
    "raster",
    "run_figures",
    "spikes",
    "training",
    "unit_of_v",
    "voltages",
]
