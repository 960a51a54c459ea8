"""What the sharpness of the gate does to training: the sweeps of shape x sharpness x seeds, and why it gets
hard where it does.

    python experiments/sharpness.py [--tasks predictive_coding braille delayed_xor] [--out runs]

Set ``OPENBLAS_NUM_THREADS=1``, or threads that share small matrices wait for each other for an hour. Runs
``configs/sharpness_TASK.toml`` (a finished sweep in --out is read), and prints the tables of
docs/sharpness.md: means over seeds, with the range in brackets where there is room. Of every trained network,
on 16 test trials with the gate that it was trained with:

- *in one step*: the share of the charge that is released by crossings of the whole active zone within one
  time step. The gradient knows of these by their time alone, not by the gate's density;
- *exponent*: the largest Lyapunov exponent of the first trial, 1/s. Above 0, small differences grow, and so
  do gradients back in time.
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from spikejax import ClockDriven
from spikejax.analysis.linearisation import growth, jacobians
from spikejax.analysis.record import record
from spikejax.configuration import build_noise, load
from spikejax.jobs.run import trained
from spikejax.jobs.sweep import Point, load_sweep, sweep_run
from spikejax.tasks.base import first_trials
from spikejax.training.checkpoint import CheckpointError

ROOT = Path(__file__).parent.parent
TASKS = ("predictive_coding", "braille", "delayed_xor")
WHOLE = 0.99
"""Charge of a step from which on it counts as all of a crossing."""


def causes(folder: Path, trials: int = 16) -> dict[str, float]:
    """The two measures of a trained network, which are kept in its folder."""
    file = folder / "causes.json"
    if not file.exists():
        try:
            run, network, config = trained(folder)
        except (CheckpointError, FileNotFoundError):
            return {"at once": np.nan, "exponent": np.nan}
        batch = first_trials(run.task.parts("test"), trials)
        simulator = ClockDriven(run.final_gate, config.dt)
        recording = record(network, batch, simulator, noise=build_noise(config))
        q = recording.release[recording.mask]
        one = jax.tree.map(lambda x: x[0], batch)
        steps = len(one.stimulus) if one.mask is None else int(np.sum(one.mask))
        jacobian = np.asarray(jacobians(network, one.stimulus[:steps], simulator), float)
        exponent = float(growth(jacobian, config.dt)[0]) if np.isfinite(jacobian).all() else np.nan
        up = q[q > 0]
        at_once = float(up[up > WHOLE].sum() / up.sum()) if up.size else np.nan
        file.write_text(json.dumps({"at once": at_once, "exponent": exponent}))
    return json.loads(file.read_text())


def mean(values: list[float], digits: int = 3) -> str:
    """Mean and range, as text; of the finite ones."""
    x = np.array([v for v in values if v is not None], float)
    x = x[np.isfinite(x)]
    if not x.size:
        return "-"
    return (
        f"{x.mean():.{digits}g} [{x.min():.{digits}g}, {x.max():.{digits}g}]"
        if x.size > 1
        else f"{x.mean():.{digits}g}"
    )


def table(points: list[Point], rows: list[dict], folder: Path) -> None:
    """A line for every shape and sharpness."""
    score = "accuracy" if "smooth accuracy" in rows[0] else "error"
    print(
        f"| gate | sharpness | {score}, smooth | {score}, hard | rate (Hz) | silent | gradient norm | noise "
        "| secant/gradient | lost |",
        end="",
    )
    print(" in one step | exponent (1/s) |")
    print("|" + "---|" * 12)
    groups = dict.fromkeys((p.values["gate.kernel"], p.values["gate.sharpness"]) for p in points)
    for key in groups:
        own = [
            i for i, p in enumerate(points) if (p.values["gate.kernel"], p.values["gate.sharpness"]) == key
        ]
        why = [causes(folder / "points" / points[i].name) for i in own]
        column = lambda name: [rows[i][name] for i in own]
        cells = [
            key[0],
            f"{key[1]:g}",
            mean(column(f"smooth {score}")),
            mean(column(f"hard {score}")),
            f"{np.mean(column('smooth rate (Hz)')):.0f}",
            f"{np.mean(column('silent')):.2f}",
            mean(column("gradient norm"), 2),
            f"{np.mean(column('gradient noise')):.2g}",
            mean(column("gradient agreement"), 2),
            f"{sum(bool(rows[i]['lost']) for i in own)} of {len(own)}",
            f"{np.nanmean([w['at once'] for w in why]):.2f}",
            mean([w["exponent"] for w in why], 2),
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Read the command line, run what is missing, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    args = parser.parse_args()
    for task in args.tasks:
        points = load_sweep(ROOT / "configs" / f"sharpness_{task}.toml")
        folder = args.out / f"sharpness_{task}"
        rows = sweep_run(points, folder)
        minutes = sum(
            json.loads((folder / "points" / p.name / "summary.json").read_text())["training_minutes"] or 0
            for p in points
        )
        print(
            f"\n{task}, dt {load(folder / 'points' / points[0].name).dt:g} ms, {minutes:.0f} minutes of "
            "training\n"
        )
        table(points, rows, folder)


if __name__ == "__main__":
    main()
