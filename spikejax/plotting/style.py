"""How figures look, how they are laid out, and the one place that saves them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from ..files import write_atomically

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 130,
    "lines.linewidth": 1.1,
}
"""Settings of Matplotlib that figures are drawn with."""


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


__all__ = ["STYLE", "page", "save_figures"]
