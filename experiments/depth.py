"""Networks of 2 to 16 layers on Braille letters: the gradient from the last layer to the first, and what they
learn, with and without calibrated rates and a balanced scale of the surrogate.

    python experiments/depth.py [--depths 2 4 8 12 16] [--seeds 2] [--steps 150] [--rate 5e-4]
                                [--out runs/experiment-depth]
    python experiments/depth.py --memory          what a gradient holds, by depth

Dense feed-forward layers of 128 LIF neurons whose time constants, 20 ms, are short enough for a signal to
pass 16 layers within a trial of 1.9 s. Prints a table of the ratio ``|W| |dL/dW|`` of the first to the last
layer in the new network, the range of the layers' rates, and accuracies with a hard threshold after the same
number of updates; draws them against depth. Finished rows are read from --out, not run again.
"""

import argparse
import json
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from spikejax import LIF, Checkpointed, ClockDriven, Costate, Exponential, Gate, Network, Surrogate, trainable
from spikejax.losses import CrossEntropy
from spikejax.plotting.style import page, save_figures
from spikejax.tasks import Braille
from spikejax.training import balance, calibrate, layer_gradients, make_evaluate, make_train_step, start

DT, WIDTH, RATE, BATCH = 12.5, 128, 15.0, 64
LOSS = CrossEntropy(windows=6)
SURROGATE = Surrogate(detach_reset=True)
VARIANTS = {
    "surrogate, new": (SURROGATE, False, False),
    "surrogate, rates": (SURROGATE, True, False),
    "surrogate, rates and scale": (SURROGATE, True, True),
    "surrogate with the reset, rates": (Surrogate(), True, False),
    "charge, rates": ("charge", True, False),
}
"""By name: release, whether rates are calibrated, whether the scale is balanced."""


def network(channels: int, outputs: int, depth: int, key) -> Network:
    """A stack of dense layers without recurrence."""
    neuron, synapse = LIF(tau_mem=20.0), Exponential(20.0)
    sizes = (WIDTH,) * depth
    return Network.dense(channels, sizes, outputs, neuron=neuron, synapse=synapse, recurrent=False, key=key)


def row(name: str, depth: int, seed: int, steps: int, rate: float) -> dict:
    """Ratio of gradients and rates of the new network, and accuracies of the trained one."""
    release, rates, scales = VARIANTS[name]
    task, begun = Braille(DT, seed=seed), time.perf_counter()
    keys = jax.random.split(jax.random.key(seed), 2)
    batch = task.batch(keys[1], 0, BATCH)
    simulator = ClockDriven(Gate(release=release), DT)
    model = network(task.channels, LOSS.outputs(task), depth, keys[0])
    if rates:
        model = calibrate(model, batch, RATE, simulator)
    if scales:
        simulator = balance(model, batch, simulator, LOSS)
    sizes = layer_gradients(model, batch, simulator, LOSS)
    params, fixed = eqx.partition(model, trainable(model))
    # Adam does not care how large a gradient is: what counts here is whether it is right and above rounding.
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps))
    step, state = make_train_step(fixed, LOSS, optimiser, warn=False), start(params, optimiser)
    losses, first = [], {}
    for i in range(steps):
        state, metrics = step(state, task.batch(keys[1], i, BATCH), simulator)
        first = first or {k: float(x) for k, x in metrics.items()}
        losses.append(float(metrics["loss"]))
    evaluate, trained = make_evaluate(LOSS, warn=False), eqx.combine(state.params, fixed)
    found = {
        split: evaluate(trained, task.parts(split), simulator.hard()).metrics["accuracy"]
        for split in ("train", "test")
    }
    own = [first[f"rate/{i}"] for i in range(depth)]
    scale = getattr(simulator.gate.release, "scale", None)
    return {
        "variant": name,
        "depth": depth,
        "seed": seed,
        "steps": steps,
        "rate": rate,
        "ratio": float(sizes[0] / sizes[-1]),
        "gradients": [float(x) for x in sizes],
        "rates": own,
        "scale": None if scale is None else np.asarray(scale, float).ravel().tolist(),
        "loss": losses,
        "minutes": (time.perf_counter() - begun) / 60,
        **found,
    }


