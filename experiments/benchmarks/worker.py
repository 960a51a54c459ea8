"""One contestant in a process and an environment of its own: reads requests, a line of JSON each, and answers
with one.

    {"do": "build", "setting": "ff", "problem": FILE, "gradients": FILE}
        -> {"loss": .., "norms": {..}, "compile_s": .., "temporaries_mib": .., "traces": .., "first_s": ..}
           (the gradients themselves are in the file)
    {"do": "time", "steps": 3} -> {"cpu_s": [..], "wall_s": [..], "traces": ..}

CPU time is that of the process with all its threads.
"""

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from .contestants import EVERYONE
from .settings import SETTINGS, load


class Worker:
    """Answers requests."""

    def __init__(self, name: str):
        self.contestant = EVERYONE[name]
        self.built = None

    def build(self, setting: str, problem: str, gradients: str) -> dict:
        """Build a setting, run it once, and write the gradients."""
        self.built = None  # frees the one before
        begun = time.perf_counter()
        model = importlib.import_module(f".models.{self.contestant.module}", __package__)
        # What is none of the settings is the arrays of another benchmark, by their names.
        given = load(setting, Path(problem)) if setting in SETTINGS else dict(np.load(problem))
        self.built = model.build(given, **self.contestant.options)
        loss, found = self.built.result(self.built.step())
        np.savez(gradients, **found)
        norms = {name: float(np.linalg.norm(g)) for name, g in found.items()}
        whole = {"loss": loss, "norms": norms, "first_s": time.perf_counter() - begun}
        return whole | self.built.facts | {"traces": self.built.traces()}

    def time(self, steps: int) -> dict:
        """Run steps."""
        cpu, wall = [], []
        for _ in range(steps):
            begun, by_clock = time.process_time(), time.perf_counter()
            self.built.step()
            cpu.append(time.process_time() - begun)
            wall.append(time.perf_counter() - by_clock)
        return {"cpu_s": cpu, "wall_s": wall, "traces": self.built.traces()}


def main() -> None:
    """Answer until there are no more requests."""
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
