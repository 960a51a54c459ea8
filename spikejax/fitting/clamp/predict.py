"""What a fitted neuron does under the recorded current: with an ordinary threshold, or with escape noise."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from ...gates import Gate
from ..escape import escape
from ..ranges import Values
from ..recordings import Stepped
from .loss import escape_rate, measured, run_free, sweeps_to_fit
from .models import ClampModel, at_sweeps


class Predicted(NamedTuple):
    """What a fitted neuron does, sweep after sweep, in one run."""

    spikes: tuple[Float[np.ndarray, " _"], ...]
    """ms."""
    voltage: Float[np.ndarray, "sweeps time"]
    """What the electrode would read, mV."""


def predict_clamp(
    model: ClampModel,
    values: dict[str, float],
    stepped: Stepped,
    which: Int[np.ndarray, " chosen"],
    gate: Gate,
) -> Predicted:
    """Run the neuron without noise, with an ordinary threshold, over whole sweeps, from their current and the
    voltage at their start."""
    data, p = sweeps_to_fit(stepped, which), _arrays(values)

    @eqx.filter_jit
    def run(p, data):
        _, record = run_free(model, p, data, gate.hard(), stepped.dt, 10.0, ("release", "v"))
        return record.release, measured(p, record.v, data.current)

    release, v = run(p, data)
    return _predicted(release, v, stepped.dt)


def predict_noisy(
    model: ClampModel,
    values: dict[str, float],
    stepped: Stepped,
    which: Int[np.ndarray, " chosen"],
    runs: int,
    *,
    key: PRNGKeyArray,
) -> list[Predicted]:
    """Run the neuron with escape noise `runs` times over whole sweeps, from their current and the voltage at
    their start."""
    data, p, dt = sweeps_to_fit(stepped, which), _arrays(values), stepped.dt

    @jax.jit
    def run(p, data, key):
        own = at_sweeps(p, data.number)
        neuron, drive = model.neuron(own, data.start), model.drive(own, data.current)
        v, spikes = escape(neuron, drive, lambda height: escape_rate(model, own, height), dt, key=key)
        return spikes, measured(p, v, data.current)

    return [_predicted(*run(p, data, own), dt) for own in jax.random.split(key, runs)]


def _arrays(values: dict[str, float]) -> Values:
    return {name: jnp.asarray(value, jnp.result_type(float)) for name, value in values.items()}


def _predicted(spikes, v, dt: float) -> Predicted:
    spikes, v = np.asarray(spikes, float).T, np.asarray(v, float).T
    steps = np.arange(spikes.shape[1])
    # A step may hold several spikes of a fast model; each is put in its middle.
    return Predicted(tuple(np.repeat((steps + 0.5) * dt, np.round(row).astype(int)) for row in spikes), v)
