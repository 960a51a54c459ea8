"""Delayed-memory XOR (Huh & Sejnowski 2018, section 3.2): trained networks on fresh trials, in numbers and in
the paper's figure.

    python experiments/delayed_xor.py [--seeds 3] [--out runs/experiment-delayed-xor] [--key VALUE ...]
    python experiments/delayed_xor.py --damping [--out ...]

Trains ``configs/delayed_xor.toml`` for several seeds (finished runs are read, interrupted ones go on), prints
accuracy by delay, time step, threshold and noise, draws ``trials.png`` and runs the analyses of ``spikejax
analyse``. ``--damping`` asks what the damping of the costate does: how well the gradients of independent
batches agree, how far each is from the exact one, and what short trainings make of it.
"""

import argparse
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from spikejax import ClockDriven, Costate, Noise, trainable
from spikejax.analysis import record
from spikejax.cli import key_values
from spikejax.configuration import Config, build, build_gate, build_loss, build_task, initial_state, load
from spikejax.jobs.analyse import analyse_run
from spikejax.jobs.run import trained
from spikejax.jobs.train import finished_run
from spikejax.network import Network
from spikejax.plotting import STYLE
from spikejax.tasks.delayed_xor import KINDS, DelayedXOR
from spikejax.training import make_evaluate, run_trial
from spikejax.training.log import read_metrics

CONFIG = Path(__file__).parent.parent / "configs" / "delayed_xor.toml"
TRIALS = 600


def task_at(config: Config, dt: float, **changes) -> DelayedXOR:
    """The task at a time step, with other delays of its held-out trials."""
    task = config.task.model_copy(update={"held_out": (1, TRIALS), **changes})
    return build_task(config.model_copy(update={"dt": dt, "task": task}))


def accuracies(network: Network, config: Config) -> dict[str, float]:
    """Accuracy on fresh trials: rows "dt, gate", columns the longest delay; and under noise of the initial
    state."""
    gate, final = build_gate(config)
    loss, found = build_loss(config), {}
    gates = {"smooth": gate, "sharpest": final, "hard": gate.hard()}
    for dt in (config.dt, config.dt / 2):
        evaluate = make_evaluate(loss, at_once=120)
        for longest in (100.0, 200.0, 400.0, 700.0, 1000.0):
            trials = task_at(config, dt, delays=(config.task.delays[0], longest)).split("test")
            for name, g in gates.items():
                metrics = evaluate(network, trials, ClockDriven(g, dt)).metrics
                found[f"dt {dt:g} ms, {name} | {longest:.0f}"] = metrics["accuracy"]
                if longest == 700:
                    found[f"squared error, dt {dt:g} ms, {name} | 700"] = metrics["squared"]
        trials = task_at(config, dt).aligned(700.0, TRIALS)
        for name, g in gates.items():
            result = evaluate(network, trials, ClockDriven(g, dt))
            found[f"dt {dt:g} ms, {name} | both 700"] = result.metrics["accuracy"]
            if dt == config.dt:
                rate = (
                    np.asarray(result.counts[0]).mean(axis=0)
                    / np.asarray(trials.mask).sum(axis=1).mean()
                    / dt
                    * 1e3
                )
                found[f"rate, {name} | mean"], found[f"rate, {name} | largest"] = (
                    float(rate.mean()),
                    float(rate.max()),
                )
    trials = task_at(config, config.dt).split("test")
    for noise in (0.0, 0.02, 0.05, 0.1, 0.2):
        evaluate = make_evaluate(loss, at_once=120, noise=Noise(noise))
        for name, g in gates.items():
            metrics = evaluate(network, trials, ClockDriven(g, config.dt)).metrics
            found[f"noise, {name} | {noise:g}"] = metrics["accuracy"]
    return found


def untrained(config: Config) -> dict[str, float]:
    """Accuracy and squared error, before any update, of the network whose readout alone was solved for."""
    run, found = build(config), {}
    network = eqx.combine(initial_state(config, run).params, run.fixed)
    for dt in (config.dt, config.dt / 2):
        trials = task_at(config, dt).split("test")
        for name, g in (("smooth", run.gate), ("sharpest", run.final_gate), ("hard", run.gate.hard())):
            metrics = make_evaluate(run.loss, at_once=120)(network, trials, ClockDriven(g, dt)).metrics
            found |= {f"untrained, dt {dt:g} ms, {name} | accuracy": metrics["accuracy"]}
            found |= {f"untrained, dt {dt:g} ms, {name} | squared error": metrics["squared"]}
    return found


