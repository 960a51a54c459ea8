"""Figures of plain objects. Every axis says what it shows and in which unit."""

from .style import STYLE, page, save_figures

__all__ = ["STYLE", "page", "save_figures"]
