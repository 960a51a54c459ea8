"""Experiments are scripts that no test runs to their end; that they still fit the package is the least."""

import sys

import pytest

from ..places import EXPERIMENTS, experiment

LIST = (EXPERIMENTS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", sorted(EXPERIMENTS.glob("*.py")), ids=lambda path: path.stem)
def test_imports_what_there_is(script, monkeypatch):
    if script.stem == "brian2_reference":
        pytest.importorskip("brian2")
    monkeypatch.setattr(sys, "path", [str(EXPERIMENTS), *sys.path])
    assert callable(experiment(script.stem).main)


@pytest.mark.parametrize("script", sorted(EXPERIMENTS.glob("*.py")), ids=lambda path: path.stem)
def test_is_listed(script):
    assert f"experiments/{script.name}" in LIST