def table(runs: list[dict[str, float]], prefix: str, unit: str) -> str:
    """Rows and columns of the entries whose row begins with `prefix`: the mean, and the least of the
    seeds."""
    entries = [tuple(name.split(" | ")) for name in runs[0] if name.startswith(prefix)]
    rows, columns = list(dict.fromkeys(r for r, _ in entries)), list(dict.fromkeys(c for _, c in entries))
    lines = [f"| {unit} | {' | '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
    for row in rows:
        cells = []
        for column in columns:
            values = [run[f"{row} | {column}"] for run in runs]
            digits = 1 if prefix == "rate" else 3
            cells.append(f"{np.mean(values):.{digits}f} ({', '.join(f'{v:.{digits}f}' for v in values)})")
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def figure(network: Network, config: Config, delay: float = 400.0) -> Figure:
    """One trial of every kind: input, readout with smooth gate and hard threshold, and the spikes of the hard
    one."""
    gate, dt = build_gate(config)[0], config.dt
    trials = build_task(config).aligned(delay, len(KINDS))
    smooth, hard = (record(network, trials, ClockDriven(g, dt)) for g in (gate, gate.hard()))
    # Neurons in the order of their preference: rate after a first + pulse minus after a first - one.
    late = hard.release[:, : round((40 + 24 + delay) / dt)].sum(axis=1)
    order = np.argsort(late[[0, 1]].mean(axis=0) - late[[2, 3]].mean(axis=0))
    with mpl.rc_context(STYLE):
        page = Figure(figsize=(14, 7), layout="constrained")
        axes = page.subplots(3, len(KINDS), sharex=True, sharey="row", height_ratios=(1.4, 1.4, 3))
        for k, kind in enumerate(KINDS):
            top, middle, bottom = axes[:, k]
            x = np.asarray(trials.stimulus[k])
            top.plot(smooth.time, x[:, 0], color="C0", label="pulses")
            top.plot(smooth.time, x[:, 1], color="C2", label="go cue")
            top.set(title=f"pulses {kind}")
            middle.plot(
                smooth.time,
                np.asarray(trials.target.signal[k, :, 0]),
                color="k",
                lw=2,
                alpha=0.4,
                label="target",
            )
            middle.plot(smooth.time, smooth.readout[k, :, 0], color="C1", label="smooth gate")
            middle.plot(smooth.time, hard.readout[k, :, 0], color="C3", lw=0.7, label="hard threshold")
            step, neuron = np.nonzero(hard.release[k][:, order] > 0.5)
            bottom.scatter(hard.time[step], neuron, s=1.5, marker="|", color="k")
            bottom.set(xlabel="time (ms)")
        axes[0, 0].set(ylabel="input\n(dimensionless)")
        axes[1, 0].set(ylabel="readout\n(dimensionless)")
        axes[2, 0].set(ylabel="neuron, sorted by preference for\na first + pulse (hard threshold)")
        axes[0, 0].legend(frameon=False, fontsize=6)
        axes[1, 0].legend(frameon=False, fontsize=6)
    return page


def damping(config: Config, out: Path) -> None:
    """Agreement of independent batches' gradients, and the bias, for several dampings of the costate; at the
    start and after training."""
    run = build(config)
    networks = {"at the start": eqx.combine(initial_state(config, run).params, run.fixed)}
    if (out / "seed-0" / "best.ckpt").exists():
        networks["after training"] = trained(out / "seed-0")[1]
    loss, batches = build_loss(config), 8
    task = build_task(
        config.model_copy(
            update={"task": config.task.model_copy(update={"buckets": (248.0,), "odds": (1.0,)})}
        )
    )

    @eqx.filter_jit
    def gradient(network, trials, gate, rate):
        params, fixed = eqx.partition(network, trainable(network))
        simulator = ClockDriven(gate, config.dt, Costate(damping=rate))

        def one(model, trial):
            return loss(run_trial(model, trial, simulator, save=loss.series), trial)[0]

        def objective(params):
            return jnp.mean(jax.vmap(lambda trial: one(eqx.combine(params, fixed), trial))(trials))

        return jax.grad(objective)(params).layers[0].recurrent.weight.reshape(-1)

    def cosine(a, b):
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-30))

    key = jax.random.key(9)
    print(
        "| network, sharpness | damping per ms (a step) | cosine between batches | cosine with the undamped "
        "mean | norm |"
    )
    print("|---|---|---|---|---|")
    for where, network in networks.items():
        for sharpness in (1.0, 8.0):
            gate, exact = run.gate.sharpen(sharpness), None
            for rate in (0.0, 0.001, 0.0026, 0.005, 0.01, 0.0256, 0.05):
                each = (
                    gradient(network, task.batch(key, i, 48), gate, jnp.asarray(rate)) for i in range(batches)
                )
                g = [np.asarray(x, float) for x in each]
                between = np.mean([cosine(g[i], g[j]) for i in range(batches) for j in range(i)])
                mean = np.mean(g, axis=0)
                exact = mean if exact is None else exact
                norm, factor = np.median(np.linalg.norm(g, axis=1)), np.exp(-rate * config.dt)
                cells = f"{rate:g} ({factor:.3f}) | {between:.2f} | {cosine(mean, exact):.2f} | {norm:.3g}"
                print(f"| {where}, {sharpness:g} | {cells} |", flush=True)


