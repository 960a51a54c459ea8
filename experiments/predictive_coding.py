"""Predictive coding (Huh & Sejnowski 2018, section 3.1): trained networks on fresh signals, in numbers and in
the paper's figure.

    python experiments/predictive_coding.py [--seeds 3] [--out runs/experiment-predictive-coding] [--key VALUE
    ...]

Trains ``configs/predictive_coding.toml`` for several seeds (finished runs are read, interrupted ones go on),
prints a table, one row a measure, and draws ``predictive_coding.png`` in the folder of each run. ``--hand``
measures instead the networks that theory gives.
"""

import argparse
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from spikejax import ClockDriven
from spikejax.activity import rates
from spikejax.analysis import balance, interval_statistics, lagged_error, record, split_currents
from spikejax.cli import key_values
from spikejax.configuration import Config, build, build_gate, build_task, load
from spikejax.jobs.run import trained
from spikejax.jobs.train import finished_run
from spikejax.network import Network
from spikejax.parameters import Masked, resolve
from spikejax.plotting import STYLE
from spikejax.simulate import simulate

CONFIG = Path(__file__).parent.parent / "configs" / "predictive_coding.toml"
ACTIVE = 0.5
"""Rate in Hz above which a neuron counts as active."""


def weights(network: Network) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``W_fast``, ``W_fast + W_slow - reset`` and ``-U O``: theory makes the second equal to the third.

    The reset of a NIF neuron, v -> v - 1, is what a fast synapse onto itself of weight ``-tau_mem rate_unit``
    would do.
    """
    network = resolve(network)
    (layer,), readout = network.layers, network.readout.connection.weight[:, -1]
    fast, slow = np.asarray(layer.recurrent.weight[:, 0]), np.asarray(layer.recurrent.weight[:, 1])
    reset = np.diag(np.asarray(layer.neuron.tau_mem)) * layer.synapse.rate_unit
    return fast, fast + slow - reset, -np.asarray(layer.feedforward.weight @ readout)


def measure(network: Network, config: Config) -> dict[str, float]:
    """Everything the table shows."""
    gate = build_gate(config)[0]
    result: dict[str, float] = {}
    for part in (1, 2):
        dt = config.dt / part
        trials = build_task(config.model_copy(update={"dt": dt})).split("test")
        for name, g in (("smooth", gate), ("hard", gate.hard())):
            run = record(network, trials, ClockDriven(g, dt))
            lags, errors = lagged_error(run.readout, np.asarray(trials.target), dt)
            label, best = f"{name}, dt{'' if part == 1 else '/2'}", errors.argmin()
            result |= {
                f"error, {label}": errors[0],
                f"at the best lag, {label}": errors[best],
                f"best lag (ms), {label}": lags[best],
            }
            if (part, name) == (1, "hard"):
                rate = np.asarray(rates(jnp.asarray(run.release.sum(axis=1)), run.release.shape[1] * dt))
                active = rate > ACTIVE
                intervals = interval_statistics(run.release, dt)
                result |= {
                    "active neurons": int(active.sum()),
                    "mean rate (Hz)": rate.mean(),
                    "largest rate (Hz)": rate.max(),
                }
                result |= {"ISI CV": intervals.cv, "ISI CV2": intervals.cv2}
    stimulus = trials.stimulus[0]  # at dt/2
    e, i = currents(network, stimulus, gate.hard(), dt)
    found = balance(e, i, dt)
    result |= {"excitation-inhibition correlation": found.correlation, "net/excitation": found.ratio}
    fast, total, theory = (m[np.ix_(active, active)] for m in weights(network))
    other = ~np.eye(len(fast), dtype=bool)
    slope = float(np.sum(total * theory) / np.sum(theory**2))
    result |= {
        "slope of W_fast + W_slow - reset on -U O": slope,
        "correlation": np.corrcoef(total.ravel(), theory.ravel())[0, 1],
    }
    off, wanted = fast[other], theory[other]
    result |= {"slope of W_fast alone (off the diagonal)": float(np.sum(off * wanted) / np.sum(wanted**2))}
    result |= {"correlation (off the diagonal)": np.corrcoef(off, wanted)[0, 1]}
    return {name: float(x) for name, x in result.items()}


def currents(network: Network, stimulus, gate, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Excitatory and inhibitory current of every neuron in one trial."""
    solution = eqx.filter_jit(lambda n, x, g: simulate(n, x, gate=g, dt=dt, save="activation"))(
        network, stimulus, gate
    )
    after = np.asarray(solution.layers[0].activation)
    before = np.concatenate([np.zeros_like(after[:1]), after[:-1]])
    return split_currents(network.layers[0], np.asarray(stimulus), before)


