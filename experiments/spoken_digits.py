"""Spoken digits: recurrent and feed-forward networks, smooth gate and surrogate; a linear reader and rate
networks on the same spikes.

    python experiments/spoken_digits.py --folder FOLDER [--seeds 3] [--speakers] [--delays NAME ...
    --updates N] [--out runs/experiment-spoken-digits]

Trains ``configs/spoken_digits.toml`` on the recordings in FOLDER for several seeds: with and without
recurrence, by charge release and by surrogate gradients, and as rate networks (the same network with rates
``relu(v)`` in place of spikes, all else equal). Prints a table of test accuracies. With ``--speakers``: one
recurrent network for each speaker left out, and the figure ``speakers.png``. With ``--delays``: networks with
learned delays beside the same without and beside the fixed copies of the input. Finished runs are read, not
run again; interrupted ones go on.
"""

import argparse
import json
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
from braille import logistic_regression
from matplotlib.figure import Figure

from spikejax.configuration import (
    Config,
    batch_key,
    build,
    build_optimiser,
    build_task,
    learning_rate_schedule,
    load,
)
from spikejax.jobs.train import finished_run
from spikejax.parameters import trainable
from spikejax.plotting import STYLE
from spikejax.simulate import Solution

CONFIG = Path(__file__).parent.parent / "configs" / "spoken_digits.toml"
FEEDFORWARD = [("network.layers.0.recurrent", "false")]
SURROGATE = [("gate.release", "surrogate"), ("gate.width", "2.0"), ("gate.sharpness_end", "1.0")]
# Without recurrence a sharper gate can be trained through, and is needed: the network else reads partial
# charges, which a hard threshold does not release.
SHARPER = [*FEEDFORWARD, ("gate.sharpness_end", "5.0")]
# Without damping the gradient has heavy tails, and wants smaller updates and weak recurrence at the start.
EXACT = [("adjoint.damping", "0.0"), ("gate.sharpness_end", "30.0"), ("training.learning_rate", "1e-3")]
WEAK = [
    ("network.layers.0.recurrent.scale", "0.1"),
    ("training.learning_rate_scale.recurrent", "0.3"),
    ("gate.sharpness", "30.0"),
]
VARIANTS = {
    "recurrent, charge": [],
    "recurrent, surrogate": SURROGATE,
    "feed-forward, charge": SHARPER,
    "feed-forward, surrogate": [*FEEDFORWARD, *SURROGATE],
    "recurrent, exact gradient, a = 30": [*EXACT, *WEAK],
    "feed-forward, exact gradient, a = 1 to 30": [*FEEDFORWARD, *EXACT],
}
PLAIN = [("task.delays", "[0.0]")]
COPIES = [("task.delays", "[0.0, 0.0, 0.0, 0.0, 0.0]")]  # all prompt: the delays are the network's
TRAINED = ("training.trainable", '["weight", "bias", "delay"]')
# Of the factors that fit a parameter the longest name counts; delays are in ms: .4 ms an update at most.
SCALES = '{{ feedforward = 0.3, "{}delay" = 100.0 }}'
LEARNED = [TRAINED, ("training.learning_rate_scale", SCALES.format("feedforward."))]
LEARNED_BACK = [TRAINED, ("training.learning_rate_scale", SCALES.format("recurrent."))]
LEARNED_BOTH = [
    TRAINED,
    (
        "training.learning_rate_scale",
        '{ feedforward = 0.3, "feedforward.delay" = 100.0, "recurrent.delay" = 100.0 }',
    ),
]
RANGE = "longest = 200.0, initial = [0.0, 160.0]"
AXON = [("network.layers.0.feedforward", f'{{ kind = "delayed", {RANGE}, connection = {{ scale = 1.0 }} }}')]
LINES = [
    (
        "network.layers.0.feedforward",
        f'{{ kind = "delayed", lines = 5, {RANGE}, connection = {{ scale = 1.0 }} }}',
    )
]
SYNAPSE = [("network.layers.0.feedforward", f'{{ kind = "delayed_synapses", {RANGE}, scale = 1.0 }}')]
BACK = [
    (
        "network.layers.0.recurrent",
        '{ kind = "delayed", longest = 100.0, shortest = 20.0, connection = { scale = 0.5 } }',
    )
]
DELAYS = {
    "no delays": PLAIN,
    "fixed copies": [],
    "axons, fixed": [*PLAIN, *AXON],
    "axons, learned": [*PLAIN, *AXON, *LEARNED],
    "lines, learned": [*PLAIN, *LINES, *LEARNED],
    "synapses, fixed": [*PLAIN, *SYNAPSE],
    "synapses, learned": [*PLAIN, *SYNAPSE, *LEARNED],
    "five axons a band, fixed": [*COPIES, *AXON],
    "five axons a band, learned": [*COPIES, *AXON, *LEARNED],
    "five synapses a band, fixed": [*COPIES, *SYNAPSE],
    "five synapses a band, learned": [*COPIES, *SYNAPSE, *LEARNED],
    "recurrent axons, learned": [*PLAIN, *BACK, *LEARNED_BACK],
    "fixed copies, recurrent axons learned": [*BACK, *LEARNED_BACK],
    "five axons a band and recurrent axons, learned": [*COPIES, *AXON, *BACK, *LEARNED_BOTH],
    "feed-forward, no delays": [*PLAIN, *SHARPER],
    "feed-forward, fixed copies": SHARPER,
    "feed-forward, five axons a band, learned": [*COPIES, *SHARPER, *AXON, *LEARNED],
    "feed-forward, synapses, learned": [*PLAIN, *SHARPER, *SYNAPSE, *LEARNED],
}
RATES = {"recurrent, rates": [], "feed-forward, rates": FEEDFORWARD}


