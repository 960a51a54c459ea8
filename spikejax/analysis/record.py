"""Everything a network does in a set of trials, as NumPy arrays."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from ..network import Network
from ..noise import Noise
from ..parameters import resolve
from ..simulate import Series
from ..simulators import ClockDriven
from ..tasks import Trial
from ..training.step import run_trial

SAVED: tuple[Series, ...] = ("release", "v", "activation")


class Recording(NamedTuple):
    """Time series of all trials, one entry a step; the neurons of all layers side by side."""

    readout: Float[np.ndarray, "trials time out"]
    release: Float[np.ndarray, "trials time n"]
    v: Float[np.ndarray, "trials time n"]
    activation: Float[np.ndarray, "trials time n"]
    """Activation of each neuron's slowest synapse."""
    mask: Bool[np.ndarray, "trials time"]
    """False after the end of a trial."""
    dt: float
    """ms."""

    @property
    def time(self) -> Float[np.ndarray, " time"]:
        """End of each step, ms."""
        return (np.arange(self.release.shape[1]) + 1) * self.dt


def record(
    network: Network,
    trials: Trial,
    simulator: ClockDriven,
    *,
    noise: Noise | None = None,
    at_once: int = 60,
) -> Recording:
    """Run `network` on every trial and keep it all.

    **Arguments:** `trials`: a batch; `noise`: what is random within a trial; `at_once`: trials run together.
    """
    taus = [np.asarray(layer.synapse.tau_syn) for layer in resolve(network).layers]
    slowest = [int(np.argmax(tau.reshape(len(tau), -1).max(axis=1))) for tau in taus]

    @eqx.filter_jit
    def run(network, trials, simulator):
        def one(trial):
            solution = run_trial(network, trial, simulator, save=SAVED, noise=noise)
            steps = len(trial.stimulus)

            def flat(series):
                return jnp.concatenate([jnp.asarray(x).reshape(steps, -1) for x in series], axis=1)

            activations = [jnp.asarray(record.activation) for record in solution.layers]
            return (
                solution.readout,
                flat(record.release for record in solution.layers),
                flat(record.v for record in solution.layers),
                flat(x[:, k] for x, k in zip(activations, slowest, strict=True)),
            )

        return jax.lax.map(one, trials, batch_size=min(at_once, len(trials.stimulus)))

    readout, release, v, activation = map(np.asarray, run(network, trials, simulator))
    mask = np.ones(release.shape[:2], bool) if trials.mask is None else np.asarray(trials.mask)
    return Recording(readout, release, v, activation, mask, simulator.dt)


__all__ = ["Recording", "record"]