def figure(network: Network, config: Config) -> Figure:
    """The paper's figure: readout and target, one neuron's currents, voltages, raster, and weights against
    theory."""
    gate = build_gate(config)[0]
    trials = build_task(config).split("test")
    one = jax.tree.map(lambda x: x[:1], trials)
    run = record(network, one, ClockDriven(gate.hard(), config.dt))
    t, y = run.time, np.asarray(one.target[0])
    shown = np.argsort(-run.release[0].sum(axis=0))[:3]
    e, i = currents(network, one.stimulus[0], gate.hard(), config.dt)
    with mpl.rc_context(STYLE):
        page = Figure(figsize=(11.5, 9), layout="constrained")
        left, right = page.subfigures(1, 2, width_ratios=(2, 1))
        axes = left.subplots(4, 1, sharex=True, height_ratios=(1.3, 1, 1, 1.2))
        for c in range(y.shape[1]):
            axes[0].plot(t, y[:, c], color="k", lw=1.6, alpha=0.5, label="target" if c == 0 else None)
            axes[0].plot(t, run.readout[0, :, c], color=f"C{c}", lw=0.8, label=f"readout {c}")
        axes[0].set(ylabel="signal (dimensionless)", title="A fresh signal, hard threshold")
        axes[0].legend(frameon=False, ncols=3, loc="upper right", fontsize=7)
        n = shown[0]
        axes[1].plot(t, e[:, n], color="C3", label="excitatory")
        axes[1].plot(t, i[:, n], color="C0", label="inhibitory")
        axes[1].plot(t, e[:, n] + i[:, n], color="k", lw=0.7, label="net")
        axes[1].set(ylabel=f"current of neuron {n}\n(tau_mem times threshold/ms)")
        axes[1].legend(frameon=False, ncols=3, loc="upper right", fontsize=7)
        for k, n in enumerate(shown):
            axes[2].plot(t, run.v[0, :, n], lw=0.7, color=f"C{k + 4}", label=f"neuron {n}")
        axes[2].axhline(1.0, color="k", lw=0.6, ls="--")
        axes[2].set(ylabel="membrane potential\n(1 = threshold)")
        axes[2].legend(frameon=False, ncols=3, loc="lower right", fontsize=7)
        step, neuron = np.nonzero(run.release[0] > 0.5)
        axes[3].scatter(t[step], neuron, s=4, marker="|", color="k")
        axes[3].set(ylabel="neuron", xlabel="time (ms)")
        fast, total, theory = weights(network)
        top, middle, bottom = right.subplots(3, 1)
        size = np.abs(theory).max()
        for ax, matrix, title in ((top, fast, "learned W_fast"), (middle, theory, "-U O")):
            image = ax.imshow(matrix, cmap="RdBu_r", vmin=-size, vmax=size)
            ax.set(xlabel="from neuron", ylabel="to neuron", title=title)
            right.colorbar(image, ax=ax, label="weight (dimensionless)")
        bottom.scatter(theory.ravel(), total.ravel(), s=3, color="C2", label="W_fast + W_slow - reset")
        bottom.scatter(theory.ravel(), fast.ravel(), s=3, color="0.6", label="W_fast")
        bottom.plot([-size, size], [-size, size], color="k", lw=0.7)
        bottom.set(
            xlabel="-U O (dimensionless)", ylabel="weight (dimensionless)", title="Weights against theory"
        )
        bottom.legend(frameon=False, fontsize=7)
    return page


def by_hand(config: Config, alpha: float) -> Network:
    """The network of theory on the configured input weights: ``W_fast = -alpha U O``, ``W_slow = -(1 - alpha)
    U O``, no autapses."""
    network = build(config).network
    product = -(
        resolve(network).layers[0].feedforward.weight @ network.readout.connection.weight.value[:, -1]
    )
    weight = network.layers[0].recurrent.weight
    raw = jnp.stack([alpha * product, (1 - alpha) * product], axis=1)
    return eqx.tree_at(
        lambda n: n.layers[0].recurrent.weight,
        network,
        Masked(raw, weight.mask),
        is_leaf=lambda x: isinstance(x, Masked),
    )


def table(columns: dict[str, list[dict[str, float]]]) -> str:
    """One row a measure, one column a condition: the mean, and each seed in parentheses."""
    rows = [f"| | {' | '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
    for name in next(iter(columns.values()))[0]:
        cells = []
        for runs in columns.values():
            values = [r[name] for r in runs]
            digits = (
                1 if "Hz" in name or "ms" in name else 4 if "error" in name or "at the best" in name else 2
            )
            text = ", ".join(f"{v:.{digits}f}" for v in values)
            cells.append(f"{np.mean(values):.{digits}f} ({text})" if len(values) > 1 else text)
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/experiment-predictive-coding"))
    parser.add_argument("--hand", action="store_true", help="measure the networks of theory instead")
    args, rest = parser.parse_known_args()
    overrides = key_values(rest)
    if args.hand:
        config = load(CONFIG, [("network.readout.scale", "0.0125"), *overrides])
        print(
            table({f"alpha {alpha}": [measure(by_hand(config, alpha), config)] for alpha in (1.0, 0.5, 0.25)})
        )
        return
    found = []
    for seed in range(args.seeds):
        folder = args.out / f"seed-{seed}"
        config = load(CONFIG, [("seed", str(seed)), *overrides])
        summary = finished_run(config, folder)
        network = trained(folder)[1]
        found.append(measure(network, config) | {"training (minutes)": summary["training_minutes"]})
        figure(network, config).savefig(folder / "predictive_coding.png")
        print(f"\n{folder}\n{table({f'seed {seed}': found[-1:]})}", flush=True)
    print("\n" + table({f"mean of {args.seeds} seeds (each)": found}))


if __name__ == "__main__":
    main()
