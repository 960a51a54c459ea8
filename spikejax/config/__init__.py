"""Configuration files."""

from .load import ConfigError, check, describe, dump, load
from .schema import Config

__all__ = ["Config", "ConfigError", "check", "describe", "dump", "load"]
