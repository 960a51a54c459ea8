"""The README's picture: a trained network reading one letter.

python experiments/picture.py runs/braille [--trial 60] [--out docs/braille.png]
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from spikejax import simulate
from spikejax.configuration import build_loss
from spikejax.jobs.run import trained
from spikejax.losses import Sum
from spikejax.plotting import STYLE


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--trial", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("docs/braille.png"))
    args = parser.parse_args()
    run, network, config = trained(args.run)
    trial = jax.tree.map(lambda x: x[args.trial], run.task.split("test"))
    gate, dt = run.final_gate, config.dt
    solution = simulate(network, trial.stimulus, gate=gate, dt=dt, save=("release", "v"))
    loss = build_loss(config)
    classify = loss.parts[0] if isinstance(loss, Sum) else loss
    record, time = solution.layers[0], (np.arange(len(trial.stimulus)) + 1) * dt

    def so_far(t):
        # What the readouts have said until t: later ones count as 0.
        heard = jnp.where(jnp.arange(len(time))[:, None] <= t, solution.readout, 0.0)
        return jax.nn.softmax(classify.logits(solution._replace(readout=heard)))

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 6.6), layout="constrained")
        axes = figure.subplots(5, 1, sharex=True, height_ratios=[1, 1.8, 0.8, 0.8, 1])
        t, channel = np.nonzero(np.asarray(trial.stimulus))
        axes[0].scatter(time[t], channel, s=4, marker="|", color="k")
        axes[0].set(
            ylabel="input\nchannel",
            title=f"Reading the letter {run.task.labels[int(trial.target)]} (test trial {args.trial})",
        )
        release = np.clip(np.asarray(record.release), -1, 1)
        order = np.argsort(-np.asarray(solution.counts[0]))
        t, n = np.nonzero(np.abs(release[:, order]) > 0.02)
        dots = axes[1].scatter(
            time[t], n, s=5, marker="|", c=release[:, order][t, n], cmap="RdGy", vmin=-1, vmax=1
        )
        axes[1].set(ylabel="neuron\n(by spike count)")
        figure.colorbar(dots, ax=axes[1], label="released charge", pad=0.01)
        low, high = (np.broadcast_to(np.asarray(e), order.shape) for e in network.layers[0].neuron.zone(gate))
        graded = np.abs(np.sum(np.abs(release), 0) - np.abs(np.sum(release, 0)))
        for ax, neuron in zip(axes[2:4], (order[3], np.argsort(-graded)[0]), strict=True):
            ax.axhspan(low[neuron], high[neuron], color="C1", alpha=0.3, lw=0)
            ax.plot(time, np.asarray(record.v)[:, neuron], color="C0")
            ax.set(ylabel=f"v, neuron {neuron}\n(threshold 1)")
        axes[2].text(time[2], 1.02, "active zone", color="C1", fontsize=7, va="bottom")
        p = np.asarray(jax.lax.map(so_far, jnp.arange(len(time)), batch_size=16))
        for i in np.argsort(-p.max(0))[:5]:
            axes[4].plot(time, p[:, i], label=run.task.labels[i], lw=1.8 if i == int(trial.target) else 1.0)
        axes[4].set(ylabel="probability\nso far", xlabel="time (ms)", ylim=(0, 1.02))
        axes[4].legend(frameon=False, ncols=5, fontsize=7)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(args.out)


if __name__ == "__main__":
    main()
