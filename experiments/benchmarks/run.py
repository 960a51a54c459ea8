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
from .contestants import BASE, CONTESTANTS, EVERYONE
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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write all results here, as JSON")
    asked = parser.parse_args()
    names, absent = chosen(asked.contestants)
    if absent:
        print(
            f"without {', '.join(absent)}: python -m experiments.benchmarks.environments makes what they need"
        )
    references = sorted({CONTESTANTS[name].same_as for name in names} - {None})
    with tempfile.TemporaryDirectory() as folder:
        clients = {
            name: Client(name, Path(folder) / f"{i}.log") for i, name in enumerate([*references, *names])
        }
        results = {setting: run(setting, clients, asked.rounds, Path(folder)) for setting in asked.settings}
        for client in clients.values():
            client.close()
    print(f"\n{asked.rounds} rounds: CPU time by that of {BASE}, median (least to largest)\n")
    print(overview(results, BASE))
    for setting, found in results.items():
        print(f"\n{setting}: {SETTINGS[setting]}\n\n{details(found, BASE)}")
    notes = [f"- {name}: {CONTESTANTS[name].differs}" for name in names if CONTESTANTS[name].differs]
    if notes:
        print("\nNot the same model:\n\n" + "\n".join(notes))
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
    results = {name: built(setting, name, clients[name], problem, folder) for name in clients}
    for name, result in results.items():
        if name in CONTESTANTS and "error" not in result:
            result |= judged(setting, name, results)
    results = {name: result for name, result in results.items() if name in CONTESTANTS}
    take_times(results, clients, rounds)
    for result in results.values():
        result.pop("gradients", None)
    return results


def built(setting: str, name: str, client: Client, problem: Path, folder: Path) -> Result:
    """What a worker says of its build, with the gradients."""
    begun, gradients = time.perf_counter(), folder / "gradients.npz"
    asked = {"setting": setting, "problem": str(problem), "gradients": str(gradients)}
    result = client.ask(PATIENCE, do="build", **asked)
    if "error" in result:
        said = result["error"]
        result["log"] = Path(client.log.name).read_text()[-4000:]
    else:
        with np.load(gradients) as found:
            result["gradients"] = dict(found)
        norms = (f"|d {key}| {value:.4g}" for key, value in result["norms"].items())
        said = f"loss {result['loss']:.7g}, {', '.join(norms)}"
    print(f"{setting}: {name}: {said} ({time.perf_counter() - begun:.0f} s)", flush=True)
    return result


def judged(setting: str, name: str, results: dict[str, Result]) -> Result:
    """How far a contestant is from the loop that computes the same, and an error if that is too far. One that
    computes what no loop here does is compared with the base."""
    contestant, own = EVERYONE[name], results[name]
    true = results[contestant.same_as or BASE]
    if "error" in true:
        return {"error": "there is nothing to compare it with"}
    apart = difference(own["loss"], own["gradients"], true["loss"], true["gradients"])
    result: Result = {"difference": list(apart)}
    same = apart.same(SETTINGS[setting].steps)
    if not same and (contestant.same_as or not contestant.differs):
        result["error"] = f"another model: loss off by {apart.loss:.0e}, gradient by {apart.gradient:.0e}"
    return result


def take_times(results: dict[str, Result], clients: dict[str, Client], rounds: int) -> None:
    """One step of everybody in every round."""
    running = [name for name in results if "error" not in results[name]]
    for name in running:
        results[name] |= {"cpu_s": [], "wall_s": []}
    for k in range(rounds + 1):
        # The first round is left out. Nobody always comes right after the same one.
        first = k % max(1, len(running))
        for name in running[first:] + running[:first]:
            timed = clients[name].ask(PATIENCE, do="time", steps=1)
            if "error" in timed:
                results[name]["error"] = timed["error"]
            elif k:
                for clock in ("cpu_s", "wall_s"):
                    results[name][clock] += timed[clock]
                results[name]["traces"] = timed["traces"]
        running = [name for name in running if "error" not in results[name]]


if __name__ == "__main__":
    main()