def linear_reader(config: Config, bands: int, bins: int) -> dict[str, float]:
    """Accuracy by split of logistic regression on counts in equal bands and time bins, from the same
    loader."""
    # The bands of the reader, not those of the network; the bins of the network are summed.
    task = build_task(
        config.model_copy(update={"task": config.task.model_copy(update={"delays": (0.0,), "bands": bands})})
    )
    x, y = {}, {}
    for name in ("train", "validation", "test"):
        counts = [
            np.asarray(part.stimulus).reshape(len(part.stimulus), bins, -1, bands).sum(axis=2)
            for part in task.parts(name)
        ]
        x[name], y[name] = np.concatenate(counts).reshape(-1, bins * bands), jnp.asarray(task.classes(name))
    return logistic_regression(x, y, task.outputs)


def rate_readout(network, x, dt: float):
    """Readout of ``tau_mem dv/dt = -v + U x + W s + b``, ``tau_k ds_k/dt = -s_k + relu(v)``: an activation of
    1 is a rate of 1."""
    (layer,) = network.layers
    tau = layer.synapse.tau_syn[:, None]
    slow, fast = jnp.exp(-dt / layer.neuron.tau_mem), jnp.exp(-dt / tau)

    def step(carry, drive):
        v, s = carry
        current = drive if layer.recurrent is None else drive + layer.recurrent(s)
        v = slow * v + (1 - slow) * current
        s = fast * s + (1 - fast) * jax.nn.relu(v)
        return (v, s), s

    start = jnp.zeros(layer.shape), jnp.zeros((len(tau), *layer.shape))
    _, s = jax.lax.scan(step, start, jax.vmap(layer.feedforward)(x) + layer.bias)
    return jax.vmap(network.readout.connection)(s) + network.readout.bias


