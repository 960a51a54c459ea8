"""Trainings of a minute and more; run with ``pytest -m slow``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = Path(__file__).parent.parent / "configs" / "braille.toml"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_braille_is_learned(tmp_path, seed):
    command = [sys.executable, "-m", "spikejax", "train", str(CONFIG), "--out", str(tmp_path / "run"), "--seed", str(seed)]
    subprocess.run(command, check=True)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["smooth"]["accuracy"] >= 0.97
    assert summary["hard"]["accuracy"] >= summary["smooth"]["accuracy"] - 0.02
