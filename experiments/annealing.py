"""Ways to train through a sharp gate, judged at a hard threshold; and what damping and clipping of the
costate do to the gradient.

    python experiments/annealing.py [--out runs]

Runs ``configs/annealing.toml`` (a finished sweep in --out is read), and prints the tables of
docs/sharpness.md: one of the ways, means over seeds with the range in brackets; and one of the gradient of
the network that was trained by the exact gradient at a = 30 (seed 0), and of its initialisation, for
several damping and clipping of the costate: the cosine with the exact gradient (the bias) and the variance
over trials relative to the squared norm (the batch at which noise and gradient are equally large).
"""

import argparse
import json
from pathlib import Path

import equinox as eqx

from spikejax import ClockDriven
from spikejax.adjoints import Costate
from spikejax.analysis.gradients import gradient_report
from spikejax.jobs.run import trained
from spikejax.jobs.sweep import load_sweep, sweep_run

from sharpness import mean  # isort: skip

CONFIG = Path(__file__).parent.parent / "configs" / "annealing.toml"
SHARP = "exact, a = 30"
DAMPED = [(None, None), (0.03, None), (0.1, None), (0.3, None), (None, 1e-3), (0.1, 1e-3)]


def ways(points, rows) -> None:
    """A line for every way, from the lowest mean error at hard threshold."""
    print("| way | error, smooth | error, hard | rate (Hz) | silent | lost |\n|---|---|---|---|---|---|")
    lines = []
    for name in dict.fromkeys(p.values["name"] for p in points):
        own = [row for p, row in zip(points, rows, strict=True) if p.values["name"] == name]
        hard = [row["hard error"] for row in own]
        cells = [
            name,
            mean([row["smooth error"] for row in own], 2),
            mean(hard, 2),
            f"{sum(row['hard rate (Hz)'] for row in own) / len(own):.0f}",
            f"{sum(row['silent'] for row in own) / len(own):.2f}",
            f"{sum(bool(row['lost']) for row in own)} of {len(own)}",
        ]
        lines.append((sum(hard) / len(hard), "| " + " | ".join(cells) + " |"))
    print("\n".join(line for _, line in sorted(lines)))


def damped(folder: Path) -> None:
    """Bias and noise of the gradient on 64 held-out trials."""
    run, network, config = trained(folder)
    trials = run.task.split("validation")

    @eqx.filter_jit
    def report(network, gate, adjoint):
        return gradient_report(network, trials, run.loss, ClockDriven(gate, config.dt, adjoint))

    print(
        "| network | sharpness | damping per ms | clip | norm | cosine with the exact gradient | noise "
        "|\n|---|---|---|---|---|---|---|"
    )
    for where, one in (("initial", run.network), ("trained", network)):
        for sharpness in (1.0, 5.0, 30.0):
            for damping, clip in DAMPED:
                found = report(one, run.final_gate.sharpen(sharpness), Costate(damping=damping, clip=clip))
                shown = " | ".join("-" if x is None else f"{x:g}" for x in (damping, clip))
                numbers = f"{found.norm:.2g} | {found.alignment:.2f} | {found.noise:.2g}"
                print(f"| {where} | {sharpness:g} | {shown} | {numbers} |", flush=True)


def main() -> None:
    """Read the command line, run what is missing, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs"))
    args = parser.parse_args()
    points, folder = load_sweep(CONFIG), args.out / "annealing"
    rows = sweep_run(points, folder)
    each = [
        json.loads((folder / "points" / p.name / "summary.json").read_text())["training_minutes"] or 0
        for p in points
    ]
    print(f"{sum(each):.0f} minutes of training\n")
    ways(points, rows)
    print()
    damped(folder / "points" / next(p.name for p in points if p.values["name"] == SHARP))


if __name__ == "__main__":
    main()
