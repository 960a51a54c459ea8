"""The scale of a surrogate derivative at which a gradient keeps its size from the last layer to the first."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..losses import AbstractLoss
from ..network import Network
from ..noise import Noise
from ..parameters import trainable
from ..releases import Surrogate
from ..simulators import AbstractSimulator, ClockDriven
from ..tasks import Trial
from .step import gradient

ROUNDS = 12
"""Gradients that are computed at most."""
FLATTEST, STEEPEST = 0.3, 3.0
"""Between which the slope of a gradient in the scale is taken to be, both as logarithms."""
FURTHEST = 6.0
"""Largest factor by which one round changes a scale."""


def layer_gradients(
    network: Network,
    trials: Trial,
    simulator: AbstractSimulator,
    loss: AbstractLoss,
    *,
    noise: Noise | None = None,
) -> Float[np.ndarray, " layers"]:
    """How strongly the loss depends on the input weights of every layer, ``|W| |dL/dW|``; NaN where a
    connection has none.

    It is the steepest change of the loss for a change of the weights in proportion to them, and so the same
    in any units of current and of activation: a layer whose currents, weights and threshold are twice as
    large has the same number, which ``|dL/dW|`` alone has not. Of connections with several arrays the root of
    the sum of squares.

    **Arguments:** `trials`: a batch; `loss`: its mean over them is differentiated; `noise`: what is random
    within a trial.
    """
    # The shape of the loop that is compiled is the same at any scale: scales are arrays.
    return np.asarray(_sizes(network, trials, simulator, loss, noise), float)


def balance(
    network: Network,
    trials: Trial,
    simulator: ClockDriven,
    loss: AbstractLoss,
    *,
    tolerance: float = 0.1,
    noise: Noise | None = None,
) -> ClockDriven:
    """The simulator with a scale of the surrogate derivative for every layer, at which the gradient is of the
    same size in all.

    Through every layer the gradient is multiplied by the surrogate derivative and by the weights, so that
    from the last of L layers to the first it changes by the L-th power of what one layer does. The scale of a
    surrogate is free, as it changes no spike (`spikejax.releases.Surrogate`): here it is chosen so that
    `layer_gradients` is for every layer what it is for the last, whose scale stays.

    The gradient of a layer depends on the scales of this layer and of those above it only. With the reset
    left out of the gradient (``detach_reset=True``) it is proportional to its own scale: dividing every scale
    by the ratio of the layer's gradient to that of the layer above is the solution, for all layers at once.
    With the reset in it, the gradient of the charge in the current saturates as the scale grows, at what a
    charge takes away from v, and explodes above 2: some ratios are then out of reach. There the power by
    which a scale is corrected is that between the two rounds before (a secant in the logarithm). A layer
    without weights, such as a pool, keeps its scale, and the one below makes up for it.

    The rates have to be right first: a silent layer has no gradient, and one that fires at every step
    nothing to say (`calibrate`).

    **Arguments:** `trials`: a batch, such as some 64 of those that it will be trained on; `simulator`: what
    simulates it in training, whose release is a surrogate; `loss`: that of the training; `tolerance`: largest
    relative error of the ratio of two layers' gradients; `noise`: what is random within a trial.

    **Returns:** the simulator; the scales are ``simulator.gate.release.scale``.

    **Raises:** `ValueError` for a release whose gradient has no scale, for a layer without a gradient or with
    one that is not finite, and where no scale is found.

    !!! example
        >>> from spikejax import LIF, ClockDriven, Exponential, Gate, Network
        >>> from spikejax.losses import CrossEntropy
        >>> from spikejax.tasks import Trial
        >>> from spikejax.training import balance
        >>> options = dict(neuron=LIF(), synapse=Exponential(10.0), recurrent=False)
        >>> network = Network.dense(3, (40, 40), 2, **options, key=jax.random.key(0))
        >>> trials = Trial(jax.random.uniform(jax.random.key(1), (8, 100, 3)), jnp.zeros(8, int))
        >>> from spikejax import Surrogate
        >>> simulator = ClockDriven(Gate(release=Surrogate(detach_reset=True)))
        >>> balance(network, trials, simulator, CrossEntropy()).gate.release.scale.shape
        (2,)
    """
    release = simulator.gate.release if isinstance(simulator, ClockDriven) else None
    if not isinstance(release, Surrogate):
        raise ValueError(
            "`balance` finds the scale of a surrogate derivative, which `simulator` does not have: the "
            "gradient of the other releases is that of what is simulated. Give the gate "
            'release="surrogate"'
        )
    layers = len(network.layers)
    scale = np.broadcast_to(np.asarray(release.scale, float), (layers,)).copy()
    slope = np.ones(layers)
    moved: Float[np.ndarray, " layers"] | None = None
    lost = before = np.zeros(layers)
    for _ in range(ROUNDS):
        found = layer_gradients(network, trials, _scaled(simulator, scale), loss, noise=noise)
        _check(found, scale)
        lost = _lost(found)
        if np.max(np.abs(lost)) <= math.log1p(tolerance):
            return _scaled(simulator, scale)
        if moved is not None:
            large = np.abs(moved) > 1e-3
            secant = np.where(large, (lost - before) / np.where(large, moved, 1.0), slope)
            slope = np.clip(secant, FLATTEST, STEEPEST)
        moved = np.clip(-lost / slope, -math.log(FURTHEST), math.log(FURTHEST))
        before, scale = lost, scale * np.exp(moved)
    worst = int(np.argmax(np.abs(lost)))
    raise ValueError(
        f"no scale found for layer {worst} in {ROUNDS} rounds: at {scale[worst]:.3g} its gradient is "
        f"{math.exp(lost[worst]):.3g} times that of the layer above: leave the reset out of the "
        "gradient (detach_reset=True), or calibrate the rates first"
    )


def _scaled(simulator: ClockDriven, scale: Float[np.ndarray, " layers"]) -> ClockDriven:
    where = lambda one: one.gate.release.scale
    return eqx.tree_at(where, simulator, jnp.asarray(scale, where(simulator).dtype))


def _lost(found: Float[np.ndarray, " layers"]) -> Float[np.ndarray, " layers"]:
    """The logarithm of every layer's gradient over that of the next layer above with weights; 0 for the last,
    and where there are none."""
    lost, weighted = np.zeros(len(found)), np.flatnonzero(~np.isnan(found))
    for below, above in itertools.pairwise(weighted):
        lost[below] = math.log(found[below] / found[above])
    return lost


def _check(found: Float[np.ndarray, " layers"], scale: Float[np.ndarray, " layers"]) -> None:
    for i, x in enumerate(found):
        if x == 0 or np.isinf(x):
            what = "no gradient" if x == 0 else "a gradient that is not finite"
            raise ValueError(
                f"layer {i} has {what} at scales of {scale.min():.3g} to {scale.max():.3g}: give its neurons "
                "a rate with `calibrate`; where it explodes, the surrogate a smaller scale or "
                "detach_reset=True"
            )


@eqx.filter_jit
def _sizes(network: Network, trials: Trial, simulator, loss: AbstractLoss, noise) -> Array:
    params, fixed = eqx.partition(network, trainable(network, ("weight",)))
    grads, metrics = gradient(params, fixed, trials, simulator, loss=loss, noise=noise)
    # NaN says that there is no weight: what is not finite is infinite.
    unknown = jnp.where(metrics["finite"], 0.0, jnp.inf)

    def size(layer, own) -> Array:
        pairs = list(zip(jax.tree.leaves(layer.feedforward), jax.tree.leaves(own.feedforward), strict=True))
        if not pairs:
            return jnp.asarray(jnp.nan)
        # Each norm by itself: the square of a gradient through many layers is beyond the range of float32.
        products = jnp.stack([_norm(w) * _norm(d) for w, d in pairs])
        return _norm(products) + unknown

    return jnp.stack([size(*both) for both in zip(params.layers, grads.layers, strict=True)])


def _norm(x: Array) -> Array:
    """The norm, of numbers however small or large."""
    largest = jnp.max(jnp.abs(x))
    unit = jnp.where(largest > 0, largest, 1.0)
    return unit * jnp.sqrt(jnp.sum((x / unit) ** 2))


__all__ = ["balance", "layer_gradients"]
