"""Trainings of a minute and more; run with ``pytest -m slow``."""

import json
import subprocess
import sys

import pytest

from ..places import CONFIGS

CONFIG = CONFIGS / "braille.toml"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_braille_is_learned(tmp_path, seed):
    command = [
        sys.executable,
        "-m",
        "spikejax",
        "train",
        str(CONFIG),
        "--out",
        str(tmp_path / "run"),
        "--seed",
        str(seed),
    ]
    subprocess.run(command, check=True)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["smooth"]["accuracy"] >= 0.97
    assert summary["hard"]["accuracy"] >= summary["smooth"]["accuracy"] - 0.02


def trained_run(tmp_path, name, seed):
    config = CONFIG.with_name(f"{name}.toml")
    command = [
        sys.executable,
        "-m",
        "spikejax",
        "train",
        str(config),
        "--out",
        str(tmp_path / "run"),
        "--seed",
        str(seed),
    ]
    subprocess.run(command, check=True)
    return tmp_path / "run"


def evaluated(run, *options):
    subprocess.run([sys.executable, "-m", "spikejax", "evaluate", str(run), *options], check=True)
    return json.loads((run / "evaluation.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_predictive_coding_is_learned(tmp_path, seed):
    run = trained_run(tmp_path, "predictive_coding", seed)
    for options in ((), ("--dt", "0.125")):
        summary = evaluated(run, *options)
        assert summary["smooth"]["error"] <= 0.017
        assert summary["hard"]["error"] <= 0.02
        assert summary["hard"]["silent/0"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_delayed_xor_is_learned(tmp_path, seed):
    run = trained_run(tmp_path, "delayed_xor", seed)
    for options, least in (
        ((), 0.97),
        (("--dt", "1.0"), 0.95),
        (("--gate.sharpness", "1.0", "--gate.sharpness_end", "1.0"), 0.97),
    ):
        summary = evaluated(run, *options)
        assert summary["trials"] == 600
        assert summary["smooth"]["accuracy"] >= least
        assert summary["hard"]["accuracy"] >= least
