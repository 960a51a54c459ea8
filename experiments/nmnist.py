"""N-MNIST: networks of spiking neurons, the same layers without time, steps in another order, and delays.

    python experiments/nmnist.py --folder FOLDER [--seeds 3] [--part networks frames order delays]
    [--out runs/experiment-nmnist] [--key VALUE ...]

FOLDER has ``nmnist_train.npz`` and ``nmnist_test.npz``, or folders of recordings named by ``--task.train``
and ``--task.test``. *networks* trains ``configs/nmnist_mlp.toml``, ``configs/nmnist_cnn.toml``, and the MLP
with SLAYER's neurons, gradient and loss. *frames* trains ReLU networks of the same layers on the same
training trials, summed to one frame or to one for each saccade. *order* permutes the steps of all trials
alike, or of every trial by itself. *delays* gives the axons of the pixels delays: learned, fixed at their
mean, and those learned but permuted among the axons. The last two parts are at half the resolution, where
a training takes half a minute. Each prints a table; *delays* draws ``delays.png``. Finished runs are read,
not run again; interrupted ones go on.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
from matplotlib.figure import Figure
from scipy.stats import binomtest

from spikejax.cli import key_values
from spikejax.component import option
from spikejax.configuration import (
    Config,
    batch_key,
    build,
    build_optimiser,
    build_task,
    initial_state,
    learning_rate_schedule,
    load,
)
from spikejax.jobs.evaluate import evaluate_network
from spikejax.jobs.run import trained
from spikejax.jobs.train import finished_run
from spikejax.parameters import Within, resolve
from spikejax.plotting import STYLE
from spikejax.tasks import TASKS, EventCamera, Trial
from spikejax.training import train

CONFIGS = Path(__file__).parent.parent / "configs"
SACCADE = 105.0
"""ms: the camera moves three times, along the sides of a triangle."""
ALPHA = "{ kind = 'sampled_alpha', tau_syn = [10.0] }"
NEURON = "{ kind = 'spike_response', tau_ref = 5.0 }"
RESPONSE = f"recurrent = false, bias = [0.0, 0.0], neuron = {NEURON}, synapse = {ALPHA}"
FILTERED = f"{{ kind = 'filtered', connection = {{ kind = 'dense', scale = 2.0 }}, synapse = {ALPHA} }}"
SLAYER = [
    ("dt", "5.0"),
    (
        "network.layers",
        f"[{{ size = 512, feedforward = {FILTERED}, {RESPONSE} }}, "
        f"{{ size = 10, feedforward = {{ scale = 2.0 }}, {RESPONSE} }}]",
    ),
    ("network.readout", "{ kind = 'population' }"),
    ("gate.kernel", "laplace"),
    ("gate.width", "2.0"),
    ("gate.release", "{ kind = 'surrogate', detach_reset = true }"),
    # 60 and 10 of 300 steps.
    ("loss", f"{{ kind = 'spike_count', true = 14.0, false = 2.0, synapse = {ALPHA} }}"),
    ("training.trainable", '["weight"]'),
    ("training.steps", "400"),
    ("training.evaluate_every", "100"),
]
NETWORKS = {
    "MLP, 2312-512-10": ("nmnist_mlp", []),
    "CNN, 16c5-2a-32c3-2a-64c3-10": ("nmnist_cnn", []),
    "MLP, SLAYER's neurons, gradient and loss": ("nmnist_mlp", SLAYER),
}
# The other questions are asked at half the resolution.
HALF = [("task.downsample", "2"), ("task.shift_pixels", "1"), ("training.steps", "400")]
LONGEST = 2 * SACCADE


@TASKS.register("reordered_event_camera")
class Reordered(EventCamera):
    """Recordings of an event camera whose steps come in another order, in training and in tests."""

    alike: bool = option(True, doc="whether the order is the same in all trials")

    def batch(self, key, step, size):
        keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 5), step), size)
        return self._reordered(super().batch(key, step, size), keys)

    def split(self, name):
        trials = super().split(name)
        return self._reordered(trials, jax.random.split(jax.random.key(11), len(trials.target)))

    def parts(self, name):
        return [self.split(name)]

    def _reordered(self, trials: Trial, keys) -> Trial:
        steps = trials.stimulus.shape[1]
        if self.alike:
            keys = jnp.broadcast_to(jax.random.key(7), keys.shape)
        order = jax.vmap(lambda key: jax.random.permutation(key, steps))(keys)
        return trials._replace(stimulus=jax.vmap(lambda x, at: x[at])(trials.stimulus, order))


def shown(values: list[float]) -> str:
    """Mean over the seeds, and each."""
    return f"{np.mean(values):.3f} ({', '.join(f'{v:.2f}' for v in values)})"


def row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def head(*cells: str) -> None:
    print()
    row(*cells)
    row(*("---" for _ in cells))


class Runs:
    """Trains, or reads, the runs of this experiment."""

    def __init__(self, given: list[tuple[str, str]], seeds: int, out: Path):
        self.given, self.seeds, self.out = given, seeds, out

    def config(self, base: str, changes: list[tuple[str, str]], seed: int) -> Config:
        return load(CONFIGS / f"{base}.toml", [*changes, *self.given, ("seed", str(seed))])

    def half(self, changes: list[tuple[str, str]], seed: int) -> Config:
        """Of the MLP at half the resolution."""
        return self.config("nmnist_mlp", [*HALF, *changes], seed)

    def folder(self, name: str, seed: int) -> Path:
        words = "".join(c if c.isalnum() else " " for c in name).split()
        return self.out / f"{'-'.join(words)}-{seed}"

    def __call__(self, name: str, base: str, changes: list[tuple[str, str]]) -> list[dict[str, Any]]:
        return [
            finished_run(self.config(base, changes, seed), self.folder(name, seed), figures=False)
            for seed in range(self.seeds)
        ]

    def by(self, name: str, make: Callable[[int, Path], dict[str, Any]]) -> list[dict[str, Any]]:
        """What `make` finds for every seed, and writes; read where it is written."""
        found = []
        for seed in range(self.seeds):
            done = self.folder(name, seed) / "summary.json"
            if not done.exists():
                done.parent.mkdir(parents=True, exist_ok=True)
                done.write_text(json.dumps(make(seed, done.parent), indent=2) + "\n")
            found.append(json.loads(done.read_text()))
        return found


def networks(runs: Runs) -> None:
    head("network", "test accuracy: mean (seeds)", "hard threshold", "95 % interval of one", "rates, Hz")
    for name, (base, changes) in NETWORKS.items():
        summaries = runs(name, base, changes)
        smooth, hard = ([s[gate]["accuracy"] for s in summaries] for gate in ("smooth", "hard"))
        # Of one network: the recordings are the same for every seed.
        trials = summaries[0]["trials"]
        interval = binomtest(round(np.mean(hard) * trials), trials).proportion_ci(method="exact")
        layers = [key for key in summaries[0]["hard"] if key.startswith("rate/")]
        rates = ", ".join(f"{np.mean([s['hard'][key] for s in summaries]):.1f}" for key in layers)
        row(name, shown(smooth), shown(hard), f"{interval.low:.3f} to {interval.high:.3f}", rates)


class Rates(eqx.Module):
    """The layers of a network with ``relu`` in the place of its neurons, for one image."""

    weights: list[jax.Array]
    biases: list[jax.Array]

    @classmethod
    def mlp(cls, channels: tuple[int, ...], key) -> "Rates":
        return cls.drawn([(512, int(np.prod(channels))), (10, 512)], key)

    @classmethod
    def cnn(cls, channels: tuple[int, ...], key) -> "Rates":
        kinds, height, width = channels
        last = 64 * (height // 4) * (width // 4)
        return cls.drawn([(16, kinds, 5, 5), (32, 16, 3, 3), (64, 32, 3, 3), (10, last)], key)

    @classmethod
    def drawn(cls, shapes: list[tuple[int, ...]], key) -> "Rates":
        keys = jax.random.split(key, len(shapes))
        pairs = zip(keys, shapes, strict=True)
        weights = [jax.random.normal(k, s) * np.sqrt(2 / np.prod(s[1:])) for k, s in pairs]
        return cls(weights, [jnp.zeros((s[0],) + (1,) * (len(s) - 2)) for s in shapes])

    def __call__(self, x: jax.Array) -> jax.Array:
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if weight.ndim == 4:
                if i:
                    x = eqx.nn.AvgPool2d(2, 2)(x)
                x = jax.lax.conv_general_dilated(x[None], weight, (1, 1), "SAME")[0] + bias
            else:
                x = weight @ x.reshape(-1) + bias
            x = x if i + 1 == len(self.weights) else jax.nn.relu(x)
        return x


def frames_of(trials: Trial, frames: int) -> jax.Array:
    """Counts of a batch, (trials, frames * kinds, rows, columns); a step is a saccade, and the few events
    after the third are counted with it."""
    x = trials.stimulus
    x = jnp.concatenate([x[:, :2], x[:, 2:].sum(1, keepdims=True)], 1)
    x = x.sum(1, keepdims=True) if frames == 1 else x
    return jnp.sqrt(x).reshape(len(x), -1, *x.shape[3:])


def train_rates(config: Config, make: Callable[..., Rates], frames: int) -> dict[str, Any]:
    """Train as the spiking network of a configuration is trained: the same trials, changes, optimiser,
    smoothing, average and choice by held-out loss."""
    config = config.model_copy(update={"dt": SACCADE})
    task, t, key = build_task(config), config.training, batch_key(config)
    kinds, *image = task.channels
    params = make((frames * kinds, *image), jax.random.key(config.seed))
    optimiser, learning_rate_at = build_optimiser(config), learning_rate_schedule(config)
    state, average, best = optimiser.init(params), params, (np.inf, params)

    def loss(params, x, target):
        wanted = optax.smooth_labels(jax.nn.one_hot(target, task.outputs), config.loss.smoothing)
        return optax.softmax_cross_entropy(jax.vmap(params)(x), wanted).mean()

    @jax.jit
    def step(params, average, state, trials, lr):
        gradient = jax.grad(loss)(params, frames_of(trials, frames), trials.target)
        updates, state = optimiser.update(gradient, state, params)
        params = optax.apply_updates(params, jax.tree.map(lambda u: lr * u, updates))
        average = jax.tree.map(lambda a, p: t.averaging * a + (1 - t.averaging) * p, average, params)
        return params, average, state

    held, test = task.split("validation"), task.split("test")
    for i in range(t.steps):
        lr = jnp.asarray(learning_rate_at(i), jnp.float32)
        params, average, state = step(params, average, state, task.batch(key, i, t.batch), lr)
        if (i + 1) % t.evaluate_every == 0 or i + 1 == t.steps:
            score = float(loss(average, frames_of(held, frames), held.target))
            best = min(best, (score, average), key=lambda pair: pair[0])
    answer = jnp.argmax(jax.vmap(best[1])(frames_of(test, frames)), -1)
    return {"accuracy": float(jnp.mean(answer == test.target)), "validation_loss": best[0]}


def frames(runs: Runs) -> None:
    head("network without time (ReLU)", "one frame", "a frame for each saccade")
    for name, base, make in (("MLP", "nmnist_mlp", Rates.mlp), ("CNN", "nmnist_cnn", Rates.cnn)):
        cells = []
        for count in (1, 3):

            def one(seed: int, folder: Path, count=count, base=base, make=make) -> dict[str, Any]:
                return train_rates(runs.config(base, [], seed), make, count)

            cells.append(shown([s["accuracy"] for s in runs.by(f"frames {name} {count}", one)]))
        row(name, *cells)


def at_hard(config: Config, folder: Path, network=None) -> float:
    """Test accuracy of a trained network at a hard threshold, with a configuration's task."""
    run, there, config = trained(folder, config)
    return evaluate_network(run, there if network is None else network, config)["hard"]["accuracy"]


