"""Do trained time constants help? Delayed XOR over short and long delays, and Braille from good and from bad
ones.

    python experiments/time_constants.py [--seeds 2] [--out runs/experiment-time-constants]

Trains the configurations of both tasks with time constants fixed and trained (membranes: one a neuron;
synapses: one a kind), everything else equal, and prints a table of accuracy and learned values. Finished runs
are read, not run again.
"""

import argparse
from pathlib import Path

import numpy as np

from spikejax.configuration import load
from spikejax.jobs.run import trained
from spikejax.jobs.train import finished_run
from spikejax.parameters import resolve

CONFIGS = Path(__file__).parent.parent / "configs"
FIELDS = '["weight", "bias", "tau_mem", "tau_syn"]'
XOR = [("training.steps", "600"), ("task.held_out", "[240, 600]")]
XOR_TRAINED = [
    ("training.trainable", FIELDS),
    ("training.learning_rate_scale.tau_mem", "3.0"),
    ("training.learning_rate_scale.tau_syn", "3.0"),
]
TASKS = {
    "XOR, delays to 100 ms": (
        "delayed_xor",
        [*XOR, ("task.delays", "[20.0, 100.0]"), ("task.buckets", "[100.0]"), ("task.odds", "[1.0]")],
    ),
    "XOR, delays to 700 ms": ("delayed_xor", XOR),
    "Braille, tau_mem 100, tau_syn 50 and 200": ("braille", []),
    "Braille, tau_mem 20, tau_syn 15 and 40": (
        "braille",
        [("network.layers.0.neuron.tau_mem", "20.0"), ("network.layers.0.synapse.tau_syn", "[15.0, 40.0]")],
    ),
}
VARIANTS = {"fixed": {}, "trained": {"delayed_xor": XOR_TRAINED, "braille": [("training.trainable", FIELDS)]}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/experiment-time-constants"))
    parser.add_argument("--only", default="", help="run the tasks whose name contains this")
    args = parser.parse_args()
    print(
        "| task | time constants | accuracy, smooth | hard | tau_mem: mean (10 % to 90 %), ms | tau_syn, ms "
        "|\n|---|---|---|---|---|---|"
    )
    for name, (config_name, changes) in TASKS.items():
        if args.only not in name:
            continue
        for variant, more in VARIANTS.items():
            scores, mem, syn = [], [], []
            for seed in range(args.seeds):
                folder = args.out / f"{name.replace(', ', '-').replace(' ', '_')}-{variant}-{seed}"
                config = load(
                    CONFIGS / f"{config_name}.toml",
                    [*changes, *more.get(config_name, []), ("seed", str(seed))],
                )
                summary = finished_run(config, folder, progress=False)
                scores.append([summary[gate]["accuracy"] for gate in ("smooth", "hard")])
                layer = resolve(trained(folder)[1]).layers[0]
                mem.append(np.asarray(layer.neuron.tau_mem))
                syn.append(np.asarray(layer.synapse.tau_syn).reshape(-1))
            cells = [f"{np.mean(s):.3f} ({', '.join(f'{v:.3f}' for v in s)})" for s in np.transpose(scores)]
            low, high = np.quantile(np.concatenate(mem), (0.1, 0.9))
            decays = ", ".join(f"{t:.1f}" for t in np.mean(syn, axis=0))
            taus = f"{np.mean(mem):.1f} ({low:.1f} to {high:.1f}) | {decays}"
            print(f"| {name} | {variant} | {cells[0]} | {cells[1]} | {taus} |", flush=True)


if __name__ == "__main__":
    main()
