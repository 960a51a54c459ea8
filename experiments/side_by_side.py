"""Four ways to a gradient of spike times, side by side on the same task: event-driven QIF, event-driven LIF,
the smooth gate in steps, a surrogate gradient in steps.

    python experiments/side_by_side.py [--data yin_yang digits] [--out runs/lif_or_qif] [--rounds 5]

Reads the runs of ``lif_or_qif.py`` in --out, and trains the surrogate's there, from the gate's configuration.
One table for each data set:

- *accuracy*: on the test split, of spikes alone (hard threshold; without pseudospikes), and as trained;
- *cosine*: of the mean gradient over a batch with the exact event-driven one of the same LIF network, as it
  was initialised and as event-driven training left it, and of their lengths the ratio;
- *update*: CPU time of the loss and its gradient for a batch, ms, the median of rounds in which the ways take
  turns; *memory*: of its temporary arrays, as the compiler plans them, MB.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from lif_or_qif import CONTENDERS, UPDATES, folder_of, markdown, seed_of

from spikejax import trainable
from spikejax.configuration import initial_state, load
from spikejax.jobs.run import read_summary, trained
from spikejax.jobs.train import finished_run
from spikejax.training.step import run_trial

QIF, LIF, GATE = CONTENDERS
SURROGATE = "LIF, surrogate"
SURROGATES = (
    ("gate.release", '{kind = "surrogate", time_gradient = true}'),
    ("gate.kernel", "fast_sigmoid"),
    ("gate.width", "2.0"),
    ("gate.sharpness_end", "1.0"),
)
"""What makes a surrogate of the gate's configuration; crossings have their exact times beside it."""
FIELDS = ("weight",)


@eqx.filter_jit
def gradient(params, fixed, trials, loss, simulator):
    """Of the mean loss over trials."""

    def objective(p):
        network = eqx.combine(p, fixed)
        one = lambda trial: loss(run_trial(network, trial, simulator, save=loss.series), trial)[0]
        return jnp.mean(jax.vmap(one)(trials))

    return jax.value_and_grad(objective)(params)


def flat(tree) -> np.ndarray:
    """All numbers of a gradient."""
    return np.concatenate([np.asarray(leaf, float).reshape(-1) for leaf in jax.tree.leaves(tree)])


def agreement(own: np.ndarray, exact: np.ndarray) -> str:
    """Cosine, and ratio of lengths."""
    a, b = np.linalg.norm(own), np.linalg.norm(exact)
    return f"{own @ exact / (a * b):.3f} ({a / b:.2g})" if a > 0 and b > 0 else "-"


def runs_of(data: str, out: Path) -> dict[str, Path]:
    """Folders of the four runs; the surrogate's is trained unless it is there."""
    folders = {name: seed_of(out, data, name) for name in CONTENDERS}
    gate = folders[GATE] / "config.toml"
    folders[SURROGATE] = folder_of(out, data, SURROGATE)
    config = load(gate, SURROGATES)
    finished_run(config, folders[SURROGATE], figures=False, progress=False)
    return folders


def side_by_side(data: str, out: Path, rounds: int) -> str:
    """The table of a data set."""
    folders = runs_of(data, out)
    loaded: dict[str, Any] = {name: trained(folder) for name, folder in folders.items()}
    run, after, config = loaded[LIF]
    before = eqx.combine(initial_state(config, run).params, run.fixed)
    trials = run.task.batch(jax.random.key(0), 0, UPDATES[data][1])
    programs, rows, exact = {}, [], {}
    for name, (own, network, _) in loaded.items():
        params, fixed = eqx.partition(network, trainable(network, FIELDS))
        # The same trials, as this way's task makes them.
        given = own.task.batch(jax.random.key(0), 0, UPDATES[data][1])
        compiled = gradient.lower(params, fixed, given, own.loss, own.simulator).compile()
        programs[name] = (compiled, (params, fixed, given, own.loss, own.simulator))
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name, (compiled, arguments) in programs.items():
            begun = time.process_time()
            jax.block_until_ready(compiled(*arguments))
            if turn:
                taken[name].append(1e3 * (time.process_time() - begun))
    for name, (own, _, _) in loaded.items():
        cosines = ["", ""]
        if name != QIF:
            for k, network in enumerate((before, after)):
                params, fixed = eqx.partition(network, trainable(network, FIELDS))
                found = flat(gradient(params, fixed, trials, own.loss, own.simulator)[1])
                exact.setdefault(k, found)
                cosines[k] = agreement(found, exact[k])
        summary = read_summary(folders[name])
        memory = programs[name][0].compiled.memory_analysis().temp_size_in_bytes / 1e6
        rows.append([name, f"{summary['hard']['accuracy']:.3f}", f"{summary['smooth']['accuracy']:.3f}",
                     *cosines, f"{np.median(taken[name]):.1f}", f"{memory:.1f}"])  # fmt: skip
    heads = ["way", "accuracy, spikes alone", "as trained", "cosine, initial (length)",
             "cosine, trained (length)", "update, ms", "memory, MB"]  # fmt: skip
    return f"\n{data}\n\n" + markdown(heads, rows)


def main() -> None:
    """Read the command line, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=UPDATES, default=["yin_yang"])
    parser.add_argument("--out", type=Path, default=Path("runs/lif_or_qif"))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for data in args.data:
        print(side_by_side(data, args.out, args.rounds), flush=True)


if __name__ == "__main__":
    main()
