"""What the tests of the command line share."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np

from spikejax import cli
from spikejax.training.log import read_metrics

from .places import ROOT


def fails(capsys, *argv):
    """Run the command, expect exit code 2 and one line of error; returns it."""
    capsys.readouterr()
    assert cli.main([str(a) for a in argv]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("spikejax: ")
    assert "\n" not in error
    return error


def environment(devices: int = 1) -> dict[str, str]:
    """Of a process with so many devices of the CPU, which imports the package from this repository."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}


def killed_and_resumed(tmp_path, text):
    """Train 40 steps of a configuration in one go, and once more killed on the way and resumed; the files
    must be the same."""
    config = tmp_path / "tiny.toml"
    config.write_text(text)

    def command(out, *more):
        return ["train", str(config), "--out", str(tmp_path / out), "--quiet", *more]

    killed = subprocess.Popen(
        [sys.executable, "-m", "spikejax", *command("killed")],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    log = tmp_path / "killed" / "metrics.jsonl"
    wanted = int(np.random.default_rng().integers(5, 30))
    deadline = time.monotonic() + 300
    while not (log.exists() and len(log.read_text().splitlines()) >= wanted):
        assert killed.poll() is None, killed.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "killed" / "summary.json").exists()
    # What is left of it, and all of it, in one other process.
    commands = [command("killed", "--resume"), command("whole")]
    script = f"from spikejax.cli import main; raise SystemExit(any(main(c) for c in {commands}))"
    subprocess.run([sys.executable, "-c", script], check=True, env=environment(), capture_output=True)
    for name in ("last.ckpt", "best.ckpt"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), (
            f"killed at {wanted}"
        )
    assert read_metrics(log) == read_metrics(tmp_path / "whole" / "metrics.jsonl")
    a, b = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("killed", "whole"))
    assert a["hard"] == b["hard"]
