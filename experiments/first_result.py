"""How long people wait for a first result: from the command to the first update of a training, with nothing
compiled before (cold) and a second time (warm).

    python experiments/first_result.py [--configs braille delayed_xor spoken_digits] [--digits FOLDER]
        [--before CHECKOUT] [--rounds 3]

spoken_digits needs --digits, with files in the layout of the Spiking Heidelberg Digits. --before takes
another checkout, run in turn with this one by the same Python: the ratio of two runs of a round depends
little on how busy the machine is. Prints wall-clock seconds, medians; *training*: from the first update to
the fourth.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parents[1]
CONFIGS = ["braille", "delayed_xor", "spoken_digits"]
UPDATES, PATIENCE = 4, 600.0


def timed(checkout: Path, arguments: list[str], cache: Path) -> tuple[float, float]:
    """Seconds to the first update, and from there to the last."""
    with tempfile.TemporaryDirectory() as out:
        rows = Path(out) / "run" / "metrics.jsonl"
        environment = os.environ | {"PYTHONPATH": str(checkout), "XDG_CACHE_HOME": str(cache)}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        command = [sys.executable, "-m", "spikejax", "train", *arguments, "--out", str(rows.parent)]
        begun, moments = time.perf_counter(), []
        running = subprocess.Popen(
            command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        while len(moments) < 2:
            done = rows.read_text().count("\n") if rows.exists() else 0
            if done >= (UPDATES if moments else 1):
                moments.append(time.perf_counter() - begun)
            elif running.poll() is not None or time.perf_counter() - begun > PATIENCE:
                running.kill()
                raise SystemExit(f"no result of {' '.join(command)}:\n{running.communicate()[1].decode()}")
            time.sleep(0.02)
        running.kill()
        running.communicate()
    return moments[0], moments[1] - moments[0]


def main() -> None:
    """Run and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--digits", type=Path, help="folder with fsdd_train.h5 and fsdd_test.h5")
    parser.add_argument("--before", type=Path, help="another checkout")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--configs", nargs="+", choices=CONFIGS, default=CONFIGS[:2])
    args = parser.parse_args()
    if "spoken_digits" in args.configs and args.digits is None:
        parser.error("spoken_digits needs --digits, a folder with fsdd_train.h5 and fsdd_test.h5")
    runs = {name: [f"configs/{name}.toml"] for name in args.configs}
    if "spoken_digits" in runs:
        runs["spoken_digits"] += ["--task.folder", str(args.digits.absolute())]
    checkouts = {"now": HERE} | ({"before": args.before.absolute()} if args.before else {})
    print("| configuration | checkout | cold, s | warm, s | training, warm, s |\n|---|---|---|---|---|")
    for name, arguments in runs.items():
        found: dict[str, list[tuple[float, ...]]] = {which: [] for which in checkouts}
        for _ in range(args.rounds):
            for which, checkout in checkouts.items():
                with tempfile.TemporaryDirectory() as cache:
                    cold, warm = (timed(checkout, arguments, Path(cache)) for _ in range(2))
                found[which].append((cold[0], *warm))
        for which, rows in found.items():
            cells = " | ".join(f"{x:.1f}" for x in np.median(rows, axis=0))
            print(f"| {name} | {which} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
