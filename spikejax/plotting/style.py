"""How figures look, how they are laid out, and the one place that saves them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from ..files import write_atomically

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 130,
    "lines.linewidth": 1.1,
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,
}
"""Settings of Matplotlib that figures are drawn with."""
FEW = 10
"""Most colours that are told apart by a legend; more are a bar with names."""
OUTLYING = 2.0
"""How much larger than their bulk the range of some values may be and still be shown whole."""


def page(rows: int, columns: int, width: float, height: float, **kwargs: Any) -> tuple[Figure, np.ndarray]:
    """A figure and its axes, ``(rows, columns)``.

    **Arguments:** `width`, `height`: of the whole figure, inches; `kwargs`: of ``Figure.subplots``.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def save_figures(
    folder: Path, figures: Mapping[str, Callable[[], Figure]], formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Draw every figure in the package's style and save it as ``folder/NAME.png``; returns the paths.

    **Arguments:** `folder`: made if it is not there; `figures`: what draws each, by name; `formats`: one file
    is written for each, ``pdf`` and ``svg`` hold lines and text as such.

    **Raises:** `ValueError` for a format that Matplotlib does not write.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        for name, draw in figures.items():
            figure = draw()
            for kind in formats:
                paths.append(folder / f"{name}.{kind}")
                write_atomically(paths[-1], lambda file: figure.savefig(file, format=kind))
    return paths


def colours(count: int) -> list[Any]:
    """So many colours: Matplotlib's ten, or as many from the spectrum."""
    if count <= FEW:
        return [f"C{i}" for i in range(count)]
    return list(mpl.colormaps["turbo"](np.linspace(0.02, 0.98, count)))


def colour_key(figure: Figure, ax: Axes, names: Sequence[str], label: str, hues: Sequence[Any]) -> None:
    """What the colours of an axis stand for: a legend beside it for a few, else a bar with the names."""
    if len(names) <= FEW:
        handles = [Line2D([], [], color=hue, label=name) for hue, name in zip(hues, names, strict=True)]
        beside(ax, handles=handles, title=label)
        return
    norm = BoundaryNorm(np.arange(len(names) + 1) - 0.5, len(names))
    colour = ScalarMappable(norm, ListedColormap(list(hues)))
    bar = figure.colorbar(colour, ax=ax, label=label, pad=0.01, aspect=30)
    bar.ax.minorticks_off()
    named_ticks(bar.ax, "y", np.arange(len(names)), names, _inches(figure, ax)[1])


def beside(ax: Axes, **kwargs: Any) -> None:
    """The legend of an axis where it hides nothing: a short one in a row over it, else to the right of it."""
    style: dict[str, Any] = {
        "frameon": False,
        "fontsize": 7,
        "title_fontsize": 7,
        "borderaxespad": 0.2,
    } | kwargs
    handles = style.pop("handles", None) or ax.get_legend_handles_labels()[0]
    names = [str(handle.get_label()) for handle in handles]
    short = len(names) <= 4 and len("".join(names)) <= 44 and "title" not in style and not ax.get_title()
    where = (1.0, 1.0) if short else (1.01, 1.0)
    style |= {"loc": "lower right", "ncols": len(names)} if short else {"loc": "upper left"}
    ax.legend(handles, names, bbox_to_anchor=where, **style)


def above(figure: Figure, ax: Axes, columns: int = 4, **kwargs: Any) -> None:
    """The legend of an axis over the whole figure."""
    style = {"frameon": False, "fontsize": 8} | kwargs
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, **style)


def _inches(figure: Figure, ax: Axes) -> tuple[float, float]:
    """About the width and height of an axis, before the layout is made."""
    width, height = figure.get_size_inches()
    spec = ax.get_subplotspec()
    if spec is None:
        return float(width), float(height)
    rows, columns = spec.get_gridspec().get_geometry()
    return 0.8 * float(width) / columns, 0.8 * float(height) / rows


