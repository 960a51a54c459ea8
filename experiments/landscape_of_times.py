"""How fragmented the loss is around the networks of `lif_or_qif.py`, and what gradients say there.

    python experiments/landscape_of_times.py [--data yin_yang digits] [--out runs/lif_or_qif]
        [--trials 20] [--single 3] [--points 81] [--extent 0.1] [--figures docs]

For the first seed of every contender, trained and initial, in float64 along a random direction
(filter-normalised) and down the gradient, x being a relative change of the weights: over the first `--trials`
held-out trials and over single ones

- *jumps*: places where the loss changes by 0.1 % of its range or more over a distance of 1e-6 of the line and
  keeps doing so, per unit of x, and the sum of their sizes over the range of the loss;
- *variation*: total variation over the range;
- *slope cosine*: between the slopes that the gradient claims and the secants over the points;
- *direction*: mean cosine between the gradients at neighbouring points;
- *nan*: share of the points whose gradient is not finite, left out of the two cosines;
- *changes*: of the number and of the order of spikes in a single trial, per unit of x, and which share of the
  jumps lies in a piece between points where the number of spikes of a layer changes.

Draws landscape_of_times_DATA.png: loss and slopes on the random line through the trained networks.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from lif_or_qif import CONTENDERS, UPDATES, markdown, seed_of

from spikejax import EventDriven, trainable
from spikejax.configuration import initial_state
from spikejax.jobs.run import trained
from spikejax.landscape import gradient_direction, jumps, loss_along, random_direction, spike_changes
from spikejax.parameters import cast
from spikejax.plotting.style import page, save_figures
from spikejax.tasks.base import first_trials
from spikejax.training.step import run_trial

FIELDS = ("weight",)
"""What was trained."""


class Found(NamedTuple):
    """A line through a network."""

    position: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    """``(points, parameters)``"""
    slope: np.ndarray
    jumps: Any
    changes: tuple | None
    """Between the points, of a single trial: whether the number of spikes of a layer is another, and whether
    only their order is."""


@eqx.filter_jit
def _gradients(network, direction, position, trials, loss, simulator):
    """Mean loss and gradient at ``p + x d``, and ``d . gradient``."""
    params, fixed = eqx.partition(network, trainable(network, FIELDS))

    def objective(p):
        one = lambda trial: loss(run_trial(eqx.combine(p, fixed), trial, simulator, save=loss.series), trial)[
            0
        ]
        return jnp.mean(jax.vmap(one)(trials))

    flat = lambda tree: jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(tree)])

    def at(x):
        value, gradient = jax.value_and_grad(objective)(
            jax.tree.map(lambda p, d: p + x * d, params, direction)
        )
        return value, flat(gradient), flat(gradient) @ flat(direction)

    return jax.lax.map(at, position)


def line(network, direction, position, trials, loss, simulator, single: bool) -> Found:
    """Everything about a line; `single`: whether there is one trial only."""
    values = map(np.asarray, _gradients(network, direction, jnp.asarray(position), trials, loss, simulator))
    value, gradient, slope = values
    found = jumps(loss_along(network, direction, trials, loss, simulator), position)
    changes = None
    if single:
        one = jax.tree.map(lambda x: x[0], trials)
        layers = spike_changes(network, direction, position, one, simulator)
        number = np.any([layer.number for layer in layers], axis=0)
        changes = number, np.any([layer.order for layer in layers], axis=0) & ~number
    return Found(position, value, gradient, slope, found, changes)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Along the last axis; 0 where either is 0."""
    norm = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.sum(a * b, axis=-1) / np.where(norm > 0, norm, 1.0)


def numbers(one: Found) -> dict[str, float]:
    """A line in a few numbers: see above."""
    span = max(float(np.ptp(one.loss)), np.finfo(float).tiny)
    length = one.position[-1] - one.position[0]
    good = np.isfinite(one.gradient).all(axis=1)
    both = good[1:] & good[:-1]
    secant = np.gradient(one.loss, one.position)
    found = {
        "jumps": one.jumps.density,
        "size": one.jumps.total / span,
        "variation": float(np.abs(np.diff(one.loss)).sum()) / span,
        "slope cosine": float(cosine(one.slope[good], secant[good])) if good.any() else np.nan,
        "direction": float(np.mean(cosine(one.gradient[1:][both], one.gradient[:-1][both])))
        if both.any()
        else np.nan,
        "nan": 1 - float(np.mean(good)),
    }
    if one.changes is not None:
        number, order = one.changes
        found |= {"number": number.sum() / length, "order": order.sum() / length}
        where = np.clip(np.searchsorted(one.position, one.jumps.position) - 1, 0, len(number) - 1)
        found["at changes"] = float(np.mean(number[where])) if len(where) else np.nan
    return found


