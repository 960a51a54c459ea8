"""Everything a network does in a set of trials, as NumPy arrays."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from ..gates import Gate
from ..network import Network
from ..noise import Noise
from ..parameters import resolve
from ..simulators import ClockDriven
from ..tasks import Trial
from ..training.step import run_trial


class Recording(NamedTuple):
    """Time series of all trials, one entry a step; the neurons of all layers side by side."""

    readout: Float[np.ndarray, "trials time out"]
    release: Float[np.ndarray, "trials time n"]
    v: Float[np.ndarray, "trials time n"]
    activation: Float[np.ndarray, "trials time n"]
    """Of each neuron's slowest synapse."""
    mask: Bool[np.ndarray, "trials time"]
    """False after the end of a trial."""
    dt: float

    @property
    def time(self) -> Float[np.ndarray, " time"]:
        """End of each step, ms."""
        return (np.arange(self.release.shape[1]) + 1) * self.dt


def record(
    network: Network, trials: Trial, *, gate: Gate, dt: float, noise: Noise | None = None, at_once: int = 60
) -> Recording:
    """Run `network` on every trial and keep it all.

    **Arguments:** `trials`: a batch; `dt` in ms; `noise`: what is random within a trial; `at_once`: trials
    run together.
    """
    taus = [np.asarray(layer.synapse.tau_syn) for layer in resolve(network).layers]
    slowest = [int(np.argmax(tau.reshape(len(tau), -1).max(axis=1))) for tau in taus]

    @eqx.filter_jit
    def run(network, trials, simulator):
        def one(trial):
            save = ("release", "v", "activation")
            solution = run_trial(network, trial, simulator, save=save, noise=noise)
            steps = len(trial.stimulus)

            def flat(each):
                return jnp.concatenate([x.reshape(steps, -1) for x in each], axis=1)

            layers = solution.layers
            own = [r.activation[:, k] for r, k in zip(layers, slowest, strict=True)]
            return solution.readout, flat([r.release for r in layers]), flat([r.v for r in layers]), flat(own)

        return jax.lax.map(one, trials, batch_size=min(at_once, len(trials.stimulus)))

    found = [np.asarray(x) for x in run(network, trials, ClockDriven(gate, dt))]
    shape = trials.stimulus.shape[:2]
    mask = np.ones(shape, bool) if trials.mask is None else np.asarray(trials.mask)
    return Recording(*found, mask, dt)


__all__ = ["Recording", "record"]
