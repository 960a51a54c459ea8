"""Experiments are scripts that no test runs to their end; that they still fit the package is the least."""

import importlib.util
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
LIST = (EXPERIMENTS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", sorted(EXPERIMENTS.glob("*.py")), ids=lambda path: path.stem)
def test_imports_what_there_is(script, monkeypatch):
    if script.stem == "brian2_reference":
        pytest.importorskip("brian2")
    monkeypatch.setattr(sys, "path", [str(EXPERIMENTS), *sys.path])
    spec = importlib.util.spec_from_file_location(f"experiment_{script.stem}", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert callable(module.main)


@pytest.mark.parametrize("script", sorted(EXPERIMENTS.glob("*.py")), ids=lambda path: path.stem)
def test_is_listed(script):
    assert f"experiments/{script.name}" in LIST
