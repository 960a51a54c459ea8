"""The driver's end of a worker."""

import contextlib
import json
import os
import selectors
import subprocess
from pathlib import Path
from typing import Any

from .contestants import EVERYONE
from .environments import python_of

ROOT = Path(__file__).parents[2]


class Client:
    """A worker that runs; an answer that is too late ends it."""

    def __init__(self, name: str, log: Path):
        environment = EVERYONE[name].environment
        # Compilations are timed, so that none comes from a cache; the packages of a peer are its own.
        without = {"JAX_COMPILATION_CACHE_DIR"} | ({"PYTHONPATH"} if environment else set())
        environ = {key: value for key, value in os.environ.items() if key not in without}
        # A thread of PyTorch's that waits for another would count as one that computes.
        environ["OMP_WAIT_POLICY"] = "PASSIVE"
        self.log = log.open("w")
        self.process: Any = subprocess.Popen(
            [python_of(environment), "-m", f"{__package__}.worker", name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environ,
        )

    def ask(self, seconds: float, **request: Any) -> dict[str, Any]:
        """The answer to a request; ``{"error": ..}`` where there is none within so many seconds."""
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"error": "its process has ended"}
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            if not ready.select(seconds):
                self.process.kill()
                return {"error": f"no answer within {seconds:.0f} s"}
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "its process has ended"}

    def close(self) -> None:
        """End it."""
        # What an ended process has not read is lost.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()
