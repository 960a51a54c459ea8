"""The landscapes of a finished run: around several networks, for several gates, over a set of trials and for
one of them."""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..adjoints import Costate
from ..component import Component, option
from ..gates import KERNELS, Gate
from ..losses import AbstractLoss
from ..network import Network
from ..noise import Noise
from ..parameters import cast
from ..releases import Charge, Surrogate
from ..tasks import Trial
from .slices import (
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


class LandscapeOptions(Component):
    """What of a landscape is computed."""

    directions: tuple[str, ...] = option(
        DIRECTIONS, doc="random (filter-normalised) and gradient (downhill)", length=(1, None)
    )
    range: float = option(
        0.5,
        above=0.0,
        doc="largest change of the parameters along a random direction, relative to their norm",
    )
    gradient_range: float = option(0.05, above=0.0, doc="the same along the gradient, which is steep")
    points: int = option(41, at_least=5.0, doc="points of a line; odd, so that the network itself is one")
    sharpness: tuple[float, ...] | None = option(
        None,
        above=0.0,
        length=(1, None),
        doc="sharpness of the smooth gates; default: 1, 4 and 16 times what training ended with",
    )
    surrogate: str = option(
        "fast_sigmoid", doc="kernel of the surrogate gradient, as wide as the run's gate at sharpness 1"
    )
    split: str = option("validation", choices=("validation", "test"), doc="validation or test")
    trials: int = option(40, at_least=1.0, doc="number of trials, the first of the split")
    trial: int = option(0, at_least=0.0, doc="the one of them that is looked at by itself")
    seed: int = option(0, at_least=0.0, doc="seed of the random direction")
    plane: bool = option(True, doc="the loss on a plane too")

    def __check_init__(self):
        unknown = [name for name in self.directions if name not in DIRECTIONS]
        if unknown:
            raise ValueError(f"`directions` has {unknown[0]!r}: choose from {', '.join(DIRECTIONS)}")
        if self.points % 2 == 0:
            raise ValueError(
                f"`points` is {self.points}: give an odd number, so that the network itself is one"
            )
        KERNELS.find(self.surrogate)
        if 0 < self.trials <= self.trial:
            raise ValueError(
                f"`trial` is {self.trial}, but the trials are numbered from 0 to {self.trials - 1} (`trials`)"
            )

    def extent(self, direction: str) -> float:
        """Largest change along a direction, relative to the norm of the parameters."""
        return self.gradient_range if direction == "gradient" else self.range


class GateGradient(NamedTuple):
    """A gate, and how its gradient is computed."""

    gate: Gate
    adjoint: Costate


class Slice(NamedTuple):
    """A line, and secants through its centre."""

    line: Line
    spans: Float[np.ndarray, " n"]
    """Half of the length of each secant, relative to the norm of the parameters."""
    secants: Float[np.ndarray, " n"]

    @property
    def slope(self) -> float:
        """What the gradient says at the network itself."""
        return float(self.line.slope[len(self.line.slope) // 2])


class Plane(NamedTuple):
    """The loss on a square of two directions."""

    x: Float[np.ndarray, " x"]
    y: Float[np.ndarray, " y"]
    loss: Float[np.ndarray, "y x"]
    names: tuple[str, ...]
    """Of the directions."""


class SliceKey(NamedTuple):
    """Which slice of a landscape."""

    network: str
    direction: str
    trials: str
    gate: str


Slices = dict[SliceKey, Slice]
Planes = dict[tuple[str, str], Plane]
"""By network and gate."""


class Landscapes(NamedTuple):
    """What was computed around some networks."""

    slices: Slices
    planes: Planes


def compared_gates(
    final: Gate, damping: dict[str, float | None], options: LandscapeOptions
) -> dict[str, GateGradient]:
    """The gates by name: smooth ones, the last one of training with its damped or clipped gradient if that is
    one, a surrogate, and the hard threshold.

    **Arguments:** `final`: the gate that training ended with; `damping`: damping and clip of the costate in
    training.
    """
    own = float(final.sharpness)
    kernel = final.kernel if final.kernel.compact else "raised_cosine"
    smooth = final.release.exact and final.release.needs_support
    release = final.release if smooth else Charge()
    found = {}
    for a in options.sharpness or (own, 4 * own, 16 * own):
        found[f"smooth, a = {a:g}"] = GateGradient(Gate(kernel, final.width, a, release=release), Costate())
    if smooth and any(damping.values()):
        biased = "damped" if damping["damping"] else "clipped"
        found[f"smooth, a = {own:g}, {biased}"] = GateGradient(final, Costate(**damping))
    own_surrogate = isinstance(final.release, Surrogate)
    surrogate = Gate(options.surrogate, final.width, release=final.release if own_surrogate else "surrogate")
    return found | {
        "surrogate gradient": GateGradient(surrogate, Costate()),
        "hard threshold": GateGradient(final.hard(), Costate()),
    }


def all_and_single(trials: Trial, which: int) -> dict[str, Trial]:
    """All trials, and one of them, as batches by name; just the one if there are no others."""
    count, single = len(trials.stimulus), jax.tree.map(lambda x: x[which : which + 1], trials)
    return ({f"{count} trials": trials} if count > 1 else {}) | {f"trial {which}": single}


def landscapes(
    networks: Mapping[str, Network],
    trials: Trial,
    loss: AbstractLoss,
    gates: Mapping[str, GateGradient],
    last: GateGradient,
    options: LandscapeOptions,
    *,
    dt: float,
    noise: Noise | None = None,
) -> Landscapes:
    """The landscapes around `networks`, in float64.

    The random direction of a network is drawn from the seed; the gradient direction is downhill by the mean
    gradient over the trials through the last gate of training.

    **Arguments:** `networks`: by name, of one structure; `trials`: a batch; `gates`: those compared
    (`compared_gates`); `last`: the gate that training ended with; `dt` in ms; `noise`: of the trials.

    **Raises:** `ValueError` if the gradient is 0 or not finite.
    """
    # Trained and drawn in the default precision, looked at in float64: chaos amplifies rounding to another
    # landscape.
    with jax.enable_x64(True):
        trials, last = cast((trials, last), jnp.float64)
        # One by one: a pytree would sort the names.
        networks, gates = (
            {name: cast(x, jnp.float64) for name, x in named.items()} for named in (networks, gates)
        )
        slices: Slices = {}
        planes: Planes = {}
        for name, network in networks.items():
            directions = _directions(network, trials, loss, last, options, dt, noise)
            for along, (which, batch) in itertools.product(
                options.directions, all_and_single(trials, options.trial).items()
            ):
                for label, gate in gates.items():
                    slices[SliceKey(name, along, which, label)] = _slice(
                        network,
                        directions[along],
                        batch,
                        loss,
                        gate,
                        options.extent(along) * np.linspace(-1, 1, options.points),
                        dt=dt,
                        noise=noise,
                    )
            if options.plane:
                x, y = (options.extent(along) * np.linspace(-1, 1, PLANE) for along in directions)
                first, second = directions.values()
                for label in (next(iter(gates)), "hard threshold"):
                    values = on_plane(
                        network, (first, second), x, y, trials, loss, gates[label].gate, dt=dt, noise=noise
                    )
                    planes[name, label] = Plane(x, y, np.asarray(values), tuple(directions))
    return Landscapes(slices, planes)


def _directions(network, trials, loss, last: GateGradient, options, dt, noise) -> dict[str, Any]:
    """Two directions by name, the first random."""
    key = jax.random.key(options.seed)
    found = {"random": random_direction(network, key)}
    if "gradient" in options.directions:
        found["gradient"] = gradient_direction(
            network, trials, loss, last.gate, adjoint=last.adjoint, dt=dt, noise=noise
        )
    else:
        found["second random"] = random_direction(network, jax.random.fold_in(key, 1))
    return found


def _slice(network, direction, trials, loss, through: GateGradient, position, *, dt, noise) -> Slice:
    gate, common = through.gate, {"dt": dt, "noise": noise}
    line = along_line(network, direction, position, trials, loss, gate, adjoint=through.adjoint, **common)
    spans = position[-1] * 10.0 ** np.arange(-DECADES, 0.25, 0.5)
    # A surrogate's loss is that of the hard threshold, which is so compiled once.
    forward = gate.hard() if isinstance(gate.release, Surrogate) else gate
    values = secants(network, direction, spans, trials, loss, forward, **common)
    return Slice(Line(*map(np.asarray, line)), spans, np.asarray(values))


def table(slices: Slices) -> list[dict[str, Any]]:
    """A row for every slice: loss and slope at the network itself, how far the slope can be trusted, and the
    numbers of the line (`Roughness`)."""
    rows = []
    for key, one in slices.items():
        numbers = {
            "loss": one.line.loss[len(one.line.loss) // 2],
            "slope": one.slope,
            "reach": reach(one.spans, one.secants, one.slope),
        }
        rows.append(key._asdict() | numbers | roughness(one.line)._asdict())
    return rows


def curves(found: Landscapes) -> dict[str, np.ndarray]:
    """The arrays of all slices and planes, by names such as ``network/direction/trials/gate/loss``."""
    arrays = {}
    for key, one in found.slices.items():
        values = one.line._asdict() | {"secant": one.line.secant, "spans": one.spans, "secants": one.secants}
        arrays |= {"/".join((*key, name)): np.asarray(value) for name, value in values.items()}
    for key, plane in found.planes.items():
        arrays |= {
            "/".join((*key, "plane", name)): np.asarray(value) for name, value in plane._asdict().items()
        }
    return arrays


__all__ = [
    "GateGradient",
    "LandscapeOptions",
    "Landscapes",
    "Plane",
    "Planes",
    "Slice",
    "SliceKey",
    "Slices",
    "all_and_single",
    "compared_gates",
    "curves",
    "landscapes",
    "table",
]
