"""Folders of the repository, and its experiments as modules."""

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
CONFIGS, EXPERIMENTS = ROOT / "configs", ROOT / "experiments"
DATA = Path(__file__).parent / "data"


def experiment(name: str) -> ModuleType:
    """A script of `EXPERIMENTS`, which are no package."""
    spec = importlib.util.spec_from_file_location(f"experiment_{name}", EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
