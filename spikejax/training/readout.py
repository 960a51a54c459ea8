"""The readout of a network, solved for rather than trained."""

from collections.abc import Callable, Iterable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..connections import Dense
from ..network import Network
from ..noise import Noise
from ..parameters import Masked
from ..readouts import LinearReadout
from ..simulators import AbstractSimulator
from ..tasks import Trial
from .step import run_trial

Trials = Iterable[tuple[Trial, AbstractSimulator]]
"""Batches, each with what simulates it."""
Target = Callable[[Trial], tuple[Float[Array, "time out"], Float[Array, " time"]]]
"""Of one trial, the signal that the readout is to follow, and the weight of each step."""


def fit_readout(
    network: Network,
    trials: Trials,
    target: Target,
    *,
    ridge: float = 1e-2,
    noise: Noise | None = None,
) -> Network:
    """The network with its linear readout replaced by the ridge regression of the target on the activations.

    ```
    minimise  mean_trials sum_t w(t) |O s(t) + b - y(t)|^2 + ridge m |(O, b)|^2
    ```
    with m the mean square of the features, so that `ridge` is dimensionless. A network that does not yet do
    its task often carries what the task needs: a fitted readout gives training a better starting point.

    **Arguments:** `trials`: batches, each with what simulates it; `target`: of one trial, the signal
    ``(time, out)`` and the weight of each step; `noise`: what is random within a trial. Masked synapses stay
    absent (the mask of the first output is taken for all).

    **Raises:** `ValueError` unless the readout is a dense `LinearReadout`.
    """
    readout = network.readout
    if not isinstance(readout, LinearReadout) or not isinstance(readout.connection, Dense):
        raise ValueError(
            "a readout is solved for only if it is a LinearReadout of a Dense connection, and this one is a "
            f"{type(readout).__name__} of a {type(readout.connection).__name__}"
        )

    square, cross = _moments(network, trials, target, noise)
    weight, mask = readout.connection.weight, None
    if isinstance(weight, Masked):
        mask = np.append(np.asarray(weight.mask)[0].reshape(-1), True)  # the bias stays
    solution = _ridge_regression(square, cross, ridge, mask)
    new = jnp.asarray(solution[:-1].T.reshape(weight.shape), readout.bias.dtype)
    bias = jnp.asarray(solution[-1], readout.bias.dtype)
    return eqx.tree_at(
        lambda n: (n.readout.connection.weight, n.readout.bias),
        network,
        (Masked(new, weight.mask) if isinstance(weight, Masked) else new, bias),
    )


def _moments(
    network: Network, trials: Trials, target: Target, noise: Noise | None
) -> tuple[Float[np.ndarray, "features features"], Float[np.ndarray, "features out"]]:
    """Second moments of the features (the activations, and 1 for the bias) and their products with the
    target, summed over time and averaged over trials, in double precision."""

    @eqx.filter_jit
    def moments(batch, simulator):
        def one(trial):
            s = run_trial(network, trial, simulator, save="activation", noise=noise).layers[-1].activation
            assert s is not None  # it is saved
            features = jnp.concatenate([s.reshape(len(s), -1), jnp.ones((len(s), 1), s.dtype)], axis=1)
            y, w = target(trial)
            return features.T @ (w[:, None] * features), features.T @ (w[:, None] * y)

        return jax.tree.map(lambda x: jnp.sum(x, axis=0), jax.lax.map(one, batch, batch_size=32))

    square, cross, count = np.zeros(()), np.zeros(()), 0
    for batch, simulator in trials:
        a, b = moments(batch, simulator)
        square, cross = square + np.asarray(a, float), cross + np.asarray(b, float)
        count += batch.stimulus.shape[0]
    return square / count, cross / count


def _ridge_regression(
    square: Float[np.ndarray, "features features"],
    cross: Float[np.ndarray, "features out"],
    ridge: float,
    mask: Bool[np.ndarray, " features"] | None,
) -> Float[np.ndarray, "features out"]:
    """The coefficients; 0 where `mask` is False."""
    keep = np.ones(len(square), bool) if mask is None else mask
    a = square[np.ix_(keep, keep)]
    solution = np.zeros_like(cross)
    solution[keep] = np.linalg.solve(a + ridge * np.mean(np.diag(a)) * np.eye(len(a)), cross[keep])
    return solution


__all__ = ["fit_readout"]
