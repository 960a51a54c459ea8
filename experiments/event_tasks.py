"""Learning spike times by their exact gradient: single spikes, a recurrent network, Yin-Yang, and networks
that are silent at first.

    python experiments/event_tasks.py [one_neuron] [two_times] [yin_yang] [silent] [--seeds 3] [--out FOLDER]

``one_neuron``: a neuron learns two spike times through the weights and times of two inputs. ``two_times``: a
recurrent network of ten learns the spike times of two of them. ``yin_yang``: ``configs/yin_yang.toml``, and
the trained networks in steps. ``silent``: the same from weights at which no neuron fires, with pseudospikes
and without. Each prints a table and draws a figure. Accuracies are with pseudospikes, and of spikes within
the trial alone. Finished runs are read, not run again; interrupted ones go on. MNIST is in ``mnist.py``.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
from matplotlib.figure import Figure

from spikejax import QIF, EventDriven, Exponential, Layer, Network, Population, SpikeTimes, load_run
from spikejax.configuration import load
from spikejax.connections import ActivationShape, Dense
from spikejax.jobs.evaluate import evaluate_run
from spikejax.jobs.train import finished_run
from spikejax.losses import TimeError
from spikejax.plotting import STYLE
from spikejax.tasks import TargetTimes, Trial
from spikejax.tasks.yin_yang import RADIUS, region

CONFIGS = Path(__file__).parent.parent / "configs"
TAU, END = 10.0, 100.0
"""Membrane time constant of the small networks and length of their trials, ms."""
JUMP = Exponential(TAU / 2, rate_unit=2 / TAU)
"""Synapses by which a spike makes the current jump by its weight."""


def layer(weight, own=None) -> Network:
    """QIF neurons with these input weights ``(n, channels)``, and those among themselves, if there are
    any."""
    n, channels = weight.shape
    shape = ActivationShape((1, n))
    around = None if own is None else Dense(jnp.asarray(own)[:, None], shape)
    one = Layer(Dense(jnp.asarray(weight), (channels,)), around, jnp.zeros(n), QIF(tau_mem=TAU), JUMP)
    return Network((one,), Population.create(shape, n))


# --- One neuron

FIXED, WANTED, NEURON_SEEDS = 20, (25.0, 75.0), 8


def neuron_task(seed: int) -> tuple[dict[str, jax.Array], Any]:
    """What is trained, the weights and times of two inputs, which begin at weights of 0; and the spike times
    of the neuron as a function of it and a simulator. The other inputs make it fire once by themselves."""
    for attempt in range(1000):
        rng = np.random.default_rng([seed, attempt])
        times = np.append(rng.uniform(0, END, FIXED), [20.0, 60.0])
        weight = np.append(rng.normal(0, 0.7, FIXED), [0.0, 0.0])
        order = np.argsort(times)
        given = SpikeTimes(times[order], order, duration=END, channels=FIXED + 2)

        def solve(params, simulator, times=times, weight=weight, order=order, given=given):
            time = jnp.asarray(times).at[FIXED:].set(TAU * params["time"])
            network = layer(jnp.asarray(weight).at[FIXED:].set(params["weight"])[None])
            return simulator(network, given.at(time[order]))

        start = {"weight": jnp.zeros(2), "time": jnp.asarray(times[FIXED:] / TAU)}
        if float(solve(start, EventDriven(spikes=8)).counts[0][0]) == 1:
            return start, solve
    raise RuntimeError("no neuron fires once")


def one_neuron(updates: int, out: Path) -> None:
    """Table and figure of neurons that learn two spike times and so to fire once more."""
    print(
        "| seed | spikes before | after | loss before | after | largest error, ms |\n"
        "|---|---|---|---|---|---|"
    )
    loss, simulator, shown = TimeError(scale=TAU), EventDriven(spikes=8), None
    trial = Trial(jnp.zeros((0, 1)), jnp.asarray(WANTED)[:, None])
    optimiser = optax.chain(optax.clip(2e-2), optax.sgd(optax.cosine_decay_schedule(0.1, updates, 0.01)))
    learned = 0
    for seed in range(NEURON_SEEDS):
        params, solve = neuron_task(seed)

        def cost(params, solve=solve):
            solution = solve(params, simulator)
            return loss(solution, trial)[0], (solution.spikes[0][:, 0], solution.counts[0][0])

        def step(carry, _, cost=cost):
            params, state = carry
            (value, (times, count)), gradient = jax.value_and_grad(cost, has_aux=True)(params)
            change, state = optimiser.update(gradient, state)
            params = optax.apply_updates(params, change)
            params = params | {"time": jnp.clip(params["time"], 0.0, END / TAU)}
            return (params, state), (value, times, count)

        run = jax.jit(lambda carry, step=step: jax.lax.scan(step, carry, None, length=updates))
        (params, _), (values, times, counts) = run((params, optimiser.init(params)))
        value, (last, count) = cost(params)
        error = float(np.abs(last[:2] - np.array(WANTED)).max())
        print(f"| {seed} | {counts[0]:.0f} | {count:.0f} | {values[0]:.3g} | {value:.1e} | {error:.1e} |")
        learned += float(value) < 1e-12
        if shown is None or (float(value) < 1e-12 <= shown[0][-1]):
            shown = np.asarray(values), np.asarray(times), seed
    print(f"\n{learned} of {NEURON_SEEDS} below 1e-12", flush=True)
    values, times, seed = shown
    with mpl.rc_context(STYLE):
        page = Figure(figsize=(7.0, 2.6), layout="constrained")
        left, right = page.subplots(1, 2)
        for k in range(3):
            left.plot(times[:, k], lw=1.2, label=("first", "second", "third")[k] + " spike")
        for k, wanted in enumerate(WANTED):
            left.axhline(wanted, color="k", ls=":", lw=0.8, label="wanted" if not k else None)
        left.axhline(END, color="0.6", lw=0.8)
        words = {"fontsize": 6, "color": "0.4", "ha": "right", "va": "top"}
        left.text(0.98 * updates, END - 3, "end of the trial; above: pseudospikes", **words)
        left.set(
            xlabel="update", ylabel="spike time (ms)", title=f"One neuron (seed {seed})", ylim=(0, 2 * END)
        )
        left.legend(frameon=False, fontsize=6, loc="upper right")
        right.semilogy(np.maximum(values, 1e-30))
        right.set(xlabel="update", ylabel="mean squared error (tau$^2$)", title="Loss")
        for ax in (left, right):
            ax.locator_params(axis="x", nbins=4)
        page.savefig(out / "one_neuron.png")


# --- A recurrent network

NEURONS, RATE = 10, 100.0
TARGETS = {0: (30.0, 60.0, 90.0), 1: (20.0, 70.0)}
"""Neuron and the spikes it is to have, ms."""


def recurrent_task(seed: int) -> tuple[dict[str, jax.Array], Any, TargetTimes]:
    """What is trained: recurrent weights, and the potential and current that neurons begin with, all at 0 (a
    potential of 0 is the phase of rest); and the solution as a function of it."""
    task = TargetTimes(
        duration=END, channels=2 * NEURONS, rate=RATE, pattern=seed,
        times=tuple(t for own in TARGETS.values() for t in own), counts=tuple(map(len, TARGETS.values())),
    )  # fmt: skip
    # Every neuron has an excitatory and an inhibitory input of its own.
    into = np.kron(np.eye(NEURONS), [[5.0, -5.0]])
    given = jax.tree.map(lambda x: x[0], task.split("test").stimulus)
    made = layer(into, np.zeros((NEURONS, NEURONS)))

    def solve(params, simulator):
        where = lambda n: (n.layers[0].recurrent.weight, n.layers[0].neuron.v_init)
        network = eqx.tree_at(where, made, (params["weight"][:, None], params["phase"]))
        state = network.init()
        (own,) = state.layers
        state = state._replace(layers=(own._replace(inputs=params["current"]),))
        return simulator(network, given, state=state)

    phase = jnp.full(NEURONS, float(QIF().v_init))
    params = {"weight": jnp.zeros((NEURONS, NEURONS)), "phase": phase, "current": jnp.zeros(NEURONS)}
    return params, solve, task


def two_times(seeds: int, updates: int, out: Path) -> None:
    """Table and figure of a recurrent network that learns the spikes of two of its neurons."""
    print("| seed | loss before | after | error before, ms | after |\n|---|---|---|---|---|")
    loss, simulator = TimeError(scale=2 * TAU, relative=True), EventDriven(spikes=30, events=500)
    optimiser = optax.adabelief(lambda n: 1e-2 * jnp.exp(-n / 2000))
    shown = None
    for seed in range(seeds):
        params, solve, task = recurrent_task(seed)
        trial = jax.tree.map(lambda x: x[0], task.split("test"))

        def cost(params, solve=solve, trial=trial):
            solution = solve(params, simulator)
            targeted = solution.spikes[0][:, jnp.asarray(list(TARGETS))]
            value, scalars = loss(solution._replace(spikes=(targeted,)), trial)
            return value, (scalars["error"], solution.spikes[0], solution.counts[0])

        @eqx.filter_jit
        def step(params, state, cost=cost):
            (value, aux), gradient = jax.value_and_grad(cost, has_aux=True)(params)
            change, state = optimiser.update(gradient, state)
            return optax.apply_updates(params, change), state, value, aux

        state, values, ends = optimiser.init(params), [], []
        for i in range(updates + 1):
            now = params
            params, state, value, aux = step(params, state)
            values.append(float(value))
            if i in (0, updates):
                ends.append(aux)
        del now
        (before, *_), (after, *_) = ends
        print(f"| {seed} | {values[0]:.3g} | {values[-1]:.3g} | {before:.2f} | {after:.2f} |", flush=True)
        shown = shown or (values, ends)
    values, ends = shown
    with mpl.rc_context(STYLE):
        page = Figure(figsize=(7.0, 2.6), layout="constrained")
        axes = page.subplots(1, 3, width_ratios=(1, 1, 0.9))
        titles = "before (o: wanted)", "after training"
        for ax, title, (_, times, counts) in zip(axes, titles, ends, strict=False):
            for n in range(NEURONS):
                own = np.asarray(times[: int(counts[n]), n])
                ax.plot(own, np.full(len(own), n), "|", ms=7, color="C0" if n in TARGETS else "0.5")
            for n, wanted in TARGETS.items():
                ax.plot(wanted, np.full(len(wanted), n), "o", mfc="none", mec="C3", ms=6, mew=0.8)
            ax.set(xlabel="time (ms)", xlim=(0, END), title=title)
        axes[0].set_ylabel("neuron")
        axes[2].semilogy(values)
        axes[2].set(xlabel="update", ylabel="loss", title="Loss (seed 0)")
        page.savefig(out / "two_times.png")


# --- Runs of configurations

WAYS = {"smooth": "with pseudospikes", "hard": "spikes alone"}
"""The two results in a summary, and what they are here."""


def shown_values(values: list[float]) -> str:
    """Mean, standard deviation over the seeds, and each, in percent."""
    spread = np.std(values, ddof=min(1, len(values) - 1))
    each = ", ".join(f"{100 * v:.1f}" for v in values)
    return f"{100 * np.mean(values):.1f} +- {100 * spread:.1f} ({each})"


def silent_at(folder: Path, which: int) -> list[float]:
    """Fraction of silent neurons of every layer in a batch of the first or last (0, -1) update of a run."""
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    line = [x for x in lines if "silent/0" in x][which]
    return [value for key, value in sorted(line.items()) if key.startswith("silent/")]


def percents(values: list[float]) -> str:
    return ", ".join(f"{100 * v:.0f}" for v in values)


def yin_yang(seeds: int, out: Path) -> None:
    """Table of the runs, and a figure of the plane as the first of them sees it."""
    runs, clocked = [], []
    for seed in range(seeds):
        folder = out / f"yin-yang-{seed}"
        runs.append(finished_run(load(CONFIGS / "yin_yang.toml", [("seed", str(seed))]), folder))
        steps = [("seed", str(seed)), ("simulator", "clock_driven")]
        clocked.append(evaluate_run(folder, load(CONFIGS / "yin_yang.toml", steps)))
    minutes = np.mean([run["training_minutes"] for run in runs])
    print("| simulated | test accuracy, % |\n|---|---|")
    for way, name in WAYS.items():
        print(f"| from spike to spike, {name} | {shown_values([run[way]['accuracy'] for run in runs])} |")
    right = [run["hard"]["accuracy"] for run in clocked]
    print(f"| in steps of 0.25 ms, hard threshold | {shown_values(right)} |")
    print(f"\ntraining: {minutes:.1f} minutes a seed", flush=True)
    plane(out / "yin-yang-0", out)


def plane(folder: Path, out: Path) -> None:
    """Figure: the class that fires first at every point of the plane, and when."""
    run = load_run(folder)
    network, task, simulator = run.network, run.task, run.simulator.hard()
    side = np.linspace(0, 1, 121)
    x, y = np.meshgrid(side, side)
    points = np.stack([x, y, 1 - x, 1 - y], axis=-1).reshape(-1, 4)
    inside = np.hypot(x - 0.5, y - 0.5) <= RADIUS
    first = eqx.filter_jit(
        lambda given: jax.lax.map(lambda s: simulator(network, s).spikes[-1][0], given, batch_size=200)
    )
    times = np.asarray(first(task.encode(jnp.asarray(points))))
    label = np.where(np.isfinite(times).any(1), times.argmin(1), -1).reshape(x.shape)
    wrong = inside & (label != region(points[:, :2]).reshape(x.shape))
    with mpl.rc_context(STYLE):
        page = Figure(figsize=(7.0, 2.9), layout="constrained")
        left, right = page.subplots(1, 2)
        extent = (0, 1, 0, 1)
        shown = np.where(inside & (label >= 0), label, np.nan)
        colours = mpl.colors.ListedColormap(["C0", "C1", "C2"])
        left.imshow(shown, origin="lower", extent=extent, cmap=colours, vmin=-0.5, vmax=2.5)
        left.plot(x[wrong], y[wrong], "k.", ms=1.2, label=f"wrong ({100 * wrong.sum() / inside.sum():.1f} %)")
        names = [mpl.patches.Patch(color=f"C{k}", label=name) for k, name in enumerate(task.labels)]
        left.legend(handles=[*names, *left.get_lines()], frameon=False, fontsize=6, loc="upper left")
        left.set(xlabel="x", ylabel="y", title="Neuron that fires first (spikes alone)")
        soonest = np.where(inside, times.min(1).reshape(x.shape), np.nan)
        image = right.imshow(np.where(np.isfinite(soonest), soonest, np.nan), origin="lower", extent=extent)
        right.set(xlabel="x", ylabel="y", title="When")
        page.colorbar(image, ax=right, label="first spike (ms)")
        page.savefig(out / "yin_yang.png")


SILENT = [
    ("network.layers.0.feedforward.connection.scale", "1.0"),
    ("network.layers.1.feedforward.scale", "1.0"),
]
"""A tenth, and a twentieth, of the weights: nothing fires."""


def silent(out: Path) -> None:
    """Table and figure of networks that are silent at first, trained with pseudospikes and without."""
    print(
        "| trained | silent before, % of hidden, output neurons | after | test accuracy with pseudospikes, % "
        "| spikes alone |\n|---|---|---|---|---|"
    )
    silence = {}
    for name, pseudospikes in (("with pseudospikes", "true"), ("without", "false")):
        given = [*SILENT, ("simulator.pseudospikes", pseudospikes)]
        folder = out / f"silent-{name.replace(' ', '-')}"
        summary = finished_run(load(CONFIGS / "yin_yang.toml", given), folder)
        lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
        silence[name] = np.array([[x["silent/0"], x["silent/1"]] for x in lines if "silent/0" in x])
        right = [f"{100 * summary[way]['accuracy']:.1f}" for way in WAYS]
        before, after = (percents(silent_at(folder, k)) for k in (0, -1))
        print(f"| {name} | {before} | {after} | {right[0]} | {right[1]} |", flush=True)
    with mpl.rc_context(STYLE):
        page = Figure(figsize=(4.5, 2.6), layout="constrained")
        ax = page.subplots()
        for k, (name, found) in enumerate(silence.items()):
            for column, style in ((0, "-"), (1, "--")):
                label = f"{('hidden', 'output')[column]} neurons, trained {name}"
                ax.plot(100 * found[:, column], style, color=f"C{k}", lw=1.0, label=label)
        ax.set(xlabel="update", ylabel="neurons silent in a batch (%)", ylim=(-3, 103))
        ax.legend(frameon=False, fontsize=6)
        page.savefig(out / "silent.png")


PARTS = ("one_neuron", "two_times", "yin_yang", "silent")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="by default all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, help="of one_neuron (12000), two_times (5000)")
    parser.add_argument("--out", type=Path, default=Path("runs/experiment-event-tasks"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for part in args.parts or PARTS:
        # Small losses have more digits than single precision.
        with jax.enable_x64(part in ("one_neuron", "two_times")):
            if part == "one_neuron":
                one_neuron(args.updates or 12_000, args.out)
            elif part == "two_times":
                two_times(args.seeds, args.updates or 5000, args.out)
            elif part == "yin_yang":
                yin_yang(args.seeds, args.out)
            else:
                silent(args.out)


if __name__ == "__main__":
    main()
