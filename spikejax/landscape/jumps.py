"""Where a loss jumps along a line, and where the spikes of a trial change their number or their order.

A loss that a computer knows at points is never seen to jump: it changes between two of them. What tells a
jump from a slope is that the change stays when the points come together.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, PyTree

from ..losses import AbstractLoss
from ..network import Network
from ..noise import Noise
from ..simulators import AbstractSimulator
from ..tasks import Trial
from ..training.step import run_trial
from .slices import loss_at, moved

BLOCK = 64
"""Points that are computed together, so that one program serves any number of them."""
CLOSER = 16.0
"""How much closer than the resolution the ends of a jump are moved to see whether its size stays."""
STAYS = 0.5
"""Fraction of it that has to stay. Of a slope a sixteenth does, of a square root's cusp a quarter."""
MOST = 100_000
"""Largest number of intervals that are looked at together."""

AlongLine = Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " n"]]
"""The loss at positions on a line."""


class Jumps(NamedTuple):
    """Jumps of a function, in order of their position."""

    position: Float[np.ndarray, " n"]
    size: Float[np.ndarray, " n"]
    """What the function gains there."""
    length: float
    """Of the line."""

    @property
    def density(self) -> float:
        """Jumps per unit of length."""
        return len(self.size) / self.length

    @property
    def largest(self) -> float:
        """Size of the largest, up or down; 0 if there is none."""
        return float(np.abs(self.size).max(initial=0.0))

    @property
    def total(self) -> float:
        """Sum of their sizes, up and down."""
        return float(np.abs(self.size).sum())


def jumps(
    function: AlongLine,
    position: Float[np.ndarray, " points"],
    *,
    smallest: float = 1e-3,
    resolution: float = 1e-6,
) -> Jumps:
    """The jumps of a function of one variable, by halving every interval over which it changes.

    An interval is halved as long as the change over it is `smallest` or more, until it is as short as
    `resolution`, and then `CLOSER` times shorter: it holds a jump if most of the change stays. Two jumps
    closer than that count as one. What cancels between neighbouring points is not seen: two jumps, or a jump
    and the slope around it.

    **Arguments:** `function`: computes many positions at once; `position`: the points that it begins with,
    ascending; `smallest`: relative to the function's range over the points; `resolution`: relative to the
    length of the line.

    **Raises:** `ValueError` for points that are not ascending, for a function that is not finite, and for one
    that changes on every scale at more than 100,000 places.
    """
    x = np.asarray(position, float)
    if x.ndim != 1 or len(x) < 2 or not (np.diff(x) > 0).all():
        raise ValueError("`position` must be two points or more, in ascending order")
    y = _finite(function(x))
    length, least = float(x[-1] - x[0]), smallest * float(np.ptp(y))
    if least == 0:
        return Jumps(np.zeros(0), np.zeros(0), length)
    low, high, before, after = x[:-1], x[1:], y[:-1], y[1:]
    coarse = None
    while True:
        kept = np.abs(after - before) >= (least if coarse is None else STAYS * coarse)
        low, high, before, after = (z[kept] for z in (low, high, before, after))
        coarse = None if coarse is None else coarse[kept]
        if len(low) > MOST:
            raise ValueError(
                f"the function changes on every scale at more than {MOST} places: give fewer points, or a "
                "larger `smallest`"
            )
        width = float((high - low).max(initial=0.0))
        if coarse is None and width <= resolution * length:
            coarse = np.abs(after - before)
        if not len(low) or width <= resolution * length / CLOSER:
            return Jumps((low + high) / 2, after - before, length)
        middle = (low + high) / 2
        value = _finite(function(middle))
        # Both halves may hold one; in order of their place.
        both = lambda a, b: np.stack([a, b], axis=1).reshape(-1)
        low, high = both(low, middle), both(middle, high)
        before, after = both(before, value), both(value, after)
        coarse = None if coarse is None else np.repeat(coarse, 2)


def loss_along(
    network: Network,
    direction: PyTree,
    trials: Trial,
    loss: AbstractLoss,
    simulator: AbstractSimulator,
    *,
    noise: Noise | None = None,
) -> AlongLine:
    """The mean loss over `trials` as a function of the position on the line ``p + x d`` (`along_line`)."""
    at = lambda x: loss_at(network, (direction,), x[:, None], trials, loss, simulator, noise=noise)
    return lambda position: _in_blocks(at, position)


class SpikeChanges(NamedTuple):
    """What is different between neighbouring points of a line in the spikes of one layer in one trial."""

    number: Bool[np.ndarray, " intervals"]
    """Whether a neuron has more or fewer spikes within the trial."""
    order: Bool[np.ndarray, " intervals"]
    """Whether they have as many, in another order of neurons."""


def spike_changes(
    network: Network,
    direction: PyTree,
    position: Float[np.ndarray, " points"],
    trial: Trial,
    simulator: AbstractSimulator,
    *,
    noise: Noise | None = None,
) -> tuple[SpikeChanges, ...]:
    """How the spikes of every layer change along the line ``p + x d``, from point to point.

    **Arguments:** `trial`: one, without an axis of trials; `simulator`: gives as many spikes of a neuron as
    it has room for; the other arguments as in `along_line`.
    """
    at = lambda x: _spikes(network, direction, x, trial, simulator, noise)
    *times, end = _in_blocks(at, position)
    return tuple(_changes(one.reshape(*one.shape[:2], -1), end) for one in times)


def _changes(times: Float[np.ndarray, "points spikes n"], end: Float[np.ndarray, " points"]) -> SpikeChanges:
    # Pseudospikes come after the end.
    times = np.where(times < end[:, None, None], times, np.inf)
    count = np.isfinite(times).sum(axis=1)
    neuron = np.broadcast_to(np.arange(times.shape[2]), times.shape)
    flat, neuron = times.reshape(len(times), -1), neuron.reshape(len(times), -1)
    order = np.argsort(flat, axis=1, kind="stable")
    # Those that are none are last, in any order.
    who = np.where(np.take_along_axis(flat, order, 1) < np.inf, np.take_along_axis(neuron, order, 1), -1)
    number = (count[1:] != count[:-1]).any(axis=1)
    return SpikeChanges(number, (who[1:] != who[:-1]).any(axis=1) & ~number)


@eqx.filter_jit
def _spikes(network, direction, position, trial, simulator, noise):
    def at(x):
        one = run_trial(moved(network, (direction,), x[None]), trial, simulator, save="spikes", noise=noise)
        return (*one.spikes, one.duration)

    return jax.lax.map(at, position, batch_size=8)


def _in_blocks(function: Callable, position: Float[np.ndarray, " n"]):
    """What a compiled function of ``(BLOCK,)`` positions gives at all of them."""
    position = np.asarray(position)
    missing = -len(position) % BLOCK
    full = np.concatenate([position, np.full(missing, position[-1])])
    parts = [function(jnp.asarray(block)) for block in full.reshape(-1, BLOCK)]
    join = lambda *leaves: np.concatenate([np.asarray(leaf) for leaf in leaves])[: len(position)]
    return jax.tree.map(join, *parts)


def _finite(values) -> Float[np.ndarray, " n"]:
    values = np.asarray(values, float)
    if not np.isfinite(values).all():
        raise ValueError("the function is not finite on the line")
    return values


__all__ = ["AlongLine", "Jumps", "SpikeChanges", "jumps", "loss_along", "spike_changes"]
