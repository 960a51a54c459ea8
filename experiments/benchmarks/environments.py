"""The peers, each in a virtual environment of its own, as their versions are at odds with one another.

    python -m experiments.benchmarks.environments [NAME ...]

makes those that are missing, or the ones named, in `build/benchmark_environments`, with pip. A peer whose
environment is not there is left out of a run.
"""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "build" / "benchmark_environments"
TORCH = "torch==2.13.0"
PACKAGES = {
    "spyx": ("spyx==1.0.0",),
    "jaxpike": ("jaxpike==0.1.4",),
    "brainpy": ("brainpy==2.8.2",),
    "snntorch": (TORCH, "snntorch==1.0.0", "numpy==2.4.6"),
    "norse": (TORCH, "norse==1.1.0"),
    "spikingjelly": (TORCH, "spikingjelly==2.0.0"),
    "eventax": ("eventax==0.1.0", "jax==0.10.2"),
}
"""What is installed for each peer. What they need in turn is pip's choice."""


def python_of(peer: str | None) -> Path:
    """The interpreter of a peer, whether it is there or not; None: the one that runs this."""
    if peer is None:
        return Path(sys.executable)
    below = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    return FOLDER.joinpath(peer, *below)


def make(peer: str) -> None:
    """Make the environment of a peer, as a whole or not at all."""
    venv.create(FOLDER / peer, with_pip=True, clear=True)
    done = subprocess.run([python_of(peer), "-m", "pip", "install", "-q", *PACKAGES[peer]])
    if done.returncode:
        shutil.rmtree(FOLDER / peer)
        sys.exit(f"{peer}: pip could not install {' '.join(PACKAGES[peer])}, as it says above")


def main() -> None:
    """Make what is asked for, or all that is missing."""
    asked = sys.argv[1:]
    unknown = [name for name in asked if name not in PACKAGES]
    if unknown:
        sys.exit(f"no peer of the name {unknown[0]!r}: choose from {', '.join(PACKAGES)}")
    for peer in asked or [name for name in PACKAGES if not python_of(name).exists()]:
        print(f"{peer}: {' '.join(PACKAGES[peer])}", flush=True)
        make(peer)


if __name__ == "__main__":
    main()
