"""The loss around a network: along a line and on a plane through its parameters, beside what a gate's own
gradient says of it.

A line is ``p + x d`` with the trained parameters p and a direction d as long as p, so that x is a relative
change. The exact gradient of a sharp gate can be right at every x and of no use, where the loss is rough; the
surrogate gradient can be wrong at every x and of use.
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..connections import Convolution, Dense
from ..losses import AbstractLoss
from ..network import Network
from ..noise import Noise
from ..parameters import Masked, Signed, trainable
from ..simulators import AbstractSimulator
from ..tasks import Trial
from ..training.step import run_trial

FIELDS = ("weight", "bias")


class Line(NamedTuple):
    """The mean loss over trials along a line of parameters."""

    position: Float[Array | np.ndarray, " points"]
    """Relative change of the parameters, x."""
    loss: Float[Array | np.ndarray, " points"]
    slope: Float[Array | np.ndarray, " points"]
    """``d . grad L``, the directional derivative by the gradient of the gate and adjoint, right or wrong."""

    @property
    def secant(self) -> Float[Array, " points"]:
        """Slope of the loss itself between the two neighbours of every point (at the ends between the point
        and its neighbour)."""
        return jnp.asarray(jnp.gradient(jnp.asarray(self.loss), jnp.asarray(self.position)))


class Roughness(NamedTuple):
    """A line in a few numbers."""

    minima: int
    """Local minima between the ends, at the resolution of the points."""
    variation: float
    """Total variation of the loss over its range (largest - smallest): 1 where it is monotone, 2 for a bowl,
    more where it is rough."""
    steepness: float
    """Median ``|slope|`` of the gradient times the length of the line, over the range of the loss: about the
    variation if the loss goes where the gradient says, and far above it if the gradient is that of wiggles
    finer than the points."""
    cosine: float
    """Cosine between the gradient's slopes and the secants over the points: 1 where the gradient says how the
    loss changes from one point to the next; nan if either is 0."""
    size: float
    """Median ``|slope|`` over median ``|secant|``."""


def roughness(line: Line) -> Roughness:
    """The numbers of a line."""
    line, secant = Line(*map(np.asarray, line)), np.asarray(line.secant)
    steps = np.diff(line.loss)
    span = max(np.ptp(line.loss), np.finfo(float).tiny)
    minima = int(np.sum((steps[:-1] < 0) & (steps[1:] > 0)))
    with np.errstate(divide="ignore", invalid="ignore"):
        # Divided by their largest first, so that the squares of an exploding gradient are finite.
        slope = line.slope / np.abs(line.slope).max()
        cosine = slope @ secant / (np.linalg.norm(slope) * np.linalg.norm(secant))
        size = np.median(np.abs(line.slope)) / np.median(np.abs(secant))
    steepness = np.median(np.abs(line.slope)) * np.ptp(line.position) / span
    return Roughness(minima, float(np.abs(steps).sum() / span), float(steepness), float(cosine), float(size))


def reach(
    spans: Float[Array | np.ndarray, " n"],
    secants: Float[Array | np.ndarray, " n"],
    slope: float,
    tolerance: float = 0.1,
) -> float:
    """How far a gradient can be trusted: the largest of the ascending `spans` up to which every secant agrees
    with `slope`, to the fraction `tolerance` of the slope; 0 if the first does not."""
    good = np.abs(np.asarray(secants) - slope) <= tolerance * abs(slope)
    count = len(good) if good.all() else int(np.argmin(good))
    return float(spans[count - 1]) if count else 0.0


def random_direction(network: Network, key: PRNGKeyArray, fields: tuple[str, ...] = FIELDS) -> PyTree:
    """A random direction in the parameters named by `fields`, filter-normalised: the length of what it adds
    to a neuron goes with what the neuron has.

    Normal noise, of which every neuron's incoming row of a dense connection (all its sources and time
    constants, feedforward and recurrent apart; of the readout, an output's), and every output channel's
    weights of a convolution, is scaled to the norm of the
    network's own row. Other parameters (biases, time constants; positive ones in their logarithm) have one
    value a neuron: the whole array is scaled to its norm. Synapses that are not there (masked, or of sign 0)
    stay absent, and what is 0 as a whole stays 0.

    **Returns:** a pytree as that of `equinox.partition` by `spikejax.trainable`.

    **Raises:** `ValueError` for a field that the network does not have.

    **Reference:** Li et al., Visualizing the loss landscape of neural nets, NeurIPS 2018, section 4.
    """
    params, there = _there(network, fields)
    nodes, structure = jax.tree.flatten(params, is_leaf=_has_rows)
    keys = jax.random.split(key, len(nodes))
    masks = jax.tree.leaves(there, is_leaf=_has_rows)
    return jax.tree.unflatten(structure, [_random(*each) for each in zip(nodes, masks, keys, strict=True)])


def gradient_direction(
    network: Network,
    trials: Trial,
    loss: AbstractLoss,
    simulator: AbstractSimulator,
    *,
    noise: Noise | None = None,
    fields: tuple[str, ...] = FIELDS,
) -> PyTree:
    """Downhill by the gradient of the mean loss, as long as the parameters are.

    **Arguments:** `trials`: a batch; `simulator`: runs the network and says how the gradient is computed;
    `noise`: what is random in a trial.

    **Raises:** `ValueError` if the gradient is 0 or not finite.
    """
    params, fixed = eqx.partition(network, trainable(network, fields))
    gradient = _gradient(params, fixed, trials, loss, simulator, noise)
    size = float(optax.tree.norm(gradient))
    if not (np.isfinite(size) and size > 0):
        raise ValueError(
            f"the gradient has the norm {size:g}, which is no direction: "
            "use another gate, or a random direction"
        )
    length = _length(network, fields)
    return jax.tree.map(lambda g: -length / size * g, gradient)


def along_line(
    network: Network,
    direction: PyTree,
    position: Float[Array | np.ndarray, " points"],
    trials: Trial,
    loss: AbstractLoss,
    simulator: AbstractSimulator,
    *,
    noise: Noise | None = None,
    at_once: int = 8,
) -> Line:
    """The loss, and its derivative in x by the gradient of the simulator, at ``p + x d``: one compiled
    program for all positions and all gates of one release.

    In the precision of the network. In a chaotic regime float32 rounding changes the loss itself: use float64
    (`spikejax.parameters.cast`).

    **Arguments:** `direction`: see `random_direction`, `gradient_direction`; `position`: the x; `trials`: a
    batch; `simulator`: runs the network and says how the gradient is computed; `at_once`: positions run
    together.
    """
    position = jnp.asarray(position, _dtype(direction))
    return Line(position, *_line(network, direction, position, trials, loss, simulator, noise, at_once))


def loss_at(
    network: Network,
    directions: tuple[PyTree, ...],
    coefficients: Float[Array | np.ndarray, "points directions"],
    trials: Trial,
    loss: AbstractLoss,
    simulator: AbstractSimulator,
    *,
    noise: Noise | None = None,
    at_once: int = 8,
) -> Float[Array, " points"]:
    """The mean loss at ``p + sum_k c_k d_k`` for every row c of `coefficients`; the other arguments as in
    `along_line`."""
    c = jnp.asarray(coefficients, _dtype(directions))
    return _losses(network, directions, c, trials, loss, simulator, noise, at_once)


def on_plane(
    network: Network,
    directions: tuple[PyTree, PyTree],
    x: Float[Array | np.ndarray, " x"],
    y: Float[Array | np.ndarray, " y"],
    *args,
    **kwargs,
) -> Float[Array, "y x"]:
    """The mean loss on the grid ``p + x d_0 + y d_1``; the other arguments as in `loss_at`."""
    grid = jnp.stack([g.reshape(-1) for g in jnp.meshgrid(x, y)], axis=1)
    return loss_at(network, directions, grid, *args, **kwargs).reshape(len(y), len(x))


def secants(
    network: Network, direction: PyTree, spans: Float[Array | np.ndarray, " n"], *args, **kwargs
) -> Float[Array, " n"]:
    """``(L(p + x d) - L(p - x d))/(2 x)`` for every x of `spans`; the other arguments as in `loss_at`."""
    spans = jnp.asarray(spans)
    up, down = loss_at(
        network, (direction,), jnp.concatenate([spans, -spans])[:, None], *args, **kwargs
    ).reshape(2, -1)
    return (up - down) / (2 * spans)


def _mean_loss(network, trials, loss, simulator, noise):
    def one(trial):
        return loss(run_trial(network, trial, simulator, save=loss.series, noise=noise), trial)[0]

    return jnp.mean(jax.vmap(one)(trials))


@eqx.filter_jit
def _gradient(params, fixed, trials, loss, simulator, noise):
    return jax.grad(lambda p: _mean_loss(eqx.combine(p, fixed), trials, loss, simulator, noise))(params)


def moved(network, directions, coefficients):
    """The network at ``p + sum_k c_k d_k``."""
    for i, direction in enumerate(directions):
        network = eqx.apply_updates(network, jax.tree.map(lambda d: coefficients[i] * d, direction))
    return network


@eqx.filter_jit
def _line(network, direction, position, trials, loss, simulator, noise, at_once):
    # The derivative in x is the gradient times the direction, by the chain rule and in whatever way the
    # adjoint computes the gradient.
    along = lambda x: _mean_loss(moved(network, (direction,), x[None]), trials, loss, simulator, noise)
    return jax.lax.map(jax.value_and_grad(along), position, batch_size=min(at_once, len(position)))


@eqx.filter_jit
def _losses(network, directions, coefficients, trials, loss, simulator, noise, at_once):
    at = lambda c: _mean_loss(moved(network, directions, c), trials, loss, simulator, noise)
    return jax.lax.map(at, coefficients, batch_size=min(at_once, len(coefficients)))


def _dtype(tree):
    return jnp.result_type(*jax.tree.leaves(tree))


def _is_node(x) -> bool:
    return x is None or _has_rows(x)


def _has_rows(x) -> bool:
    """Whether a part of a network is a connection with a row of weights for every output."""
    return isinstance(x, Dense | Convolution)


def _there(network: Network, fields) -> tuple[PyTree, PyTree]:
    """The parameters of the named fields, and where they count: False where there is no synapse."""
    params, fixed = eqx.partition(network, trainable(network, fields))

    def there(own, rest):
        if not _has_rows(own):
            return jax.tree.map(lambda w: jnp.ones(w.shape, bool), own)
        wrapped = rest.weight
        real = (
            wrapped.mask
            if isinstance(wrapped, Masked)
            else wrapped.sign != 0
            if isinstance(wrapped, Signed)
            else True
        )
        # What is no array of weights, as the lengths of normalised ones, has none that are absent.
        fits = lambda w: np.ndim(real) == w.ndim
        return jax.tree.map(lambda w: jnp.broadcast_to(real if fits(w) else True, w.shape), own)

    return params, jax.tree.map(there, params, fixed, is_leaf=_is_node)


def _length(network: Network, fields) -> Float[Array, ""]:
    """Norm of the parameters of the named fields."""
    return optax.tree.norm(jax.tree.map(lambda w, real: jnp.where(real, w, 0.0), *_there(network, fields)))


def _random(node, there, key):
    """Noise of the shape of a connection's weight or of an array, every row of it as long as the row."""

    def scaled(own, real):
        # The weight has an axis of outputs at least before those of the input; a convolution's has one.
        weights = _has_rows(node) and own.ndim > len(node.in_shape)
        rows = (1, -1)
        if weights:
            rows = (len(own), -1) if isinstance(node, Convolution) else (-1, math.prod(node.in_shape))
        noise = jnp.where(real, jax.random.normal(key, own.shape, own.dtype), 0.0).reshape(rows)
        length, wanted = (
            jnp.linalg.norm(x, axis=1, keepdims=True)
            for x in (noise, jnp.where(real, own, 0.0).reshape(rows))
        )
        return (noise * wanted / jnp.where(length > 0, length, 1.0)).reshape(own.shape)

    return jax.tree.map(scaled, node, there)


__all__ = [
    "Line",
    "Roughness",
    "along_line",
    "gradient_direction",
    "loss_at",
    "moved",
    "on_plane",
    "random_direction",
    "reach",
    "roughness",
    "secants",
]