def order(runs: Runs) -> None:
    every = [("task.kind", "reordered_event_camera")]
    kinds = {
        "as recorded": [],
        "one other order for all": [*every, ("task.alike", "true")],
        "a new order for every trial": [*every, ("task.alike", "false")],
    }
    head(
        "order of the steps, MLP 578-512-10",
        "test accuracy, hard threshold",
        "trained as recorded, tested so",
    )
    for name, changes in kinds.items():
        found = runs(f"order {name}", "nmnist_mlp", [*HALF, *changes])
        crossed = [
            at_hard(runs.half(changes, seed), runs.folder("order as recorded", seed))
            for seed in range(runs.seeds)
        ]
        row(name, shown([s["hard"]["accuracy"] for s in found]), shown(crossed))


def delayed(initial: list[float], rate: float) -> list[tuple[str, str]]:
    """Changes that give every axon of the pixels a delay, which is learned at this factor of the rate."""
    connection = f"{{ kind = 'delayed', longest = {LONGEST}, initial = {initial}, connection = 'dense' }}"
    return [
        ("network.layers.0.feedforward", connection),
        ("training.trainable", '["weight", "bias", "delay"]'),
        ("training.learning_rate_scale", f"{{ delay = {rate} }}"),
    ]


# Delays are in ms: a unit step of the optimiser is as many ms as it would be of a weight.
LEARNED = delayed([0.0, SACCADE], 400.0)
FIXED = delayed([0.0, SACCADE], 0.0)


