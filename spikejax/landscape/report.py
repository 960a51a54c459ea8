"""The landscapes of a finished run: around several networks, for several gates, over a set of trials and for
one of them."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from ..adjoints import Costate
from ..component import Component, option
from ..gates import Gate
from ..kernels import KERNELS
from ..losses import AbstractLoss
from ..network import Network
from ..noise import Noise
from ..parameters import as_parameter, cast
from ..releases import Charge, Surrogate
from ..simulators import AbstractSimulator, ClockDriven
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
"""Decades of the spans over which secants are taken through the network."""
HARD = "hard threshold"
"""Name of that gate."""
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
    """Names of the two directions."""


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


def compared_simulators(final: AbstractSimulator, options: LandscapeOptions) -> dict[str, AbstractSimulator]:
    """What the landscapes are computed with, by name of the gate: smooth gates, the last one of training with
    its damped or clipped gradient if that is one, a surrogate, and the hard threshold. Of a simulator without
    a gate: itself and its `hard` variant.

    **Arguments:** `final`: the simulator that training ended with; if it has an adjoint, that is a costate.

    **Raises:** `ValueError` for a gate with a value for each layer.
    """
    if not isinstance(final, ClockDriven):
        return dict(zip(final.ways, (final, final.hard()), strict=True))
    gate = final.gate
    if gate.sharpness.ndim or gate.width.ndim:
        raise ValueError("a landscape is of a gate with one width and sharpness for all layers")
    own = float(gate.sharpness)
    kernel = gate.kernel if gate.kernel.compact else KERNELS.make("raised_cosine")
    smooth = gate.release.exact and gate.release.needs_support
    release = gate.release if smooth else Charge()
    found: dict[str, AbstractSimulator] = {}
    for a in options.sharpness or (own, 4 * own, 16 * own):
        smoothed = Gate(kernel, gate.width, as_parameter(a), release=release)
        found[f"smooth, a = {a:g}"] = final.clocked(smoothed, final.dt, Costate())
    if smooth and not final.adjoint.exact:
        biased = "clipped" if getattr(final.adjoint, "damping", None) is None else "damped"
        found[f"smooth, a = {own:g}, {biased}"] = final
    release = gate.release if isinstance(gate.release, Surrogate) else Surrogate()
    surrogate = Gate(KERNELS.make(options.surrogate), gate.width, release=release)
    return found | {
        "surrogate gradient": final.clocked(surrogate, final.dt, Costate()),
        HARD: final.clocked(gate.hard(), final.dt, Costate()),
    }


def all_and_single(trials: Trial, which: int) -> dict[str, Trial]:
    """All trials, and one of them, as batches by name; just the one if there are no others."""
    count, single = len(trials.stimulus), jax.tree.map(lambda x: x[which : which + 1], trials)
    return ({f"{count} trials": trials} if count > 1 else {}) | {f"trial {which}": single}


def landscapes(
    networks: Mapping[str, Network],
    trials: Trial,
    loss: AbstractLoss,
    final: AbstractSimulator,
    options: LandscapeOptions,
    *,
    noise: Noise | None = None,
    report: Callable[[str], None] = lambda what: None,
) -> Landscapes:
    """The landscapes around `networks`, in float64.

    The random direction of a network is drawn from the seed; the gradient direction is downhill by the mean
    gradient over the trials through the last gate of training.

    **Arguments:** `networks`: by name, of one structure; `trials`: a batch; `final`: the simulator that
    training ended with; `noise`: of the trials; `report`: called with the name of each slice and plane before
    it is computed, see `landscape_parts`.

    **Raises:** `ValueError` if the gradient is 0 or not finite.
    """
    simulators = compared_simulators(final, options)
    # Trained and drawn in the default precision, looked at in float64: chaos amplifies rounding to another
    # landscape.
    with jax.enable_x64(True):
        trials, final = cast((trials, final), jnp.float64)
        # One by one: a pytree would sort the names.
        networks = {name: cast(network, jnp.float64) for name, network in networks.items()}
        simulators = {name: cast(simulator, jnp.float64) for name, simulator in simulators.items()}
        slices: Slices = {}
        planes: Planes = {}
        for name, network in networks.items():
            directions = _directions(network, trials, loss, final, options, noise)
            for along, (which, batch) in itertools.product(
                options.directions, all_and_single(trials, options.trial).items()
            ):
                position = options.extent(along) * np.linspace(-1, 1, options.points)
                for label, simulator in simulators.items():
                    report(f"{name} network, {along} direction, {which}, {label}")
                    slices[SliceKey(name, along, which, label)] = _slice(
                        network, directions[along], position, batch, loss, simulator, noise
                    )
            if options.plane:
                for label in (next(iter(simulators)), list(simulators)[-1]):
                    report(f"{name} network, plane, {label}")
                    planes[name, label] = _plane(
                        network, directions, trials, loss, simulators[label], options, noise
                    )
    return Landscapes(slices, planes)


def landscape_parts(networks: int, trials: int, simulators: int, options: LandscapeOptions) -> int:
    """Number of slices and planes around so many networks, with so many trials and `compared_simulators`."""
    sets = 2 if trials > 1 else 1
    planes = 2 if options.plane else 0
    return networks * (len(options.directions) * sets * simulators + planes)


def _directions(
    network: Network,
    trials: Trial,
    loss: AbstractLoss,
    final: AbstractSimulator,
    options: LandscapeOptions,
    noise: Noise | None,
) -> dict[str, PyTree]:
    """Two directions by name, the first random."""
    key = jax.random.key(options.seed)
    found = {"random": random_direction(network, key)}
    if "gradient" in options.directions:
        return found | {"gradient": gradient_direction(network, trials, loss, final, noise=noise)}
    return found | {"second random": random_direction(network, jax.random.fold_in(key, 1))}


def _slice(
    network: Network,
    direction: PyTree,
    position: Float[np.ndarray, " points"],
    trials: Trial,
    loss: AbstractLoss,
    simulator: AbstractSimulator,
    noise: Noise | None,
) -> Slice:
    line = along_line(network, direction, position, trials, loss, simulator, noise=noise)
    spans = position[-1] * 10.0 ** np.arange(-DECADES, 0.25, 0.5)
    if isinstance(simulator, ClockDriven):
        # A surrogate's loss is that of the hard threshold, which is so compiled once.
        gate = simulator.gate.hard() if isinstance(simulator.gate.release, Surrogate) else simulator.gate
        simulator = simulator.clocked(gate, simulator.dt, Costate())
    values = secants(network, direction, spans, trials, loss, simulator, noise=noise)
    return Slice(Line(*map(np.asarray, line)), spans, np.asarray(values))


def _plane(
    network: Network,
    directions: dict[str, PyTree],
    trials: Trial,
    loss: AbstractLoss,
    simulator: AbstractSimulator,
    options: LandscapeOptions,
    noise: Noise | None,
) -> Plane:
    x, y = (options.extent(along) * np.linspace(-1, 1, PLANE) for along in directions)
    first, second = directions.values()
    values = on_plane(network, (first, second), x, y, trials, loss, simulator, noise=noise)
    return Plane(x, y, np.asarray(values), tuple(directions))


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
    "LandscapeOptions",
    "Landscapes",
    "Plane",
    "Planes",
    "Slice",
    "SliceKey",
    "Slices",
    "all_and_single",
    "compared_simulators",
    "curves",
    "landscape_parts",
    "landscapes",
    "table",
]
