"""A run can be killed or interrupted at any moment, and goes on as if nothing had been."""

import json
import signal
import subprocess
import sys
import time

import pytest

from spikejax.training.log import read_metrics

from ..command_line import environment, killed_and_resumed
from ..configs import BRAILLE, toml


@pytest.mark.nightly
def test_killed_and_resumed_is_bit_identical(tmp_path):
    killed_and_resumed(
        tmp_path, toml(BRAILLE, training={"steps": 40, "evaluate_every": 4, "checkpoint_every": 4})
    )


def test_interrupt_saves_and_says_so(tmp_path):
    config = tmp_path / "tiny.toml"
    config.write_text(toml(BRAILLE, training={"steps": 5000}))
    command = [
        sys.executable,
        "-m",
        "spikejax",
        "train",
        str(config),
        "--out",
        str(tmp_path / "run"),
        "--quiet",
    ]
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    log = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (log.exists() and len(log.read_text().splitlines()) >= 3):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert error.strip().splitlines()[-1].startswith("spikejax: interrupted after step")
    with open(tmp_path / "run" / "last.ckpt", "rb") as file:
        header = json.loads(file.readline())
    assert header["step"] == read_metrics(log)[-1]["step"]