def delays_of(network) -> np.ndarray:
    return np.asarray(resolve(network.layers[0].feedforward.delay))


def with_delays(network, delays: np.ndarray):
    return eqx.tree_at(
        lambda n: n.layers[0].feedforward.delay, network, Within.of(jnp.asarray(delays), 0.0, LONGEST)
    )


def permuted(delays: np.ndarray, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(delays.reshape(-1)).reshape(delays.shape)


def at_mean(delays: np.ndarray, seed: int) -> np.ndarray:
    return np.full_like(delays, delays.mean())


def given(config: Config, folder: Path, delays: np.ndarray) -> dict[str, Any]:
    """Train a network whose delays are these, and stay."""
    run = build(config)
    params = with_delays(initial_state(config, run).params, delays)
    _, network = train(run.plan, run.plan.restart(params, 0), run.fixed, folder, key=batch_key(config))
    assert np.allclose(delays_of(network), delays, atol=1e-3), "they stay"
    return evaluate_network(run, network, config)


def delays(runs: Runs) -> None:
    head("delays of the pixels' axons, MLP 578-512-10", "test accuracy, hard threshold", "mean and std, ms")
    print_row = lambda name, found, text="": row(name, shown([s["hard"]["accuracy"] for s in found]), text)
    print_row("none", runs("order as recorded", "nmnist_mlp", HALF))
    found = runs("delays learned", "nmnist_mlp", [*HALF, *LEARNED])
    seeds = range(runs.seeds)
    learned = [delays_of(trained(runs.folder("delays learned", seed))[1]) for seed in seeds]
    moved = [np.abs(d - delays_of(build(runs.half(LEARNED, seed)).network)) for seed, d in
             enumerate(learned)]  # fmt: skip
    numbers = f"{np.mean(learned):.0f}, {np.mean([np.std(d) for d in learned]):.0f}"
    print_row("learned", found, f"{numbers}; moved by {np.mean(moved):.0f}")
    for name, change in (
        ("those, permuted among the axons, same weights", permuted),
        ("those, all at their mean, same weights", at_mean),
    ):
        right = []
        for seed in seeds:
            folder = runs.folder("delays learned", seed)
            network = with_delays(trained(folder)[1], change(learned[seed], seed))
            right.append({"hard": {"accuracy": at_hard(runs.half(LEARNED, seed), folder, network)}})
        print_row(name, right)
    print_row("fixed as they were drawn", runs("delays fixed", "nmnist_mlp", [*HALF, *FIXED]))
    for name, change in (
        ("fixed, learned ones permuted, weights trained anew", permuted),
        ("fixed at the mean of learned ones, weights trained anew", at_mean),
    ):

        def one(seed: int, folder: Path, change=change) -> dict[str, Any]:
            return given(runs.half(FIXED, seed), folder, change(learned[seed], seed))

        print_row(name, runs.by(f"delays {name}", one))
    draw(runs, learned)


def draw(runs: Runs, learned: list[np.ndarray]) -> None:
    """Delays before and after training, and when the camera's events come."""
    task = build_task(runs.half([], 0))
    x = np.asarray(task.split("test").stimulus)
    active = x.sum((0, 1)) > 0.02 * x.sum((0, 1)).max()
    start = [delays_of(build(runs.half(LEARNED, seed)).network) for seed in range(len(learned))]
    with mpl.rc_context(STYLE):
        page = Figure(figsize=(6.5, 2.8), layout="constrained")
        left, right = page.subplots(1, 2)
        t = task.dt * (np.arange(x.shape[1]) + 0.5)
        left.plot(t, x.sum((2, 3, 4)).mean(0) / task.dt, color="k")
        for k in range(4):
            left.axvline(k * SACCADE, color="0.6", lw=0.8, ls="--")
        left.set(xlabel="time (ms); dashed: saccades", ylabel="events (1/ms)", title="input, test recordings")
        edges = np.linspace(0, LONGEST, 43)
        for values, name, style in (
            (start, "drawn", {"color": "0.7", "histtype": "stepfilled"}),
            (learned, "learned", {"color": "C0", "histtype": "step"}),
        ):
            chosen = np.concatenate([d[active] for d in values])
            right.hist(chosen, edges, label=f"{name} (median {np.median(chosen):.0f} ms)", **style)
        for k in (1, 2):
            right.axvline(k * SACCADE, color="0.6", lw=0.8, ls="--")
        right.set(xlabel="delay (ms); dashed: 1, 2 saccades", ylabel="axons of pixels with events",
                  title=f"delays, seeds: {len(learned)}")  # fmt: skip
        right.legend(frameon=False, fontsize=7)
        page.savefig(runs.out / "delays.png")


PARTS = {"networks": networks, "frames": frames, "order": order, "delays": delays}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="folder with the recordings")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path("runs/experiment-nmnist"))
    args, rest = parser.parse_known_args()
    args.out.mkdir(parents=True, exist_ok=True)
    places = [(f"task.{name}", str(args.folder / f"nmnist_{name}.npz")) for name in ("train", "test")]
    for name in args.part:
        PARTS[name](Runs([*places, *key_values(rest)], args.seeds, args.out))


if __name__ == "__main__":
    main()
