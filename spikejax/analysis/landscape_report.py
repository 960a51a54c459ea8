"""The landscapes of a finished run: trained and untrained, for several gates, over a set of trials and for
one of them."""

import csv
import functools
import itertools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from jaxtyping import Float

from ..adjoints import Costate
from ..build import Run
from ..gates import KERNELS, Gate
from ..network import Network
from ..noise import Noise
from ..parameters import cast
from ..plotting import STYLE
from ..releases import Charge, Surrogate
from ..simulate import check_step
from ..tasks import Trial
from ..tasks.base import first_trials
from . import landscape_figures as figures
from .landscape import (
    Line,
    along_line,
    gradient_direction,
    on_plane,
    random_direction,
    reach,
    roughness,
    secants,
)

DIRECTIONS = ("random", "gradient")
DECADES = 7
"""Of the spans over which secants are taken through the network."""
PLANE = 21
"""Points of the plane in each direction."""


class Options(NamedTuple):
    """What of a landscape is computed."""

    directions: tuple[str, ...] = DIRECTIONS
    range: float = 0.5
    """Largest change of the parameters along a random direction, relative to their norm."""
    gradient_range: float = 0.05
    """The same along the gradient, which is steep."""
    points: int = 41
    """Of a line; odd, so that the network itself is one."""
    sharpness: tuple[float, ...] | None = None
    """Of the smooth gates; default: 1, 4 and 16 times what training ended with."""
    surrogate: str = "fast_sigmoid"
    """Kernel of the surrogate gradient, as wide as the run's gate at sharpness 1."""
    split: str = "validation"
    trials: int = 40
    """The first so many of the split."""
    trial: int = 0
    """Which of them is looked at alone."""
    seed: int = 0
    """Of the random direction."""
    plane: bool = True

    def extent(self, direction: str) -> float:
        """Largest change along a direction."""
        return self.gradient_range if direction == "gradient" else self.range

    def check(self) -> None:
        """Raise `ValueError` for values that make no landscape."""
        if not self.directions or not set(self.directions) <= set(DIRECTIONS):
            raise ValueError(
                f"--directions are {' '.join(self.directions) or 'none'}: choose from {', '.join(DIRECTIONS)}"
            )
        for name, value in (("range", self.range), ("gradient_range", self.gradient_range)):
            if not 0 < value < np.inf:
                raise ValueError(f"--{name} is {value:g}: give a relative change of the parameters above 0")
        if self.points < 5 or self.points % 2 == 0:
            raise ValueError(
                f"--points is {self.points}: give an odd number from 5 on, so that the network itself is one of them"
            )
        if self.sharpness is not None and not (
            self.sharpness and all(0 < a < np.inf for a in self.sharpness)
        ):
            raise ValueError("--sharpness lists values that are not above 0: leave them out")
        if self.surrogate not in KERNELS:
            raise ValueError(f"--surrogate is {self.surrogate}: choose from {', '.join(KERNELS)}")
        if self.split not in ("validation", "test"):
            raise ValueError(f"--split is {self.split}: choose validation or test")
        if self.trials < 1:
            raise ValueError(f"--trials is {self.trials}: give at least 1")
        if not 0 <= self.trial < self.trials:
            raise ValueError(
                f"--trial is {self.trial}, but the trials are numbered from 0 to {self.trials - 1} (--trials)"
            )


class Way(NamedTuple):
    """A gate, and how its gradient is computed."""

    gate: Gate
    adjoint: Costate