def lines_of(folder: Path, args: argparse.Namespace) -> dict[tuple[str, str, str], list[Found]]:
    """Lines through the networks of a run, by network, direction and trials; of single ones one each."""
    run, network, config = trained(folder)
    networks = {"trained": network, "initial": eqx.combine(initial_state(config, run).params, run.fixed)}
    trials = first_trials(run.task.parts("validation"), args.trials)
    found: dict[tuple[str, str, str], list[Found]] = {}
    with jax.enable_x64(True):
        trials, simulator, loss = cast((trials, run.simulator, run.loss), jnp.float64)
        if isinstance(simulator, EventDriven) and simulator.events:
            # Beside the network there are more spikes than in it.
            room = {"spikes": 3 * simulator.spikes, "events": 2 * simulator.events}
            simulator = dataclasses.replace(simulator, **room)
        for name, network in networks.items():
            network = cast(network, jnp.float64)
            directions = {"random": random_direction(network, jax.random.key(0), FIELDS)}
            try:
                directions["gradient"] = gradient_direction(network, trials, loss, simulator, fields=FIELDS)
            except ValueError as error:
                print(f"{folder}, {name}: {error}", flush=True)
            for along, direction in directions.items():
                position = args.extent * np.linspace(-1, 1, args.points)
                ask = lambda x, single, d=direction, n=network, p=position: line(
                    n, d, p, x, loss, simulator, single
                )
                found[name, along, "all"] = [ask(trials, False)]
                if along == "random":
                    each = [jax.tree.map(lambda x, k=k: x[k : k + 1], trials) for k in range(args.single)]
                    found[name, along, "single"] = [ask(one, True) for one in each]
    return found


def picture(found: dict[str, dict]) -> Any:
    """Loss and slopes along the random line through the trained networks: over the trials, and one trial."""
    figure, axes = page(4, len(found), 3.2 * len(found) + 0.4, 8.0, sharex=True)
    for k, (contender, lines) in enumerate(found.items()):
        for row, (which, label) in enumerate((("all", "mean over trials"), ("single", "one trial"))):
            one = lines["trained", "random", which][0]
            top, bottom = axes[2 * row, k], axes[2 * row + 1, k]
            top.plot(one.position, one.loss, color="0.25", lw=0.9)
            height = np.interp(one.jumps.position, one.position, one.loss)
            top.plot(one.jumps.position, height, "x", color="C3", ms=4, label="jump")
            bottom.plot(one.position, np.gradient(one.loss, one.position), color="0.25", lw=0.9,
                        label="loss, from point to point")  # fmt: skip
            bottom.plot(one.position, one.slope, ".", color="C0", ms=3, label="gradient")
            if np.nanmax(np.abs(one.slope)) > 20:
                bottom.set_yscale("symlog", linthresh=1.0)
            if one.changes is not None:
                middle = (one.position[1:] + one.position[:-1]) / 2
                marks = (("number of spikes changes", "C1", 0.0), ("order of spikes changes", "C2", 0.06))
                for where, (name, colour, y) in zip(one.changes, marks, strict=True):
                    top.plot(middle[where], np.full(where.sum(), y), "|", color=colour, ms=7, label=name,
                             transform=top.get_xaxis_transform())  # fmt: skip
            if k == 0:
                top.set_ylabel(f"loss (dimensionless)\n{label}")
                bottom.set_ylabel(f"slope of the loss\n(per relative change)\n{label}")
        axes[0, k].set_title(contender, fontsize=9)
        axes[3, k].set_xlabel("change, random direction\n(relative to the norm of the weights)")
    for ax in axes[1:3, 0]:
        ax.legend(fontsize=6, frameon=False, loc="best")
    return figure


def main() -> None:
    """Read the command line, compute the lines, print the tables, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=UPDATES, default=["yin_yang"])
    parser.add_argument("--out", type=Path, default=Path("runs/lif_or_qif"))
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--single", type=int, default=3)
    parser.add_argument("--points", type=int, default=81)
    parser.add_argument("--extent", type=float, default=0.1)
    parser.add_argument("--figures", type=Path, help="folder of the pictures; default: --out")
    args = parser.parse_args()
    for data in args.data:
        found, rows = {}, []
        for contender in CONTENDERS:
            found[contender] = lines_of(seed_of(args.out, data, contender), args)
            for key, each in found[contender].items():
                all_numbers = [numbers(one) for one in each]
                shown = [f"{np.nanmean([one.get(name, np.nan) for one in all_numbers]):.3g}"
                         if name in all_numbers[0] else "" for name in HEADS]  # fmt: skip
                rows.append([contender, *key, *shown])
                print(rows[-1], flush=True)
        print(f"\n{data}\n\n" + markdown(["contender", "network", "direction", "trials", *HEADS], rows))
        save_figures(args.figures or args.out, {f"landscape_of_times_{data}": lambda f=found: picture(f)})


HEADS = ("jumps", "size", "variation", "slope cosine", "direction", "nan", "number", "order", "at changes")

if __name__ == "__main__":
    main()