def train_rates(config: Config, folder: Path) -> dict:
    """Train the rate network of a configuration as `spikejax.training.train` does a spiking one; returns and
    writes its summary."""
    run, t, begin = build(config), config.training, time.perf_counter()
    optimiser, key = build_optimiser(config), batch_key(config)
    learning_rate_at = learning_rate_schedule(config)
    params, fixed = eqx.partition(run.network, trainable(run.network, t.trainable))
    main = run.loss.parts[0] if hasattr(run.loss, "parts") else run.loss  # the others are of spikes

    def scores(params, trials):
        network = eqx.combine(params, fixed)

        def one(trial):
            readout = rate_readout(network, trial.stimulus, config.dt)
            return main(Solution(readout, (), (), None, jnp.asarray(len(readout) * config.dt)), trial)

        value, scalars = jax.vmap(one)(trials)
        return jnp.mean(value), scalars["accuracy"]

    @eqx.filter_jit
    def step(params, average, state, trials, lr):
        gradient, _ = jax.grad(scores, has_aux=True)(params, trials)
        updates, state = optimiser.update(gradient, state, params)
        params = optax.apply_updates(params, jax.tree.map(lambda u: lr * u, updates))
        average = jax.tree.map(lambda a, p: t.averaging * a + (1 - t.averaging) * p, average, params)
        return params, average, state

    judge = eqx.filter_jit(scores)

    def accuracy(params, name):
        return float(np.mean(np.concatenate([judge(params, part)[1] for part in run.task.parts(name)])))

    average, state, best = params, optimiser.init(params), (-1.0, params)
    for i in range(t.steps):
        trials = run.task.batch(key, i, t.batch)
        params, average, state = step(
            params, average, state, trials, jnp.asarray(learning_rate_at(i), jnp.float32)
        )
        if (i + 1) % t.evaluate_every == 0 or i + 1 == t.steps:
            score = accuracy(average, "validation")
            best = (score, average) if score >= best[0] else best
    found = {"accuracy": accuracy(best[1], "test")}
    summary = {
        "smooth": found,
        "validation": best[0],
        "training_minutes": round((time.perf_counter() - begin) / 60, 2),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def summary_of(name: str, config: Config, out: Path, train=None) -> dict:
    """The summary of a run, trained unless it is there."""
    folder = out / f"{name.replace(', ', '-').replace(' ', '-')}-{config.seed}"
    if train is None:
        return finished_run(config, folder)
    done = folder / "summary.json"
    return json.loads(done.read_text()) if done.exists() else train(config, folder)


def shown(values: list[float]) -> str:
    """Mean, standard deviation over the seeds, and each."""
    spread = np.std(values, ddof=min(1, len(values) - 1))
    return f"{np.mean(values):.3f} +- {spread:.3f} ({', '.join(f'{v:.3f}' for v in values)})"


def accuracies(given: list[tuple[str, str]], seeds: int, out: Path) -> None:
    """Print the table."""
    rows = []
    for name, overrides in VARIANTS.items():
        runs = [
            summary_of(name, load(CONFIG, [*given, *overrides, ("seed", str(seed))]), out)
            for seed in range(seeds)
        ]
        smooth, hard = (shown([s[gate]["accuracy"] for s in runs]) for gate in ("smooth", "hard"))
        rate, minutes = (
            np.mean([s["hard"]["rate/0"] for s in runs]),
            np.mean([s["training_minutes"] for s in runs]),
        )
        rows.append(
            f"| {name} | {'the same' if 'surrogate' in name else smooth} | {hard} | {rate:.1f} | "
            f"{minutes:.1f} |"
        )
    for name, overrides in RATES.items():
        runs = [
            summary_of(name, load(CONFIG, [*given, *overrides, ("seed", str(seed))]), out, train_rates)
            for seed in range(seeds)
        ]
        minutes = np.mean([s["training_minutes"] for s in runs])
        rows.append(
            f"| {name} (no spikes) | {shown([s['smooth']['accuracy'] for s in runs])} | | | {minutes:.1f} |"
        )
    for bands, bins in ((70, 1), (70, 10), (35, 10)):
        right = linear_reader(load(CONFIG, given), bands, bins)
        rows.append(
            f"| logistic regression, {bands} bands x {bins} time bin(s) (train {right['train']:.3f}) | "
            f"{right['test']:.3f} | | | |"
        )
    print("\n| network | test accuracy, smooth: mean +- std (seeds) | hard threshold | rate, Hz | minutes |")
    print("|---|---|---|---|---|")
    print("\n".join(rows), flush=True)


def delays(names: list[str], given: list[tuple[str, str]], seeds: int, out: Path) -> None:
    """Print the table of networks with delays and without."""
    rows = []
    for name in names:
        runs = [
            summary_of(f"delays-{name}", load(CONFIG, [*given, *DELAYS[name], ("seed", str(seed))]), out)
            for seed in range(seeds)
        ]
        smooth, hard = (shown([s[gate]["accuracy"] for s in runs]) for gate in ("smooth", "hard"))
        rate = np.mean([s["hard"]["rate/0"] for s in runs])
        rows.append(f"| {name} | {smooth} | {hard} | {rate:.1f} |")
        print(rows[-1], flush=True)
    print("\n| network | test accuracy, smooth: mean +- std (seeds) | hard threshold | rate, Hz |")
    print("|---|---|---|---|")
    print("\n".join(rows), flush=True)


def speakers(given: list[tuple[str, str]], out: Path) -> None:
    """Accuracy on each speaker when trained on the others; all recordings of the speaker are tested."""
    task = build_task(load(CONFIG, given))
    everyone = np.unique(np.concatenate([task.speakers(name) for name in ("train", "test")]))
    found, linear = [], []
    for speaker in everyone:
        config = load(CONFIG, [*given, ("task.held_out_speakers", f"[{speaker}]")])
        found.append(summary_of(f"without-speaker-{speaker}", config, out))
        linear.append(linear_reader(config, 70, 10)["test"])
        last = found[-1]
        print(f"speaker {speaker}: smooth {last['smooth']['accuracy']:.3f}, "
              f"hard {last['hard']['accuracy']:.3f}, linear {linear[-1]:.3f} ({last['trials']} recordings)",
              flush=True)  # fmt: skip
    bars = {
        "smooth gate": [s["smooth"]["accuracy"] for s in found],
        "hard threshold": [s["hard"]["accuracy"] for s in found],
        "logistic regression": linear,
    }
    print(
        "mean over speakers: "
        + ", ".join(
            f"{name} {np.mean(values):.3f} (std {np.std(values):.3f})" for name, values in bars.items()
        )
    )
    chance = max(np.bincount(task.classes("test"))) / len(task.classes("test"))
    with mpl.rc_context(STYLE):
        page = Figure(figsize=(6.5, 3.6), layout="constrained")
        ax = page.subplots()
        for k, (name, values) in enumerate(bars.items()):
            ax.bar(
                np.arange(len(everyone)) + 0.27 * (k - 1),
                values,
                0.25,
                color=("C0", "C1", "0.7")[k],
                label=name,
            )
        ax.axhline(chance, color="k", lw=0.8, ls="--", label="chance")
        ax.set_xticks(
            np.arange(len(everyone)),
            [f"{s}\n(n = {r['trials']})" for s, r in zip(everyone, found, strict=True)],
        )
        ax.set(
            xlabel="speaker left out of training (n: recordings, all tested)",
            ylabel="accuracy (fraction)",
            ylim=(0, 1.02),
        )
        ax.legend(frameon=False, fontsize=7, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.12))
        page.savefig(out / "speakers.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="folder with the recordings")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--speakers", action="store_true", help="leave one speaker out, instead of the table")
    parser.add_argument(
        "--delays", nargs="*", metavar="NAME", help=f"these networks instead, or all: {', '.join(DELAYS)}"
    )
    parser.add_argument("--updates", type=int, help="updates, where not those of the configuration")
    parser.add_argument("--out", type=Path, default=Path("runs/experiment-spoken-digits"))
    args = parser.parse_args()
    for name in args.delays or ():
        if name not in DELAYS:
            parser.error(f"there is no network {name!r}: choose from {', '.join(DELAYS)}")
    args.out.mkdir(parents=True, exist_ok=True)
    given = [("task.folder", str(args.folder))]
    if args.updates:
        given.append(("training.steps", str(args.updates)))
    if args.speakers:
        speakers(given, args.out)
    elif args.delays is not None:
        delays(args.delays or list(DELAYS), given, args.seeds, args.out)
    else:
        accuracies(given, args.seeds, args.out)


if __name__ == "__main__":
    main()