class Slice(NamedTuple):
    """A line, and secants through its centre."""

    line: Line
    spans: Float[np.ndarray, " n"]
    secants: Float[np.ndarray, " n"]

    @property
    def slope(self) -> float:
        """What the gradient says at the network itself."""
        return float(self.line.slope[len(self.line.slope) // 2])


Slices = dict[tuple[str, str, str, str], Slice]
"""By network, direction, trials and gate."""


def ways(run: Run, damping: dict[str, float | None], options: Options) -> dict[str, Way]:
    """The gates by name: smooth ones, the last one of training damped or clipped if it was, a surrogate,
    and the hard threshold."""
    final, own = run.final_gate, float(run.final_gate.sharpness)
    kernel = final.kernel if final.kernel.compact else "raised_cosine"
    release = final.release if final.release.exact and final.release.needs_support else Charge()
    found = {}
    for a in options.sharpness or (own, 4 * own, 16 * own):
        found[f"smooth, a = {a:g}"] = Way(Gate(kernel, final.width, a, release=release), Costate())
    if type(final.release) is type(release) and any(damping.values()):
        found[f"smooth, a = {own:g}, {'damped' if damping['damping'] else 'clipped'}"] = Way(
            final, Costate(**damping)
        )
    surrogate = Gate(
        options.surrogate,
        final.width,
        release=final.release if isinstance(final.release, Surrogate) else "surrogate",
    )
    return found | {
        "surrogate gradient": Way(surrogate, Costate()),
        "hard threshold": Way(final.hard(), Costate()),
    }


def together_and_alone(trials: Trial, which: int) -> dict[str, Trial]:
    """All trials, and one of them, as batches by name; just the one if there are no others."""
    count, alone = len(trials.stimulus), jax.tree.map(lambda x: x[which : which + 1], trials)
    return ({f"{count} trials": trials} if count > 1 else {}) | {f"trial {which}": alone}


def landscape(
    run: Run,
    networks: dict[str, Network],
    dt: float,
    target: Path,
    options: Options,
    *,
    damping: dict[str, float | None],
    noise: Noise | None = None,
) -> list[Path]:
    """Compute the landscapes around `networks` in float64 and write them into `target`: figures,
    ``landscape.csv`` (a line's numbers a row) and ``landscape.npz`` (the curves); returns their paths.

    The random direction of a network is drawn from the seed; the gradient direction is downhill by the mean
    gradient over the trials through the last gate of training.

    **Arguments:** `networks`: by name, of one structure; `dt` in ms; `damping`: damping and clip of the costate in training;
    `noise`: of the trials.

    **Raises:** `ValueError` for options that make no landscape here.
    """
    options.check()
    trials = first_trials(run.task.parts(options.split), options.trials)
    count = len(trials.stimulus)
    if options.trial >= count:
        raise ValueError(
            f"--trial is {options.trial}, but the {options.split} split has {count} trials, numbered from 0"
        )
    gates = ways(run, damping, options)
    for way in gates.values():
        check_step(run.network, way.gate, dt)
    # Trained and drawn in the default precision, looked at in float64: chaos amplifies rounding to another
    # landscape.
    with jax.enable_x64(True):
        trials, last = cast((trials, Way(run.final_gate, Costate(**damping))), jnp.float64)
        # One by one: a pytree would sort the names.
        networks, gates = (
            {name: cast(x, jnp.float64) for name, x in named.items()} for named in (networks, gates)
        )
        sets = together_and_alone(trials, options.trial)
        common = {"dt": dt, "noise": noise}
        key = jax.random.key(options.seed)
        slices, planes = {}, {}
        for name, network in networks.items():
            directions = {"random": random_direction(network, key)}
            if "gradient" in options.directions:
                gate, adjoint = last
                directions["gradient"] = gradient_direction(
                    network, trials, run.loss, gate, adjoint=adjoint, **common
                )
            else:
                directions["second random"] = random_direction(network, jax.random.fold_in(key, 1))
            for along, which in itertools.product(options.directions, sets):
                for label, way in gates.items():
                    where = (network, directions[along], sets[which], run.loss, way)
                    slices[name, along, which, label] = _slice(
                        *where, options.extent(along), options.points, common
                    )
            if options.plane:
                pair = tuple(directions.values())
                x, y = (options.extent(along) * np.linspace(-1, 1, PLANE) for along in directions)
                for label in (next(iter(gates)), "hard threshold"):
                    values = on_plane(network, pair, x, y, trials, run.loss, gates[label].gate, **common)
                    planes[name, label] = figures.Plane(x, y, np.asarray(values), tuple(directions))
    return _write(slices, planes, target)


def _slice(network, direction, trials, loss, way, extent, points, common) -> Slice:
    position = extent * np.linspace(-1, 1, points)
    line = along_line(network, direction, position, trials, loss, way.gate, adjoint=way.adjoint, **common)
    spans = extent * 10.0 ** np.arange(-DECADES, 0.25, 0.5)
    forward = (
        way.gate.hard() if isinstance(way.gate.release, Surrogate) else way.gate
    )  # the same, and compiled once
    line = Line(*map(np.asarray, line))
    return Slice(line, spans, np.asarray(secants(network, direction, spans, trials, loss, forward, **common)))


def _write(slices: Slices, planes, target: Path) -> list[Path]:
    target.mkdir(parents=True, exist_ok=True)
    rows, curves = [], {}
    for key, one in slices.items():
        middle = len(one.line.loss) // 2
        row = dict(zip(("network", "direction", "trials", "gate"), key, strict=True))
        row |= {
            "loss": one.line.loss[middle],
            "slope": one.slope,
            "reach": reach(one.spans, one.secants, one.slope),
        }
        rows.append(row | roughness(one.line)._asdict())
        values = one.line._asdict() | {"secant": one.line.secant, "spans": one.spans, "secants": one.secants}
        curves |= {"/".join((*key, name)): value for name, value in values.items()}
    for key, plane in planes.items():
        curves |= {
            "/".join((*key, "plane", name)): np.asarray(value) for name, value in plane._asdict().items()
        }
    with open(target / "landscape.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(
            {k: v if isinstance(v, str | int) else f"{v:.4g}" for k, v in row.items()} for row in rows
        )
    np.savez_compressed(target / "landscape.npz", **curves)
    pages = {"scales": lambda: figures.scales(slices)}
    for name, along in dict.fromkeys(key[:2] for key in slices):
        these = {key[2:]: one for key, one in slices.items() if key[:2] == (name, along)}
        pages[f"{name}-{along}"] = functools.partial(figures.lines, these, name, along)
    if planes:
        pages["plane"] = lambda: figures.planes(planes)
    with mpl.rc_context(STYLE):
        for name, draw in pages.items():
            draw().savefig(target / f"{name}.png")
    return [target / "landscape.csv", target / "landscape.npz", *(target / f"{name}.png" for name in pages)]


__all__ = ["Options", "Slice", "Slices", "Way", "landscape", "together_and_alone", "ways"]