def table(rows: list[dict]) -> None:
    """A line for every variant and depth: means over seeds, and each seed."""
    print("\n| variant | layers | gradient first/last | rates, Hz | train | test: mean (seeds) |")
    print("|---|---|---|---|---|---|")
    for name, depth in dict.fromkeys((r["variant"], r["depth"]) for r in rows):
        own = [r for r in rows if (r["variant"], r["depth"]) == (name, depth)]
        rates = [x for r in own for x in r["rates"]]
        ratio = np.exp(np.mean(np.log([max(r["ratio"], 1e-300) for r in own])))
        test = [r["test"] for r in own]
        print(
            f"| {name} | {depth} | {ratio:.2g} | {min(rates):.1f} to {max(rates):.1f} | "
            f"{np.mean([r['train'] for r in own]):.3f} | {np.mean(test):.3f} "
            f"({', '.join(f'{x:.3f}' for x in test)}) |"
        )


def figure(rows: list[dict]):
    """Gradients and accuracies against depth."""
    drawn, axes = page(1, 2, 7.5, 2.8)
    left, right = axes[0]
    for name in dict.fromkeys(r["variant"] for r in rows):
        depths = sorted({r["depth"] for r in rows if r["variant"] == name})
        of = lambda key, d, name=name: [r[key] for r in rows if (r["variant"], r["depth"]) == (name, d)]
        left.plot(depths, [np.exp(np.mean(np.log(of("ratio", d)))) for d in depths], "o-", label=name)
        right.plot(depths, [np.mean(of("test", d)) for d in depths], "o-", label=name)
    left.set(xlabel="layers", ylabel="gradient, first layer / last", yscale="log")
    right.set(xlabel="layers", ylabel="test accuracy, hard threshold", ylim=(0, 1))
    right.legend(fontsize=7)
    return drawn


def memory() -> None:
    """MiB of temporaries of a compiled gradient, 400 steps of 1 ms, batch 8, width 128, against depth."""
    adjoints = {
        "Costate()": Costate(),
        "Checkpointed(inner=Costate())": Checkpointed(inner=Costate()),
        "Checkpointed(5, inner=Costate())": Checkpointed(5, inner=Costate()),
        "Checkpointed(100, inner=Costate())": Checkpointed(100, inner=Costate()),
    }
    print("\n| adjoint | 2 layers | 4 | 8 | 16 |\n|---|---|---|---|---|")
    for name, adjoint in adjoints.items():
        print(f"| `{name}` | {' | '.join(f'{_temporaries(adjoint, n):.1f}' for n in (2, 4, 8, 16))} |")


def _temporaries(adjoint, depth: int) -> float:
    model, stimulus = network(32, 5, depth, jax.random.key(0)), jnp.ones((8, 400, 32))
    simulator = ClockDriven(Gate(), 1.0, adjoint)

    def loss(model, stimulus):
        return jnp.sum(jax.vmap(lambda x: jnp.sum(simulator(model, x).readout ** 2))(stimulus))

    compiled = jax.jit(jax.grad(loss)).lower(model, stimulus).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 2**20


def main() -> None:
    """Read the command line, run what is missing, print the table and draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depths", type=int, nargs="+", default=(2, 4, 8, 12, 16))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=tuple(VARIANTS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=150, help="updates of each")
    parser.add_argument("--rate", type=float, default=5e-4, help="learning rate of Adam, falling by a cosine")
    parser.add_argument("--out", type=Path, default=Path("runs/experiment-depth"))
    parser.add_argument("--memory", action="store_true", help="print the table of memory instead")
    args = parser.parse_args()
    if args.memory:
        memory()
        return
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for depth in args.depths:
        for seed in range(args.seeds):
            for name in args.variants:
                words = name.replace(",", "").replace(" ", "-")
                file = args.out / f"{words}-{depth}-{seed}-{args.steps}-{args.rate:g}.json"
                if not file.exists():
                    file.write_text(json.dumps(row(name, depth, seed, args.steps, args.rate)))
                rows.append(json.loads(file.read_text()))
                shown = {k: rows[-1][k] for k in ("ratio", "train", "test", "minutes")}
                print(f"{name}, {depth} layers, seed {seed}: {shown}", flush=True)
    table(sorted(rows, key=lambda r: (list(VARIANTS).index(r["variant"]), r["depth"])))
    save_figures(args.out, {"depth": lambda: figure(rows)})


if __name__ == "__main__":
    main()
