"""Braille letters: the smooth gate, the hard threshold and the surrogate gradient on the same network; a
linear reader of the same spikes.

    python experiments/braille.py [--seeds 3] [--out runs/experiment-braille]

Trains ``configs/braille.toml`` for several seeds by charge release with and without damping of the costate,
the latter also with a gate that gets sharper, and by surrogate gradients (the same kernel, wide enough for a
peak of 1, and the fast sigmoid; damped alike), everything else equal, and prints a table of test accuracies:
mean, and each seed. Finished runs are read, not run again; interrupted ones go on.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from spikejax.configuration import load
from spikejax.jobs.train import finished_run
from spikejax.tasks import Braille

CONFIG = Path(__file__).parent.parent / "configs" / "braille.toml"
VARIANTS = {
    "charge, damped costate": [],
    "charge, exact gradient": [("adjoint.damping", "0.0")],
    "charge, exact gradient, a = 1 to 10": [("adjoint.damping", "0.0"), ("gate.sharpness_end", "10.0")],
    "surrogate, raised cosine of peak 1": [
        ("gate.release", "surrogate"),
        ("gate.width", "2.0"),
        ("gate.sharpness_end", "1.0"),
    ],
    "surrogate, fast sigmoid": [("gate.release", "surrogate"), ("gate.kernel", "fast_sigmoid")],
}


def linear_reader(windows: int) -> tuple[float, float]:
    """Train and test accuracy of multinomial logistic regression on spike counts in equal windows."""
    config = load(CONFIG)
    task = Braille(config.dt, thresholds=config.task.thresholds, clock=config.task.clock)

    def counts(x):
        parts = np.array_split(np.asarray(x, np.float32), windows, axis=1)
        return np.stack([part.sum(axis=1) for part in parts], axis=1).reshape(len(x), -1)

    right = logistic_regression(
        {name: counts(stimulus) for name, stimulus in task.stimuli.items()}, task.targets, 27
    )
    return right["train"], right["test"]


def logistic_regression(x: dict[str, np.ndarray], y: dict[str, jax.Array], classes: int) -> dict[str, float]:
    """Accuracy by split (train, validation, test) of multinomial logistic regression, its L2 penalty chosen
    on validation."""
    mean, std = x["train"].mean(0), x["train"].std(0) + 1e-3
    x = {name: jnp.asarray((a - mean) / std) for name, a in x.items()}
    best = {"validation": -1.0}
    for penalty in (1e-4, 1e-3, 1e-2):

        def loss(p, penalty=penalty):
            cross = optax.losses.softmax_cross_entropy_with_integer_labels(
                x["train"] @ p["w"] + p["b"], y["train"]
            ).mean()
            return cross + penalty * jnp.sum(p["w"] ** 2)

        p = {"w": jnp.zeros((x["train"].shape[1], classes)), "b": jnp.zeros(classes)}
        solver = optax.lbfgs()

        def step(carry, _, loss=loss, solver=solver):
            p, state = carry
            value, grad = optax.value_and_grad_from_state(loss)(p, state=state)
            updates, state = solver.update(grad, state, p, value=value, grad=grad, value_fn=loss)
            return (optax.apply_updates(p, updates), state), None

        (p, _), _ = jax.jit(lambda c, step=step: jax.lax.scan(step, c, None, length=150))((p, solver.init(p)))
        right = {name: float(jnp.mean(jnp.argmax(x[name] @ p["w"] + p["b"], -1) == y[name])) for name in x}
        best = max(best, right, key=lambda r: r["validation"])
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/experiment-braille"))
    args = parser.parse_args()

    rows = []
    for name, overrides in VARIANTS.items():
        summaries = []
        for seed in range(args.seeds):
            folder = args.out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            summaries.append(finished_run(load(CONFIG, [*overrides, ("seed", str(seed))]), folder))
        cells = []
        for gate in ("smooth", "hard"):
            values = [s[gate]["accuracy"] for s in summaries]
            cells.append(f"{np.mean(values):.3f} ({', '.join(f'{v:.3f}' for v in values)})")
        if "surrogate" in name:
            cells[0] = "the same"
        minutes = np.mean([s["training_minutes"] for s in summaries])
        rows.append(
            f"| {name} | {cells[0]} | {cells[1]} | {np.mean([s['hard']['rate/0'] for s in summaries]):.1f} | "
            f"{minutes:.1f} |"
        )
    print("\n| gradient | test accuracy, smooth: mean (seeds) | hard threshold | rate, Hz | minutes |")
    print("|---|---|---|---|---|")
    print("\n".join(rows))
    for windows in (1, 8):
        train, test = linear_reader(windows)
        print(
            f"| linear reader of the input spikes, counts in {windows} time bin(s) (train {train:.3f}) | | "
            f"{test:.3f} | | |"
        )


if __name__ == "__main__":
    main()
