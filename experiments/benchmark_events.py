"""What the product of lists of events with weights costs, and its gradient, by every path.

    python experiments/benchmark_events.py [ROUNDS]

CPU time in ms, the median over rounds in which the paths take turns, and which of them is taken by itself.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from spikejax import Events
from spikejax.event_path import FORMS
from spikejax.event_product import event_product, explain_product

SETTINGS = {
    "128 trials, 100 steps, 700-256": (128, 100, 700, 1450, 256),
    "32 trials, 300 steps, 2312-512": (32, 300, 2312, 4300, 512),
    "64 trials, 100 steps, 140-10": (64, 100, 140, 700, 10),
}
"""Trials, steps, channels, events of a trial, and outputs."""
PATHS = tuple(form for form in FORMS if form not in ("auto", "events"))


@jax.jit
def product(events, weight):
    return jax.vmap(event_product, (0, None))(events, weight)


@jax.jit
def gradient(events, weight, cotangent):
    run = lambda w: jax.vmap(event_product, (0, None))(events, w)
    return jax.linear_transpose(run, weight)(cotangent)[0]


def main(rounds: int) -> None:
    rng = np.random.default_rng(0)
    for name, (trials, steps, channels, count, outputs) in SETTINGS.items():
        step = np.sort(rng.integers(0, steps, (trials, count)))
        events = Events(step, rng.integers(0, channels, step.shape), steps=steps, channels=channels)
        weight = jnp.asarray(rng.normal(size=(channels, outputs)), jnp.float32)
        cotangent = jnp.asarray(rng.normal(size=(trials, steps, outputs)), jnp.float32)
        taken = {path: [[], []] for path in PATHS}
        for turn in range(rounds + 1):
            for path in PATHS:
                given = events.by(path)
                for times, run in zip(
                    taken[path],
                    (lambda e=given: product(e, weight), lambda e=given: gradient(e, weight, cotangent)),
                    strict=True,
                ):
                    begun = time.process_time()
                    jax.block_until_ready(run())
                    if turn:  # the first one compiles
                        times.append(1e3 * (time.process_time() - begun))
        print(f"\n{name}\n{explain_product(events, outputs)}\n\n| path | product | gradient |\n|---|---|---|")
        for path, (forward, back) in taken.items():
            print(f"| {path} | {np.median(forward):.2f} | {np.median(back):.2f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
