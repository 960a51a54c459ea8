"""The readout of a network, solved for rather than trained."""

from collections.abc import Callable, Iterable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..connections import Dense
from ..network import Network
from ..noise import Noise
from ..parameters import Masked
from ..readouts import LinearReadout
from ..simulators import AbstractSimulator
from ..tasks import Trial
from .step import run_trial


def fit_readout(
    network: Network,
    trials: Iterable[tuple[Trial, AbstractSimulator]],
    target: Callable[[Trial], tuple[Float[Array, "time out"], Float[Array, " time"]]],
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

    **Arguments:** `trials`: batches, each with what to simulate it with; `target`: of one
    trial, the signal ``(time, out)`` and the weight of each step; `noise`: what is random within a trial.
    Masked synapses stay absent (the mask of the first output is taken for all).

    **Raises:** `ValueError` unless the readout is a dense `LinearReadout`.
    """
    readout = network.readout
    if not isinstance(readout, LinearReadout) or not isinstance(readout.connection, Dense):
        raise ValueError(
            f"a readout is solved for only if it is linear and dense, and this one is a {type(readout).__name__}"
        )

    @eqx.filter_jit
    def moments(batch, simulator):
        def one(trial):
            solution = run_trial(network, trial, simulator, save="activation", noise=noise)
            s = solution.layers[-1].activation
            features = jnp.concatenate([s.reshape(len(s), -1), jnp.ones((len(s), 1), s.dtype)], axis=1)
            y, w = target(trial)
            return features.T @ (w[:, None] * features), features.T @ (w[:, None] * y)

        return jax.tree.map(lambda x: jnp.sum(x, axis=0), jax.lax.map(one, batch, batch_size=32))

    square, cross, count = 0.0, 0.0, 0
    for batch, simulator in trials:
        a, b = moments(batch, simulator)
        square, cross, count = (
            square + np.asarray(a, float),
            cross + np.asarray(b, float),
            count + len(batch.stimulus),
        )
    square, cross = square / count, cross / count
    weight = readout.connection.weight
    masked = isinstance(weight, Masked)
    keep = np.ones(len(square), bool)
    if masked:
        keep[:-1] = np.asarray(weight.mask)[0].reshape(-1)
    a = square[np.ix_(keep, keep)]
    solution = np.zeros_like(cross)
    solution[keep] = np.linalg.solve(a + ridge * np.mean(np.diag(a)) * np.eye(len(a)), cross[keep])
    new = jnp.asarray(solution[:-1].T.reshape(weight.shape), readout.bias.dtype)
    bias = jnp.asarray(solution[-1], readout.bias.dtype)
    return eqx.tree_at(
        lambda n: (n.readout.connection.weight, n.readout.bias),
        network,
        (Masked(new, weight.mask) if masked else new, bias),
    )


__all__ = ["fit_readout"]
