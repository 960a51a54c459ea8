"""Everything a network does in a set of trials, as NumPy arrays."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ..network import Network
from ..noise import Noise
from ..parameters import resolve
from ..simulate import Series
from ..simulators import ClockDriven
from ..tasks import Trial
from .traces import record_series

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
    traces = record_series(network, trials, simulator, SAVED, noise=noise, at_once=at_once)
    taus = [np.asarray(layer.synapse.tau_syn) for layer in resolve(network).layers]
    slowest = [int(np.argmax(tau.reshape(len(tau), -1).max(axis=1))) for tau in taus]

    def flat(series: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([x.reshape(*traces.mask.shape, -1) for x in series], axis=2)

    of = lambda name: [layer.series[name] for layer in traces.layers]
    activation = [x[:, :, k] for x, k in zip(of("activation"), slowest, strict=True)]
    series = flat(of("release")), flat(of("v")), flat(activation)
    return Recording(traces.readout, *series, traces.mask, simulator.dt)


__all__ = ["Recording", "record"]
