"""Figures of time series, of arrays or of what `spikejax.analysis.record_series` recorded. Each function
returns the figure; given `ax` (or `axes`) it draws there, and returns the figure that has it.

Arrays are of one trial, ``(time, *n)``, and need `dt`. Of `Traces` one `trial` and one `layer` are drawn, up
to the end of the trial."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import ArrayLike
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..analysis.traces import Traces
from ..stimulus import Events, as_array
from .style import STYLE, page

FEW = 10
"""Lines up to which a panel shows lines; more are an image."""
LEAST_CHARGE = 0.02
"""Released charge from which on a step has a mark."""
Values = ArrayLike | Events | Traces


class _Taken(NamedTuple):
    """One series of one trial."""

    values: np.ndarray
    """``(time, n)``."""
    dt: float
    traces: Traces | None
    trial: int
    layer: int

    @property
    def time(self) -> np.ndarray:
        """End of each step, ms."""
        return (np.arange(len(self.values)) + 1) * self.dt

    def of_layer(self, name: str) -> np.ndarray | None:
        """Another series of the same layer and trial, if it was recorded."""
        found = None if self.traces is None else self.traces.layers[self.layer].series.get(name)
        return None if found is None else found[self.trial, : len(self.values)].reshape(len(self.values), -1)


def _take(
    values: Any, name: str, dt: float | None, trial: int, layer: int, kind: int | None = None
) -> _Taken:
    if not isinstance(values, Traces):
        if dt is None:
            raise ValueError("`dt` is missing: give the time step of the array, in ms")
        array = np.asarray(as_array(values))
        if array.ndim < 1 or not len(array):
            raise ValueError(f"the array has shape {array.shape}: give (time, neurons) of one trial")
        return _Taken(array.reshape(len(array), -1), float(dt), None, 0, 0)
    steps = int(_entry(values.mask, trial, "trial").sum())
    if name in ("readout", "stimulus"):
        return _Taken(
            getattr(values, name)[trial, :steps].reshape(steps, -1), values.dt, values, trial, layer
        )
    series = _entry(values.layers, layer, "layer").series
    if name not in series:
        raise ValueError(f"{name!r} was not recorded: record_series(..., series=({name!r}, ...))")
    one = series[name][trial, :steps]
    one = one if kind is None or one.ndim < 3 else one[:, kind]
    return _Taken(one.reshape(steps, -1), values.dt, values, trial, layer)


def _entry(of: Any, i: int, what: str) -> Any:
    if not -len(of) <= i < len(of):
        raise ValueError(f"`{what}` is {i}, but there are {len(of)}")
    return of[i]


def _chosen(neurons: int | Sequence[int], taken: _Taken) -> list[int]:
    """Numbers of neurons: those given, or so many that spike most, or else vary most."""
    size = taken.values.shape[1]
    if not isinstance(neurons, int):
        for n in neurons:
            _entry(range(size), n, "neurons")
        return [int(n) for n in neurons]
    release = taken.of_layer("release")
    activity = taken.values.std(axis=0) if release is None else release.sum(axis=0)
    return [int(n) for n in np.argsort(-activity, kind="stable")[: max(neurons, 1)]]


def _spiking(release: np.ndarray) -> np.ndarray:
    """The steps of a neuron in which a spike is complete: under a gate it may have released most of its
    charge in the steps before."""
    # What is released from the start of the trial on is the number of spikes, and a part of the next.
    # Rounding may leave a whole number short.
    spikes = np.floor(np.cumsum(release, dtype=float) + 1e-3)
    return np.diff(np.maximum.accumulate(spikes), prepend=0.0) > 0


def _rows(axes: Any, rows: int, height: float) -> tuple[Figure, list[Axes]]:
    """The axes given, or those of a new figure."""
    if axes is None:
        figure, made = page(rows, 1, 7.0, height * rows + 0.6, sharex=True)
        return figure, list(made[:, 0])
    found = [axes] if isinstance(axes, Axes) else list(np.ravel(axes))
    if len(found) < rows:
        raise ValueError(f"`axes` has {len(found)} entries, but there are {rows} panels to draw")
    figure = found[0].get_figure(root=True)
    assert figure is not None
    return figure, found[:rows]


def _finish(rows: list[Axes], taken: _Taken, title: str) -> None:
    rows[-1].set_xlabel("time (ms)")
    rows[-1].set_xlim(0, len(taken.values) * taken.dt)
    if title:
        rows[0].set_title(title, loc="left", pad=10)


def _image(figure: Figure, ax: Axes, taken: _Taken, label: str, **options: Any) -> None:
    extent = (0.0, len(taken.values) * taken.dt, -0.5, taken.values.shape[1] - 0.5)
    options = {"aspect": "auto", "origin": "lower", "interpolation": "nearest"} | options
    image = ax.imshow(taken.values.T, extent=extent, **options)
    figure.colorbar(image, ax=ax, label=label, pad=0.01)


@mpl.rc_context(STYLE)  # type: ignore[arg-type]
def raster(
    release: Values,
    dt: float | None = None,
    *,
    trial: int = 0,
    layer: int = 0,
    ax: Axes | None = None,
    title: str = "",
) -> Figure:
    """A mark for every neuron and step in which charge is released, as dark as the charge is large.

    Under a hard threshold every mark is a spike. Under a gate a neuron also releases a part of a spike as it
    enters the active zone, and takes it back, in red, as it leaves the zone without a spike.

    **Arguments:** `release`: ``(time, *n)``, charge in each step, or spikes, or `Traces` with ``"release"``;
    `dt`: ms, of an array; `ax`: where to draw.

    **Raises:** `ValueError` for a series, trial or layer that is not there, and an array without `dt`.
    """
    taken = _take(release, "release", dt, trial, layer)
    figure, rows = _rows(ax, 1, 3.0)
    charge = np.clip(taken.values, -1, 1)
    step, neuron = np.nonzero(np.abs(charge) > LEAST_CHARGE)
    whole = np.allclose(taken.values, np.round(taken.values))
    colour: dict[str, Any] = {"color": "k"}
    if not whole:
        colour = {"c": charge[step, neuron], "cmap": "RdGy", "vmin": -1, "vmax": 1}
    marks = rows[0].scatter(taken.time[step], neuron, s=_mark(taken.values.shape[1]), marker="|", **colour)
    if not whole:
        figure.colorbar(marks, ax=rows[0], label="charge released in the step\n(1 = a spike)", pad=0.01)
    rows[0].set(ylabel="neuron", ylim=(-0.5, taken.values.shape[1] - 0.5))
    _finish(rows, taken, title)
    return figure


def _mark(size: int) -> float:
    """Size of the marks of a raster of so many rows, in square points."""
    return float(np.clip(150.0 / size, 1.5, 25.0)) ** 1.5


@mpl.rc_context(STYLE)  # type: ignore[arg-type]
def stimulus(
    x: Values, dt: float | None = None, *, trial: int = 0, ax: Axes | None = None, title: str = ""
) -> Figure:
    """What a network is given: spikes as marks, a few signals as lines, many as an image.

    **Arguments:** `x`: ``(time, *channels)``, or `Traces`; the others as in `raster`.
    """
    taken = _take(x, "stimulus", dt, trial, 0)
    figure, rows = _rows(ax, 1, 2.4)
    values, size = taken.values, taken.values.shape[1]
    # Counts, with silence in between.
    if np.all(values == np.round(values)) and values.min() >= 0 and np.mean(values > 0) < 0.5:
        step, channel = np.nonzero(values)
        rows[0].scatter(taken.time[step], channel, s=_mark(size), marker="|", color="k")
        rows[0].set(ylabel="input channel", ylim=(-0.5, size - 0.5))
    elif size <= FEW:
        rows[0].plot(taken.time, values, label=[f"channel {i}" for i in range(size)])
        rows[0].set(ylabel="input (dimensionless)")
        _legend(rows[0], size)
    else:
        _image(figure, rows[0], taken, "input (dimensionless)")
        rows[0].set(ylabel="input channel")
    _finish(rows, taken, title)
    return figure


def _legend(ax: Axes, entries: int) -> None:
    if entries > 1:
        ax.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


@mpl.rc_context(STYLE)  # type: ignore[arg-type]
def voltages(
    v: Values,
    dt: float | None = None,
    *,
    trial: int = 0,
    layer: int = 0,
    neurons: int | Sequence[int] = 4,
    zone: tuple[ArrayLike, ArrayLike] | None = None,
    unit: str = "",
    axes: Any = None,
    title: str = "",
) -> Figure:
    """Membrane potentials, a panel for each neuron, with the active zone shaded and the spikes marked above.

    **Arguments:** `v`: ``(time, *n)``, or `Traces` with ``"v"`` (and ``"release"``, for the spikes);
    `neurons`: their numbers, or how many of those that spike most (or vary most, where spikes are not known);
    `zone`: lower and upper edge of the active zone, one or one a neuron, which `Traces` know; `unit`: of v,
    ``"mV"``, or empty if it is dimensionless; `axes`: one for each neuron; the others as in `raster`."""
    taken = _take(v, "v", dt, trial, layer)
    if taken.traces is not None:
        about = taken.traces.layers[layer]
        zone, unit = about.zone if zone is None else zone, unit or about.unit
    numbers = _chosen(neurons, taken)
    figure, rows = _rows(axes, len(numbers), 1.3)
    edges = None if zone is None else [np.broadcast_to(np.ravel(x), taken.values.shape[1:]) for x in zone]
    release = taken.of_layer("release")
    for ax, n in zip(rows, numbers, strict=True):
        if edges is not None:
            ax.axhspan(edges[0][n], edges[1][n], color="C1", alpha=0.25, lw=0, label="active zone")
        ax.plot(taken.time, taken.values[:, n], color="C0")
        if release is not None:
            spikes = taken.time[_spiking(release[:, n])]
            top = np.full(len(spikes), 1.04)
            ax.plot(spikes, top, "|", color="k", ms=4, transform=ax.get_xaxis_transform(), clip_on=False)
        ax.set_ylabel(f"neuron {n}\nv ({unit or 'dimensionless'})", fontsize=8)
    if edges is not None:
        rows[0].legend(frameon=False, fontsize=7, loc="lower right", bbox_to_anchor=(1.0, 1.1))
    _finish(rows, taken, title)
    return figure


@mpl.rc_context(STYLE)  # type: ignore[arg-type]
def currents(
    current: Values,
    dt: float | None = None,
    *,
    trial: int = 0,
    layer: int = 0,
    neurons: int | Sequence[int] = 4,
    excitatory: ArrayLike | None = None,
    inhibitory: ArrayLike | None = None,
    unit: str = "units of v",
    axes: Any = None,
    title: str = "",
) -> Figure:
    """The current of each step into neurons, a panel for each, with its excitatory and inhibitory parts if
    there are.

    **Arguments:** `current`: ``(time, *n)``, or `Traces` with ``"current"`` (and ``"excitatory"``,
    ``"inhibitory"``); `excitatory`, `inhibitory`: of an array, the same shape; `unit`: of the current: that
    of v for LIF-like neurons, pA (EIF, AdEx), uA/cm2 (Hodgkin-Huxley); `neurons`, `axes`: as in `voltages`.
    """
    taken = _take(current, "current", dt, trial, layer, 0)
    given = {"excitatory": excitatory, "inhibitory": inhibitory}
    parts = {name: taken.of_layer(name) if x is None else np.asarray(x) for name, x in given.items()}
    numbers = _chosen(neurons, taken)
    figure, rows = _rows(axes, len(numbers), 1.3)
    colours = {"excitatory": "C3", "inhibitory": "C0"}
    for ax, n in zip(rows, numbers, strict=True):
        for name, x in parts.items():
            if x is not None:
                one = x.reshape(len(taken.values), -1)[:, n]
                ax.plot(taken.time, one, color=colours[name], lw=0.8, label=name)
        ax.plot(taken.time, taken.values[:, n], color="k", label="all")
        ax.axhline(0.0, color="0.7", lw=0.6)
        ax.set_ylabel(f"neuron {n}\ncurrent ({unit})", fontsize=8)
    if any(x is not None for x in parts.values()):
        rows[0].legend(frameon=False, fontsize=7, ncols=3, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    _finish(rows, taken, title)
    return figure


@mpl.rc_context(STYLE)  # type: ignore[arg-type]
def lines(
    values: Values,
    dt: float | None = None,
    *,
    name: str = "activation",
    label: str | None = None,
    trial: int = 0,
    layer: int = 0,
    kind: int = 0,
    neurons: int | Sequence[int] = 4,
    ax: Axes | None = None,
    title: str = "",
) -> Figure:
    """Any series of some neurons in one panel, a line each: activations, adaptation currents, moving
    thresholds.

    **Arguments:** `values`: ``(time, *n)``, or `Traces`, of which `name` says the series; `label`: of the
    axis, with its unit; `kind`: number of the synaptic time constant, of a series with an axis for them; the
    others as in `voltages`."""
    taken = _take(values, name, dt, trial, layer, kind)
    figure, rows = _rows(ax, 1, 2.6)
    for n in (numbers := _chosen(neurons, taken)):
        rows[0].plot(taken.time, taken.values[:, n], label=f"neuron {n}")
    _legend(rows[0], len(numbers))
    if label is None and name == "activation" and taken.traces is not None:
        label = f"activation (1 = {1e3 * taken.traces.layers[layer].rate_unit:g} Hz)"
    rows[0].set(ylabel=name if label is None else label)
    _finish(rows, taken, title)
    return figure


@mpl.rc_context(STYLE)  # type: ignore[arg-type]
def readout(
    values: Values,
    dt: float | None = None,
    *,
    target: ArrayLike | None = None,
    labels: Sequence[str] = (),
    trial: int = 0,
    ax: Axes | None = None,
    title: str = "",
) -> Figure:
    """The outputs of a network, up to ten as lines and more as an image, beside the signal that they should
    follow.

    **Arguments:** `values`: ``(time, outputs)``, or `Traces`; `target`: ``(time, outputs)``, drawn dashed, by
    default that of the `Traces` if it is such a signal; `labels`: names of the outputs; the others as in
    `raster`."""
    taken = _take(values, "readout", dt, trial, 0)
    size = taken.values.shape[1]
    if target is None and taken.traces is not None:
        given = taken.traces.target
        fits = isinstance(given, np.ndarray) and given.shape == taken.traces.readout.shape
        target = given[trial, : len(taken.values)] if fits else None
    names = list(labels) if len(labels) == size else [f"output {i}" for i in range(size)]
    figure, rows = _rows(ax, 1, 2.6)
    if size <= FEW:
        for i, name in enumerate(names):
            rows[0].plot(taken.time, taken.values[:, i], color=f"C{i}", label=name)
            if target is not None:
                wanted = np.asarray(target).reshape(len(taken.values), -1)[:, i]
                rows[0].plot(
                    taken.time,
                    wanted,
                    "--",
                    color=f"C{i}",
                    lw=0.9,
                    label=f"target {i}" if size > 1 else "target",
                )
        _legend(rows[0], size if target is None else 2 * size)
        rows[0].set(ylabel="readout (dimensionless)")
    else:
        most = float(np.abs(taken.values).max()) or 1.0
        _image(figure, rows[0], taken, "readout (dimensionless)", cmap="RdBu_r", vmin=-most, vmax=most)
        rows[0].set(ylabel="output")
        if len(labels) == size and size <= 3 * FEW:
            rows[0].set_yticks(range(size), names, fontsize=5)
    _finish(rows, taken, title)
    return figure


@mpl.rc_context(STYLE)  # type: ignore[arg-type]
def overview(traces: Traces, *, trial: int = 0, labels: Sequence[str] = (), title: str = "") -> Figure:
    """One trial on one page: stimulus, the raster of every layer, and the readout.

    **Arguments:** `traces`: with ``"release"``; `labels`: names of the outputs.
    """
    layers = len(traces.layers)
    figure, axes = page(layers + 2, 1, 7.0, 2.2 * (layers + 2) + 0.4, sharex=True)
    rows = list(axes[:, 0])
    stimulus(traces, trial=trial, ax=rows[0], title=title)
    for i in range(layers):
        raster(traces, trial=trial, layer=i, ax=rows[1 + i])
        rows[1 + i].set(ylabel="neuron" if layers == 1 else f"neuron (layer {i})")
    readout(traces, trial=trial, labels=labels, ax=rows[-1])
    for ax in rows[:-1]:
        ax.set_xlabel("")
    return figure


__all__ = ["currents", "lines", "overview", "raster", "readout", "stimulus", "voltages"]
