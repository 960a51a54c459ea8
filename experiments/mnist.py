"""MNIST by the time of the first spike, from networks in which hardly a neuron fires before training:
``configs/mnist.toml`` beside a network of rates of the same size. The table of docs/spike_times.md.

    python experiments/mnist.py --train FILE --test FILE [--seeds 3] [--updates 6000] [--out FOLDER]

Files are those of `spikejax.tasks.MNIST`: images in the official layout, or .npz with x and y. Accuracies are
with pseudospikes, and of spikes within the trial alone. Finished runs are read; interrupted ones go on.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from event_tasks import CONFIGS, WAYS, percents, shown_values, silent_at

from spikejax.configuration import build_task, load
from spikejax.jobs.train import finished_run


def rates(task, seed: int, updates: int, batch: int, sizes: tuple[int, ...]) -> float:
    """Test accuracy of a network of rectified linear units of these sizes, trained on the same batches; of
    its best state on the validation images."""
    keys = jax.random.split(jax.random.key(seed), len(sizes) - 1)
    params = [
        ((2 / a) ** 0.5 * jax.random.normal(key, (a, b)), jnp.zeros(b))
        for key, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]

    def logits(params, x):
        x = x.reshape(len(x), -1)
        for k, (weight, bias) in enumerate(params):
            x = (x if not k else jax.nn.relu(x)) @ weight + bias
        return x

    cross = optax.losses.softmax_cross_entropy_with_integer_labels
    optimiser = optax.adam(optax.cosine_decay_schedule(2e-3, updates))

    @jax.jit
    def step(params, state, x, y):
        gradient = jax.grad(lambda p: cross(logits(p, x), y).mean())(params)
        change, state = optimiser.update(gradient, state)
        return optax.apply_updates(params, change), state

    def right(params, name):
        trials = task.split(name)
        return float(jnp.mean(jnp.argmax(logits(params, trials.stimulus), -1) == trials.label))

    state, best = optimiser.init(params), (-1.0, params)
    for i in range(updates):
        trials = task.batch(jax.random.key(seed), i, batch)
        params, state = step(params, state, trials.stimulus, trials.target)
        if (i + 1) % 400 == 0 or i + 1 == updates:
            best = max(best, (right(params, "validation"), params), key=lambda pair: pair[0])
    return right(best[1], "test")


def mnist(seeds: int, updates: int, train: str, test: str, out: Path) -> None:
    """Table of the runs, beside networks of rates of the same size on the same images."""
    given = [("task.train", train), ("task.test", test), ("training.steps", str(updates))]
    runs, others, silence = [], [], []
    for seed in range(seeds):
        config = load(CONFIGS / "mnist.toml", [*given, ("seed", str(seed))])
        folder, task = out / f"mnist-{seed}", build_task(config)
        runs.append(finished_run(config, folder))
        silence.append([silent_at(folder, k) for k in (0, -1)])
        pixels = int(np.prod(task.channels))
        sizes = (pixels, *(one.size for one in config.network.layers))
        others.append(rates(task, seed, updates, config.training.batch, sizes))
    print("| network | test accuracy, % |\n|---|---|")
    for way, name in WAYS.items():
        print(f"| spiking, {name} | {shown_values([run[way]['accuracy'] for run in runs])} |")
    print(f"| rates, of the same size | {shown_values(others)} |")
    before, after = np.mean(silence, axis=0)
    print(
        f"\nsilent neurons, layer by layer: {percents(before)} % before, {percents(after)} % after training"
    )
    minutes = np.mean([run["training_minutes"] for run in runs])
    print(f"training: {minutes:.1f} minutes a seed", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", required=True, help="file of images, or .npz with x and y")
    parser.add_argument("--test", required=True, help="the same of the test split")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=6000)
    parser.add_argument("--out", type=Path, default=Path("runs/experiment-mnist"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    mnist(args.seeds, args.updates, args.train, args.test, args.out)


if __name__ == "__main__":
    main()