def damped_training(overrides: list, out: Path, steps: int = 400) -> None:
    """What short trainings make of the start, for several dampings: held-out loss (first, best, last) and
    accuracy at the best and last."""
    print(
        "\n| damping per ms | held-out loss after the first 100 updates | best | last | accuracy, best | "
        "last | median gradient norm |"
    )
    print("|---|---|---|---|---|---|---|")
    for rate in (0.0, 0.0026, 0.01, 0.0256, 0.05):
        folder = out / f"damping-{rate:g}"
        changed = load(
            CONFIG,
            [("seed", "1"), ("adjoint.damping", str(rate)), ("training.steps", str(steps)), *overrides],
        )
        changed = changed.model_copy(
            update={"training": changed.training.model_copy(update={"rollback": None})}
        )
        finished_run(changed, folder, progress=False)
        metrics = read_metrics(folder / "metrics.jsonl")
        held = [m for m in metrics if "held_out/loss" in m]
        best = min(held, key=lambda m: m["held_out/loss"])
        norm = np.median([m["gradient"] for m in metrics])
        losses = " | ".join(f"{m['held_out/loss']:.4f}" for m in (held[0], best, held[-1]))
        scores = " | ".join(f"{m['held_out/accuracy']:.3f}" for m in (best, held[-1]))
        print(f"| {rate:g} | {losses} | {scores} | {norm:.3g} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/experiment-delayed-xor"))
    parser.add_argument("--damping", action="store_true")
    args, rest = parser.parse_known_args()
    overrides = key_values(rest)
    if args.damping:
        damping(load(CONFIG, overrides), args.out)
        damped_training(overrides, args.out)
        return
    found, minutes = [], []
    for seed in range(args.seeds):
        folder = args.out / f"seed-{seed}"
        config = load(CONFIG, [("seed", str(seed)), *overrides])
        minutes.append(finished_run(config, folder)["training_minutes"])
        network = trained(folder)[1]
        found.append(accuracies(network, config) | untrained(config))
        figure(network, config).savefig(folder / "trials.png")
        analyse_run(folder)
        print(
            f"\n{folder}: {minutes[-1]:.1f} minutes\n" + table(found[-1:], "dt", "longest delay (ms)"),
            flush=True,
        )
    print(f"\n{len(found)} seeds; training took {', '.join(f'{m:.1f}' for m in minutes)} minutes\n")
    print(table(found, "dt", "accuracy; longest delay (ms)") + "\n")
    print(table(found, "squared error", "squared error; longest delay (ms)") + "\n")
    print(table(found, "noise", "accuracy, delays to 700 ms; noise of the initial phase") + "\n")
    print(table(found, "rate", "Hz") + "\n")
    print(table(found, "untrained", "delays to 700 ms"))


if __name__ == "__main__":
    main()
