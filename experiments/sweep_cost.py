"""What a sweep costs side by side against one process for each point: CPU time of both, and their ratio.

    python experiments/sweep_cost.py

Eight points (four values of the sharpness, two seeds) of the Braille task with a small network. CPU time is
that of the child processes, which other work on the machine changes less than the time on the clock.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import tomli_w

from spikejax.configuration.load import read
from spikejax.jobs.sweep import load_sweep

CONFIG = Path(__file__).parent.parent / "configs" / "braille.toml"


def cpu(command: list[str]) -> float:
    """Seconds of CPU that a command and its threads take."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--size", type=int, default=32)
    args = parser.parse_args()
    data = read(CONFIG)
    data["network"]["layers"][0]["size"] = args.size
    data["training"]["steps"] = args.steps
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "sweep.toml"
        file.write_text(
            tomli_w.dumps(
                data | {"sweep": {"seeds": [0, 1], "grid": {"gate.sharpness_end": [1.0, 2.0, 4.0, 8.0]}}}
            )
        )
        spikejax = [sys.executable, "-m", "spikejax"]
        together = cpu([*spikejax, "sweep", str(file), "--out", f"{place}/sweep", "--quiet"])
        print(f"side by side: {together:.0f} s of CPU", flush=True)
        apart = 0.0
        for i, point in enumerate(load_sweep(file)):
            one = Path(place) / f"{i}.toml"
            one.write_text(tomli_w.dumps(data))
            keys = [word for key, value in point.values.items() for word in (f"--{key}", str(value))]
            apart += cpu([*spikejax, "train", str(one), *keys, "--out", f"{place}/{i}", "--quiet"])
        print(f"one process each: {apart:.0f} s of CPU; ratio {together / apart:.2f}")


if __name__ == "__main__":
    main()
