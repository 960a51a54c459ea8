"""Delays: are they learned right, when do they help, which gradient in them is right, and what do they cost?

    python experiments/delays.py [known] [order] [gradient] [cost] [--seeds N] [--updates N] [--out
    runs/experiment-delays]

``known``: delays alone are trained to tell patterns of known lags apart by coincidence, and compared with the
lags. ``order``: networks with delays and without on classes that only the order of their spikes tells apart.
``gradient``: the gradient in delays of both interpolations, as the time step is refined. ``cost``: time and
memory of a gradient beside the same network without delays. Prints tables; ``known`` draws ``delays.png``,
``order`` ``delays_order.png``. Without a word: all four.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
from jax.scipy.special import logsumexp
from matplotlib.figure import Figure

from spikejax import LIF, ClockDriven, Exponential, Gate, Layer, Network, Theta, simulate, trainable
from spikejax.connections import Delayed, DelayedSynapses, Dense
from spikejax.losses import AbstractLoss, CrossEntropy
from spikejax.parameters import Masked, Within
from spikejax.plotting import STYLE
from spikejax.readouts import LinearReadout
from spikejax.tasks import Lags, PredictiveCoding
from spikejax.training import make_evaluate, make_group_step, scale_groups, start

BATCH = 32


class Peak(AbstractLoss):
    """Squared error of the largest readout in the trial (softly the largest), which is 1 for the neuron of
    the class and 0 for the others: what matters is that a neuron fires, not when."""

    targets: ClassVar = frozenset({"class"})
    reports: ClassVar = {"accuracy": True}
    soft: float = 0.05

    def __call__(self, solution, trial):
        peak = self.soft * logsumexp(solution.readout / self.soft, axis=0)
        peak = peak - self.soft * jnp.log(len(solution.readout))
        wanted = jax.nn.one_hot(trial.target, len(peak), dtype=peak.dtype)
        # The right neuron fires more often than any other; a tie is wrong.
        counts = solution.counts[-1]
        others = jnp.where(wanted > 0, -jnp.inf, counts).max()
        right = counts[trial.target] > others + 0.5
        # The right one weighs as much as all others.
        weight = jnp.where(wanted > 0, 1.0, 1 / (len(peak) - 1))
        return jnp.sum(weight * (peak - wanted) ** 2), {"accuracy": right.astype(peak.dtype)}


def train(
    networks: Network,
    tasks: list[Lags],
    loss: AbstractLoss,
    simulator: ClockDriven,
    updates: int,
    *,
    rates: dict[str, float],
    sharpness: tuple[float, float] = (1.0, 10.0),
    scheduled: Callable[[Network, float], Network] = lambda params, done: params,
) -> Network:
    """Networks with an axis in front, each trained on its own task, side by side.

    **Arguments:** `rates`: fields that are trained, and their largest learning rates; `sharpness`: of the
    gate in the beginning and at the end; `scheduled`: what else changes, by the fraction of the updates done.
    """
    count = len(tasks)
    params, fixed = eqx.partition(networks, trainable(networks, tuple(rates)))
    optimiser = optax.chain(optax.adam(optax.cosine_decay_schedule(1.0, updates)), scale_groups(rates))
    step = make_group_step(loss=loss, optimiser=optimiser)
    each = lambda one: jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *jnp.shape(x))), one)
    state = eqx.filter_vmap(lambda p: start(p, optimiser))(params)
    for i in range(updates):
        key, done = jax.random.key(7), i / updates
        batches = jax.tree.map(lambda *x: jnp.stack(x), *(task.batch(key, i, BATCH) for task in tasks))
        now = simulator.sharpen(sharpness[0] ** (1 - done) * sharpness[1] ** done)
        state = state._replace(params=scheduled(state.params, done))
        state, _ = step((fixed, each(now), jnp.ones(count), jnp.arange(count)), batches, state)
    return eqx.combine(state.params, fixed)


def accuracies(networks: Network, tasks: list[Lags], loss: AbstractLoss, simulator) -> list[float]:
    """Accuracy on the test trials of each task, of its network."""
    judge, found = make_evaluate(loss, warn=False), []
    for k, task in enumerate(tasks):
        network = jax.tree.map(lambda x: x[k], networks)
        found.append(judge(network, task.split("test"), simulator).metrics["accuracy"])
    return found


# --- Known lags

LONGEST, CHANNELS, CLASSES = 50.0, 10, 4
MEMBRANE = 200.0, 6.0
"""Time constant of the membrane when training begins and at its end, ms: a spike has a gradient in its delay
only while it is still felt when the last one comes."""
DRIVE = 0.7, 1.3
"""How far all channels at once lift the voltage then, in units of the threshold. In the end fewer than eight
of ten do not reach it; in the beginning not even all do, since a neuron that fires has no more to gain."""
KNOWN = {
    "charge, exact": {},
    "charge, truncated": {"interpolation": "truncated"},
    "surrogate, exact": {"release": "surrogate"},
    "surrogate, truncated": {"release": "surrogate", "interpolation": "truncated"},
    "charge, exact; gate sharp from the start": {"sharpness": (10.0, 10.0)},
    "charge, exact; membrane of 6 ms from the start": {"tau": (MEMBRANE[1], MEMBRANE[1])},
    "charge, exact; first delays of 0 to 40 ms": {"initial": 40.0},
}
"""Gradient and interpolation, and what is done otherwise."""


def detector(key, interpolation: str, initial: float) -> Network:
    """One neuron a class, with a synapse for every channel; the delays are random and the weights all one."""
    delay = Within.of(jax.random.uniform(key, (CLASSES, CHANNELS), maxval=initial), 0.0, LONGEST)
    weight = jnp.ones((CLASSES, CHANNELS))
    synapses = DelayedSynapses(weight, (CHANNELS,), delay=delay, longest=LONGEST, interpolation=interpolation)
    layer = Layer.create(
        (CHANNELS,), CLASSES, LIF(), Exponential(5.0, rate_unit=0.2),
        feedforward=lambda *_, **__: synapses, recurrent=None, bias=(0.0, 0.0), key=key,
    )  # fmt: skip
    own = Dense(jnp.eye(CLASSES)[:, None], layer.activation_shape)
    return Network((layer,), LinearReadout(own, jnp.zeros(CLASSES)))


def membrane(params: Network, fraction: float, tau: tuple[float, float]) -> Network:
    """With the time constant and the weights of a fraction of the training, the first on a logarithmic scale
    between the two `tau`."""
    now = tau[0] ** (1 - fraction) * tau[1] ** fraction
    along = np.log(now / MEMBRANE[0]) / np.log(MEMBRANE[1] / MEMBRANE[0])
    drive = DRIVE[0] + along * (DRIVE[1] - DRIVE[0])
    weight = drive / CHANNELS / (1 - np.exp(-1 / now))  # for a step of 1 ms
    where = lambda n: (n.layers[0].neuron.tau_mem, n.layers[0].feedforward.weight)
    old_tau, old_weight = where(params)
    return eqx.tree_at(where, params, (jnp.full_like(old_tau, now), jnp.full_like(old_weight, weight)))


def learn_lags(
    seeds: int,
    updates: int,
    *,
    interpolation: str = "linear",
    release: str = "charge",
    sharpness: tuple[float, float] = (1.0, 10.0),
    tau: tuple[float, float] = MEMBRANE,
    initial: float = 5.0,
):
    """Train the delays of a network a seed, side by side, each on lags of its own.

    **Arguments:** `tau`: of the membrane, which reaches the second value after 70 % of the updates;
    `initial`: delays are drawn between 0 and this, ms: short, since a spike that comes after the peak of the
    voltage has no gradient.

    **Returns:** lags and delays before and after, ``(seeds, classes, channels)`` each, and the accuracies
    before and after with a hard threshold.
    """
    tasks = [Lags(dt=1.0, duration=110.0, jitter=0.3, pattern=seed) for seed in range(seeds)]
    networks = eqx.filter_vmap(partial(detector, interpolation=interpolation, initial=initial))(
        jax.random.split(jax.random.key(0), seeds)
    )
    simulator = ClockDriven(Gate(width=1.0 if release == "charge" else 2.0, release=release), 1.0)
    # Weights and time constant are set, by `membrane`.
    trained = train(
        networks, tasks, Peak(), simulator, updates,
        rates={"delay": 0.8, "weight": 0.0, "tau_mem": 0.0}, sharpness=sharpness,
        scheduled=lambda params, done: membrane(params, min(1.0, done / 0.7), tau),
    )  # fmt: skip
    ends = [membrane(stage, 1.0, tau) for stage in (networks, trained)]
    delays = [np.asarray(end.layers[0].feedforward.delay.value) for end in ends]
    right = [accuracies(end, tasks, Peak(), simulator.hard()) for end in ends]
    return np.stack([task.lags for task in tasks]), *delays, *right


def agreement(lags, delays) -> tuple[float, float, float]:
    """Slope of delays on lags, their correlation, and the root mean square of what is left of their sum, ms;
    within each class, since a class may fire at any time."""
    x, y = (a - a.mean(axis=1, keepdims=True) for a in (lags, delays))
    return (
        float(np.sum(x * y) / np.sum(x**2)),
        float(np.sum(x * y) / np.sqrt(np.sum(x**2) * np.sum(y**2))),
        float(np.sqrt(np.mean((x + y) ** 2))),
    )


def spread(values, digits: int = 3) -> str:
    """Mean, and the smallest and largest."""
    return f"{np.mean(values):.{digits}f} ({np.min(values):.{digits}f} to {np.max(values):.{digits}f})"


def known(seeds: int, updates: int, out: Path) -> None:
    """Table and figure of learned delays against lags."""
    print(
        "| gradient | slope | correlation | distance, ms | accuracy before | after |\n"
        "|---|---|---|---|---|---|"
    )
    shown = {}
    for name, options in KNOWN.items():
        lags, first, last, before, after = learn_lags(seeds, updates, **options)
        shown[name] = lags, last
        shown.setdefault("before", (lags, first))
        found = np.array([agreement(*both) for both in zip(lags, last, strict=True)])
        columns = [spread(column) for column in found.T]
        print(f"| {name} | {' | '.join(columns)} | {spread(before)} | {spread(after)} |", flush=True)
    with mpl.rc_context(STYLE):
        page = Figure(figsize=(7.0, 2.8), layout="constrained")
        for ax, name in zip(page.subplots(1, 3, sharey=True), ("before", *list(KNOWN)[::3][:2]), strict=True):
            lags, delays = (a - a.mean(axis=-1, keepdims=True) for a in shown[name])
            for k in range(seeds):
                ax.plot(lags[k].ravel(), delays[k].ravel(), ".", ms=3, label=f"seed {k}")
            ends = np.array([lags.min(), lags.max()])
            ax.plot(ends, -ends, "k-", lw=0.6, zorder=0, label="slope -1")
            ax.set(
                xlabel="true lag - mean of its class (ms)",
                title=name if name == "before" else f"after: {name}",
            )
        page.axes[0].set_ylabel("delay - mean of its class (ms)")
        page.axes[0].legend(frameon=False, fontsize=6)
        page.savefig(out / "delays.png")


# --- Order alone

HIDDEN, KINDS, STEP = 24, 8, 4.0
ORDER = {
    "no delays": {},
    "no delays, 33 neurons": {"hidden": 33},
    "recurrent, no delays": {"back": "dense"},
    "recurrent, no delays, 16 neurons": {"hidden": 16, "back": "dense"},
    "recurrent, no delays, 32 neurons": {"hidden": 32, "back": "dense"},
    "axons, fixed": {"forward": "axons"},
    "axons, learned": {"forward": "axons", "learned": True},
    "lines, learned": {"forward": "lines", "learned": True},
    "synapses, fixed": {"forward": "synapses"},
    "synapses, learned": {"forward": "synapses", "learned": True},
    "recurrent axons, learned": {"back": "axons", "learned": True},
    "recurrent synapses, learned": {"back": "synapses", "learned": True},
}
"""Connections of 24 neurons unless said; 33 without recurrence and 16 with it have as many parameters as 24
with a delay for every synapse, and 32 as many as 24 with a delay for every recurrent one."""


def connect(kind: str, scale: float, shortest: float):
    """What draws a connection: dense, or with delays of up to 60 ms, 30 at first."""
    dense = partial(Dense.create, scale=scale)
    if kind == "dense":
        return dense
    common = {"longest": 60.0, "shortest": shortest, "initial": (shortest, 30.0)}
    if kind == "synapses":
        return partial(DelayedSynapses.create, scale=scale, **common)
    return partial(Delayed.create, connection=dense, lines=8 if kind == "lines" else None, **common)


def reader(key, hidden: int, forward: str, back: str | None) -> Network:
    """A layer of LIF neurons and a readout for every class."""
    layer = Layer.create(
        (6,), hidden, LIF(tau_mem=10.0), Exponential(10.0, rate_unit=0.02),
        feedforward=connect(forward, 20.0, 0.0), recurrent=back and connect(back, 0.5, STEP),
        bias=(0.0, 0.5), key=key,
    )  # fmt: skip
    readout = LinearReadout.create(layer.activation_shape, KINDS, key=jax.random.fold_in(key, 1))
    return Network((layer,), readout)


def size(networks: Network, fields: tuple[str, ...], count: int) -> int:
    """Number of parameters of one of the networks, absent synapses left out."""
    params, _ = eqx.partition(networks, trainable(networks, fields))
    masks = [
        x for x in jax.tree.leaves(networks, is_leaf=lambda x: isinstance(x, Masked)) if isinstance(x, Masked)
    ]
    absent = sum(int(np.sum(~np.asarray(x.mask))) for x in masks)
    return (sum(x.size for x in jax.tree.leaves(params)) - absent) // count


def changed(networks: Network, change) -> Network:
    """With other delays: `change` of those of every connection of every network."""
    is_within = lambda x: isinstance(x, Within)

    def one(x):
        if not is_within(x):
            return x
        value = np.asarray(x.value)
        return Within.of(jnp.asarray(np.stack([change(v) for v in value]), value.dtype), x.low, x.high)

    return jax.tree.map(one, networks, is_leaf=is_within)


def order(seeds: int, updates: int, out: Path) -> None:
    """Table of networks with delays and without on classes that differ in order alone."""
    loss = CrossEntropy()
    tasks = [
        Lags(
            dt=STEP, duration=160.0, channels=6, classes=KINDS, longest=100.0, onset=(5.0, 35.0), jitter=1.5,
            pattern=seed, held_out=(10, 400),
        )
        for seed in range(seeds)
    ]  # fmt: skip
    simulator, rng = ClockDriven(Gate(width=1.0), STEP), np.random.default_rng(0)
    print("| network | parameters | accuracy | at the mean delay | delays permuted |\n|---|---|---|---|---|")
    bars = {}
    for name, options in ORDER.items():
        o = {"hidden": HIDDEN, "forward": "dense", "back": None, **options}
        learned = o.pop("learned", False)
        networks = eqx.filter_vmap(partial(reader, **o))(jax.random.split(jax.random.key(1), seeds))
        rates = {"weight": 5e-3, "bias": 5e-3} | ({"delay": 0.5} if learned else {})
        networks = train(networks, tasks, loss, simulator, updates, rates=rates, sharpness=(1.0, 10.0))
        right = lambda networks: accuracies(networks, tasks, loss, simulator.sharpen(10.0).hard())
        cells, bars[name] = ["", ""], right(networks)
        if "delay" in rates or o["forward"] != "dense":
            others = (
                lambda d: np.full_like(d, d.mean()),
                lambda d: rng.permutation(d.ravel()).reshape(d.shape),
            )
            cells = [spread(right(changed(networks, change))) for change in others]
        count = size(networks, tuple(rates), seeds)
        print(f"| {name} | {count} | {spread(bars[name])} | {' | '.join(cells)} |", flush=True)
    with mpl.rc_context(STYLE):
        page = Figure(figsize=(6.5, 3.6), layout="constrained")
        ax = page.subplots()
        for k, values in enumerate(bars.values()):
            ax.barh(k, np.mean(values), color="C0" if "learned" in list(bars)[k] else "0.7")
            ax.plot(values, [k] * len(values), "k.", ms=4)
        ax.axvline(1 / KINDS, color="k", lw=0.8, ls="--")
        ax.set_yticks(range(len(bars)), list(bars))
        ax.invert_yaxis()
        ax.set(xlabel="test accuracy, hard threshold (fraction; dots: seeds; dashed: chance)", xlim=(0, 1))
        page.savefig(out / "delays_order.png")


# --- Which gradient


def circuit(interpolation: str) -> Network:
    """A recurrent population with delays of every axon, and of every synapse of its input. Theta neurons: no
    spike barely happens, whose time would depend on everything."""
    keys = jax.random.split(jax.random.key(2), 2)
    common = {"longest": 20.0, "initial": (5.0, 15.0), "interpolation": interpolation}
    layer = Layer.create(
        (10,), 12, Theta(tau_mem=10.0), Exponential(5.0, rate_unit=0.02),
        feedforward=partial(DelayedSynapses.create, scale=0.2, **common),
        recurrent=partial(
            Delayed.create, shortest=4.0, connection=partial(Dense.create, scale=0.05), **common
        ),
        bias=(0.0, 0.1), key=keys[0],
    )  # fmt: skip
    return Network((layer,), LinearReadout.create(layer.activation_shape, 3, key=keys[1]))


def delay_gradients(dt: float, interpolation: str) -> list[np.ndarray]:
    """Of the squared error of the readout, a row for each of 32 trials that are the same at every dt:
    by the delays of the input and by those of the recurrence."""
    # Signals, and no pulses: a neuron fires at the moment of one, and at which is no smooth function of
    # their delays.
    task = PredictiveCoding(dt=dt, duration=80.0, channels=10, frequencies=(5.0, 30.0))
    trials = task.batch(jax.random.key(3), 0, 32)
    params, fixed = eqx.partition(circuit(interpolation), trainable(circuit(interpolation), ("delay",)))

    def loss(params, x):
        readout = simulate(eqx.combine(params, fixed), x, gate=Gate(), dt=dt).readout
        # A target that moves: a mean square alone hardly depends on when the readout comes.
        return jnp.mean((readout - x[:, :3]) ** 2)

    layer = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(params, trials.stimulus).layers[0]
    return [np.asarray(one.delay.raw).reshape(32, -1) for one in (layer.feedforward, layer.recurrent)]


def gradients(seeds: int, updates: int, out: Path) -> None:
    """Table of the gradient in delays against that at a fine time step, medians over trials."""
    del seeds, updates, out
    fine = delay_gradients(1 / 16, "linear")
    print("| dt, ms | interpolation | input: cosine | relative error | recurrence: cosine | relative error |")
    print("|---|---|---|---|---|---|")
    for dt in (4.0, 2.0, 1.0, 0.5, 0.25):
        for interpolation in ("linear", "truncated"):
            cells = []
            for found, right in zip(delay_gradients(dt, interpolation), fine, strict=True):
                norm, own = np.linalg.norm(right, axis=1), np.linalg.norm(found, axis=1)
                cells.append(f"{np.median(np.sum(found * right, axis=1) / norm / own):.3f}")
                cells.append(f"{np.median(np.linalg.norm(found - right, axis=1) / norm):.3f}")
            print(f"| {dt:g} | {interpolation} | {' | '.join(cells)} |", flush=True)


# --- Cost


def costs(seeds: int, updates: int, out: Path) -> None:
    """Table of processor time and memory of a gradient, as ratios to the same network without delays."""
    del seeds, updates, out
    key, lags = jax.random.key(0), {"longest": 25.0}
    forward, back = partial(Dense.create, scale=1.0), partial(Dense.create, scale=0.1)
    late = partial(Delayed.create, shortest=1.0, connection=back, **lags)
    pairs = {
        "feed-forward": (forward, None),
        "feed-forward, axons": (partial(Delayed.create, connection=forward, **lags), None),
        "feed-forward, synapses": (partial(DelayedSynapses.create, **lags), None),
        "recurrent": (forward, back),
        "recurrent, axons": (forward, late),
        "recurrent, 4 lines": (forward, partial(late, lines=4)),
        "recurrent, synapses": (forward, partial(DelayedSynapses.create, shortest=1.0, scale=0.1, **lags)),
    }
    x = jax.random.bernoulli(key, 0.05, (32, 100, 100)).astype(jnp.result_type(float))
    runs = {}
    for name, (feedforward, recurrent) in pairs.items():
        layer = Layer.create(
            (100,), 256, LIF(), Exponential(10.0), feedforward=feedforward, recurrent=recurrent,
            bias=(0.0, 1.2), key=key,
        )  # fmt: skip
        network = Network((layer,), LinearReadout.create(layer.activation_shape, 10, key=key))
        params, fixed = eqx.partition(network, eqx.is_inexact_array)

        def loss(params, fixed=fixed):
            network = eqx.combine(params, fixed)
            run = lambda x: simulate(network, x, gate=Gate(), dt=1.0).readout
            return jnp.mean(jax.vmap(run)(x) ** 2)

        compiled = jax.jit(jax.grad(loss)).lower(params).compile()
        memory = compiled.memory_analysis().temp_size_in_bytes
        runs[name] = (partial(compiled, params), memory, [])
    for _ in range(5):
        for run, _, seconds in runs.values():
            begin = time.process_time()
            jax.block_until_ready(run())
            seconds.append(time.process_time() - begin)
    print("| connections | processor time, ratio | memory of the program, ratio |\n|---|---|---|")
    for name, (_, memory, seconds) in runs.items():
        _, base, least = runs[name.split(",")[0]]
        print(f"| {name} | {min(seconds) / min(least):.1f} | {memory / base:.1f} |", flush=True)


def main():
    parts = {"known": known, "order": order, "gradient": gradients, "cost": costs}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"{', '.join(parts)}; default: all")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("runs/experiment-delays"))
    args = parser.parse_args()
    for name in args.parts:
        if name not in parts:
            parser.error(f"there is no part {name!r}: choose from {', '.join(parts)}")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.parts or parts:
        parts[name](args.seeds, args.updates, args.out)


if __name__ == "__main__":
    main()
