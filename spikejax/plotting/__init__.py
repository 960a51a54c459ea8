"""Figures of plain objects. Every axis says what it shows and in which unit."""

from .series import currents, lines, overview, raster, readout, stimulus, voltages
from .style import STYLE, page, save_figures

__all__ = [
    "STYLE",
    "currents",
    "lines",
    "overview",
    "page",
    "raster",
    "readout",
    "save_figures",
    "stimulus",
    "voltages",
]
