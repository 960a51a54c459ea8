"""CPU time of a gradient step: spikejax beside loops written by hand and other libraries, all in one run.

    python -m experiments.benchmarks.environments                           (once: the peers, by pip)
    python -m experiments.benchmarks.run --settings ff rec long             (8 minutes on 2 cores)
    python -m experiments.benchmarks.run --settings huge
    python -m experiments.benchmarks.run --settings conv

Every contestant is a process of its own (`worker`). Loss and gradient are compared with those of the plain
loop first; then each runs one step in every round. The ratio of two times of a round does not depend much on
how busy the machine is.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from . import environments
from .client import Client
from .compare import difference
from .contestants import BASE, CONTESTANTS
from .settings import SETTINGS, draw, store
from .table import Result, details, overview

PATIENCE = 240.0
"""Seconds that a build may take, or a step."""


def main() -> None:
    """Run what is asked for and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=["ff", "rec", "long"])
    parser.add_argument(
        "--contestants", nargs="+", metavar="NAME", help="words that names must contain one of"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="write all results here, as JSON")
    asked = parser.parse_args()
    names, absent = chosen(asked.contestants)
    if absent:
        print(
            f"without {', '.join(absent)}: python -m experiments.benchmarks.environments makes what they need"
        )
    with tempfile.TemporaryDirectory() as folder:
        clients = {name: Client(name, Path(folder) / f"{i}.log") for i, name in enumerate(names)}
        results = {setting: run(setting, clients, asked.rounds, Path(folder)) for setting in asked.settings}
        for client in clients.values():
            client.close()
    print(f"\n{asked.rounds} rounds: CPU time by that of {BASE}, median (least to largest)\n")
    print(overview(results, BASE))
    for setting, found in results.items():
        print(f"\n{setting}: {SETTINGS[setting]}\n\n{details(found, BASE)}")
    notes = [f"- {name}: {CONTESTANTS[name].differs}" for name in names if CONTESTANTS[name].differs]
    print("\nNot the same model:\n\n" + "\n".join(notes) if notes else "")
    if asked.out:
        asked.out.write_text(json.dumps(results, indent=1))


def chosen(words: list[str] | None) -> tuple[list[str], list[str]]:
    """The contestants asked for, the base among them: those that can run, and those without their
    environment."""
    asked = [n for n in CONTESTANTS if not words or n == BASE or any(word in n for word in words)]
    there = lambda name: environments.python_of(CONTESTANTS[name].environment).exists()
    return [name for name in asked if there(name)], [name for name in asked if not there(name)]


def run(setting: str, clients: dict[str, Client], rounds: int, folder: Path) -> dict[str, Result]:
    """Build a setting everywhere, compare, and take the times."""
    problem = folder / f"{setting}.npz"
    store(draw(SETTINGS[setting]), problem)
    results: dict[str, Result] = {}
    true = None
    for i, (name, client) in enumerate(clients.items()):
        begun, gradients = time.perf_counter(), folder / f"{setting}_{i}.npz"
        asked = {"setting": setting, "problem": str(problem), "gradients": str(gradients)}
        result = client.ask(PATIENCE, do="build", **asked)
        if "error" not in result:
            with np.load(gradients) as found:
                mine = result["loss"], dict(found)
            true = true or mine
            result |= judged(name, difference(*mine, *true))
        elif client.log.name:
            result["log"] = Path(client.log.name).read_text()[-4000:]
        results[name] = result
        said = result.get("error") or "loss {loss:.6g}, ".format(**result) + ", ".join(
            f"|d {key}| {value:.4g}" for key, value in result["norms"].items()
        )
        print(f"{setting}: {name}: {said} ({time.perf_counter() - begun:.0f} s)", flush=True)
    running = [name for name in clients if "error" not in results[name]]
    for name in running:
        results[name] |= {"cpu_s": [], "wall_s": []}
    for k in range(rounds + 1):
        # The first round is left out. Nobody always comes right after the same one.
        for name in running[k % len(running) :] + running[: k % len(running)]:
            timed = clients[name].ask(PATIENCE, do="time", steps=1)
            if "error" in timed:
                results[name]["error"] = timed["error"]
            elif k:
                for clock in ("cpu_s", "wall_s"):
                    results[name][clock] += timed[clock]
                results[name]["traces"] = timed["traces"]
        running = [name for name in running if "error" not in results[name]]
    return results


def judged(name: str, found) -> Result:
    """The difference of a contestant, and an error where it is to be none and there is one."""
    result: Result = {"difference": list(found), "same": found.same}
    if not found.same and not CONTESTANTS[name].differs:
        result["error"] = f"not the model: loss off by {found.loss:.0e}, gradient by {found.gradient:.0e}"
    return result


if __name__ == "__main__":
    main()
