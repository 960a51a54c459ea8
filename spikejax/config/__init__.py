"""Configuration files."""

from ..errors import ConfigError
from .fit import FITS, CurrentClampFit, SoundFit
from .load import check, describe, dump, load, load_fit
from .schema import Config

__all__ = [
    "FITS",
    "Config",
    "ConfigError",
    "CurrentClampFit",
    "SoundFit",
    "check",
    "describe",
    "dump",
    "load",
    "load_fit",
]