def named_ticks(
    ax: Axes, axis: str, at: Sequence[float] | np.ndarray, names: Sequence[str], inches: float
) -> None:
    """Ticks with names that do not lie over each other: smaller, upright, and where that is not enough every
    second one, or third, ...

    **Arguments:** `axis`: ``"x"`` or ``"y"``; `at`, `names`: of all ticks, evenly spread; `inches`: length of
    the axis, about.
    """
    room = 72 * inches / max(len(names), 1)  # points for each
    longest = max((len(name) for name in names), default=1)
    upright = axis == "x" and 0.65 * 8 * longest > room
    across = 1.25 if axis == "y" or upright else 0.65 * longest  # in sizes of the font
    size = float(np.clip(room / across, 5.0, 8.0))
    every = max(int(np.ceil(size * across / room - 0.01)), 1)
    ticks = ax.set_xticks if axis == "x" else ax.set_yticks
    ticks(list(at)[::every], list(names)[::every], fontsize=size, rotation=90.0 if upright else 0.0)


def log_axis(ax: Axes, axis: str, values: Any, most: int = 5) -> bool:
    """Make an axis logarithmic, if all `values` are above 0, with at most `most` labels, so that they do not
    lie over each other; whether it is.

    Values that are not finite are ignored.
    """
    x = np.asarray(values, float).reshape(-1)
    x = x[np.isfinite(x)]
    if not x.size or x.min() <= 0:
        return False
    low, high = limits(np.log10(x))
    first, last = int(np.floor(low)), int(np.ceil(high))
    # From coarse to fine: every n-th decade, every decade, and parts of it.
    found = [np.arange(first, last + 1, every, dtype=float) for every in range(last - first, 0, -1)]
    decades = np.arange(first, last + 1)
    found += [(decades[:, None] + np.log10(parts)).ravel() for parts in ((1, 3), (1, 2, 5), range(1, 10))]
    inside = [t[(t >= low) & (t <= high)] for t in found]
    ticks = [10.0**t for t in inside if 2 <= len(t) <= most]
    chosen = ticks[-1] if ticks else np.array([10**low, 10**high]) if high - low < 1e-9 else None
    if chosen is None:  # a small part of a decade
        linear = np.asarray(MaxNLocator(3).tick_values(10**low, 10**high))
        chosen = linear[(linear >= 10**low) & (linear <= 10**high)]
    ax.set(**{f"{axis}scale": "log", f"{axis}lim": (10**low, 10**high)})
    (ax.set_xticks if axis == "x" else ax.set_yticks)(chosen, [_number(t) for t in chosen])
    (ax.xaxis if axis == "x" else ax.yaxis).set_minor_locator(NullLocator())
    return True


def _number(x: float) -> str:
    """A number that is short: 0.02, 300, $10^{6}$."""
    if 1e-3 <= abs(x) < 1e4:
        return f"{x:.4g}"
    power = int(np.floor(np.log10(abs(x))))
    factor = x / 10.0**power
    times = "" if abs(factor - 1) < 1e-6 else f"{factor:.3g}" + r" \cdot "
    return f"${times}10^{{{power}}}$"


def limits(values: Any, keep: Sequence[float] = (), part: float = 0.01) -> tuple[float, float]:
    """Where an axis should begin and end: all of `values`, or if a few of them lie far away the bulk.

    **Arguments:** `values`: those that are not finite are ignored; `keep`: what has to be seen in any case;
    `part`: of the values at either end that may be left out.
    """
    x = np.asarray(values, float).reshape(-1)
    x = x[np.isfinite(x)]
    if not x.size:
        x = np.array([*keep, 0.0, 1.0])
    whole = np.array([x.min(), x.max(), *keep])
    bulk = np.array([*np.quantile(x, (part, 1 - part)), *keep])
    far = np.ptp(bulk) > 0 and np.ptp(whole) > OUTLYING * np.ptp(bulk)
    chosen = bulk if far else whole
    low, high = float(chosen.min()), float(chosen.max())
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def mark_outside(ax: Axes, values: Any) -> None:
    """Say how far the values of the y axis go where they leave it."""
    x = np.asarray(values, float)
    x = x[np.isfinite(x)]
    if not x.size:
        return
    low, high = ax.get_ylim()
    style: dict[str, Any] = {"xycoords": "axes fraction", "fontsize": 6, "color": "0.4", "ha": "right"}
    if x.min() < low:
        ax.annotate(f"down to {x.min():.3g}", (0.995, 0.02), va="bottom", **style)
    if x.max() > high:
        ax.annotate(f"up to {x.max():.3g}", (0.995, 1.01), va="bottom", **style)


__all__ = [
    "FEW",
    "STYLE",
    "above",
    "beside",
    "colour_key",
    "colours",
    "limits",
    "log_axis",
    "mark_outside",
    "named_ticks",
    "page",
    "save_figures",
]
