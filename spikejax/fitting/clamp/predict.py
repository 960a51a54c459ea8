"""What a fitted neuron does under the recorded current: with an ordinary threshold, or with escape noise."""

from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...gates import Gate
from ..escape import escape
from ..ranges import Values
from ..recordings import Stepped
from .loss import escape_rate, measured, neuron_and_drive, resetting, run_free, sweeps_to_fit
from .models import ClampModel

__all__ = ["Predicted", "predict_deterministic", "predict_stochastic"]


class Predicted(NamedTuple):
    """What a fitted neuron does, sweep after sweep, in one run."""

    spikes: tuple[Float[np.ndarray, " _"], ...]
    """Spike times of every sweep, ms."""
    voltage: Float[np.ndarray, "sweeps time"]
    """What the electrode would read at the end of every step, mV."""


def predict_deterministic(
    model: ClampModel,
    values: Mapping[str, float],
    stepped: Stepped,
    which: Int[np.ndarray, " chosen"],
    gate: Gate,
) -> Predicted:
    """Run the neuron without noise, with an ordinary threshold, over whole sweeps, from their current and the
    voltage at their start.

    **Arguments:** `values` of the parameters in their units; `which`: positions of the sweeps, from 0;
    `gate`: that of the fit, used at infinite sharpness.
    """
    data, p = sweeps_to_fit(stepped, which), _arrays(values)

    @eqx.filter_jit
    def run(p, data):
        free = run_free(model, p, data, gate.hard(), stepped.dt, 10.0)
        return free.release, measured(p, free.v, data.current)

    release, v = run(p, data)
    return _predicted(release, v, stepped.dt)


def predict_stochastic(
    model: ClampModel,
    values: Mapping[str, float],
    stepped: Stepped,
    which: Int[np.ndarray, " chosen"],
    runs: int,
    *,
    key: PRNGKeyArray,
) -> list[Predicted]:
    """Run the neuron with escape noise `runs` times over whole sweeps, from their current and the voltage at
    their start.

    **Arguments:** as of `predict_deterministic`; `key` of the spikes that the neuron draws.

    **Raises:** `ValueError` for a model without reset.
    """
    data, p, dt = sweeps_to_fit(stepped, which), _arrays(values), stepped.dt

    @jax.jit
    def run(p, data, key):
        neuron, drive = neuron_and_drive(model, p, data)
        rate = lambda height: escape_rate(model, p, height)
        v, spikes = escape(resetting(neuron), drive, rate, dt, key=key)
        return spikes, measured(p, v, data.current)

    predicted = []
    for own in jax.random.split(key, runs):
        spikes, v = run(p, data, own)
        predicted.append(_predicted(spikes, v, dt))
    return predicted


def _arrays(values: Mapping[str, float]) -> Values:
    return {name: jnp.asarray(value, jnp.result_type(float)) for name, value in values.items()}


def _predicted(spikes: Float[Array, "time sweeps"], v: Float[Array, "time sweeps"], dt: float) -> Predicted:
    counts, voltage = np.asarray(spikes, float).T, np.asarray(v, float).T
    steps = np.arange(counts.shape[1])
    # A step may hold several spikes of a fast model; each is put in its middle.
    return Predicted(
        tuple(np.repeat((steps + 0.5) * dt, np.round(row).astype(int)) for row in counts), voltage
    )
