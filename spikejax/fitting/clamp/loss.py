"""What a current-clamped neuron is fitted to: sweeps; and the losses of a neuron with escape noise, which the
recorded spikes reset, and of one without noise, which runs freely."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ...adjoints import Costate
from ...cell import Cell
from ...gates import Gate
from ...neurons import AbstractNeuron, AbstractResetNeuron
from ...state import LayerState
from ...synapses import Exponential
from ..escape import log_likelihood_of_spikes, teacher_forced
from ..ranges import Values, physical, prior
from ..recordings import Stepped
from .models import MILLI, ClampModel, at_sweeps

__all__ = [
    "FreeRun",
    "Sweeps",
    "Weights",
    "deterministic_loss",
    "escape_rate",
    "filtered",
    "measured",
    "neuron_and_drive",
    "recorded_loss",
    "resetting",
    "run_free",
    "stochastic_loss",
    "sweeps_to_fit",
]

BEFORE, AFTER = 2.0, 5.0
"""The voltage counts from AFTER ms after a recorded spike until BEFORE ms before the next: in between is the
spike."""
FLOOR = 1e-6
"""Expected spikes in a step below which a recorded one is no less likely."""


class Sweeps(NamedTuple):
    """Sweeps to fit, time-major."""

    current: Float[Array, "time sweeps"]
    """Current of the electrode, pA."""
    voltage: Float[Array, "time sweeps"]
    """Recorded voltage at the end of the step, mV."""
    start: Float[Array, " sweeps"]
    """Recorded voltage at time 0, mV."""
    spikes: Float[Array, "time sweeps"]
    """1 in a step with a spike."""
    quiet: Bool[Array, "time sweeps"]
    """Where the voltage counts."""
    number: Float[Array, " sweeps"]
    """Number of each sweep in the recording."""


class Weights(NamedTuple):
    """What the losses are made of (see `recorded_loss`, `deterministic_loss`)."""

    anchor: float = 0.003
    """Weight of `recorded_loss` in `deterministic_loss`; of the voltage error for a model without reset."""
    trains: float = 1.0
    """Weight of the distance of the filtered spike trains."""
    counts: float = 1.0
    """Weight of the distance of the running spike counts."""
    sigma: float = 4.0
    """Voltage error that counts as 1, mV; larger ones count linearly."""
    tau: float = 20.0
    """Time constant of the filter of the spike trains, ms."""


def sweeps_to_fit(
    stepped: Stepped, which: Int[np.ndarray, " chosen"], window: tuple[float, float] | None = None
) -> Sweeps:
    """The chosen sweeps of a recording, in a `window` of time (ms) if one is given.

    **Arguments:** `which`: positions of the sweeps in the recording, from 0.

    **Raises:** `ValueError` for a window that is not inside the sweeps.
    """
    dt, steps = stepped.dt, stepped.current.shape[1]
    first, last = (0.0, steps * dt) if window is None else window
    inside = 0 <= first < last <= (steps + 0.5) * dt
    begin, end = (round(first / dt), round(last / dt)) if inside else (0, 0)
    if not begin < end <= steps:
        raise ValueError(
            f"the window from {first:g} to {last:g} ms is not inside the sweeps of {steps * dt:g} ms"
        )
    busy = stepped.counts[which] > 0
    quiet = np.ones_like(busy)
    for sweep, step in zip(*np.nonzero(busy), strict=True):
        quiet[sweep, max(0, step - round(BEFORE / dt)) : step + round(AFTER / dt) + 1] = False
    before = stepped.voltage[which, begin - 1] if begin else stepped.start[which]

    def cut(x):
        return jnp.asarray(x[:, begin:end].T, jnp.result_type(float))

    return Sweeps(
        current=cut(stepped.current[which]),
        voltage=cut(stepped.voltage[which]),
        start=jnp.asarray(before, jnp.result_type(float)),
        spikes=cut(busy.astype(float)),
        quiet=jnp.asarray(quiet[:, begin:end].T),
        number=jnp.asarray(stepped.sweeps[which], jnp.result_type(float)),
    )


def neuron_and_drive(
    model: ClampModel, p: Values, data: Sweeps
) -> tuple[AbstractNeuron, Float[Array, "time sweeps"]]:
    """The neurons of a model, one for each sweep, and what they take as their current.

    **Arguments:** `p`: parameters in their units.
    """
    own = at_sweeps(p, data.number)
    return model.neuron(own, data.start), model.drive(own, data.current)


def resetting(neuron: AbstractNeuron) -> AbstractResetNeuron:
    """The same neuron, known to have a reset.

    **Raises:** `ValueError` for one without.
    """
    if not isinstance(neuron, AbstractResetNeuron):
        raise ValueError(
            f"a {type(neuron).__name__} neuron has no reset: recorded spikes cannot reset it, and it has no "
            "stochastic fit"
        )
    return neuron


def measured(
    p: Values, v: Float[Array, "time *n"], current: Float[Array, "time *n"]
) -> Float[Array, "time *n"]:
    """What the electrode reads in mV, ``v + R_s I``: with the part of its series resistance that the bridge
    does not balance."""
    return v + MILLI * p["R_s"] * current


def escape_rate(model: ClampModel, p: Values, height: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Escape rate in 1/ms, ``log(1 + exp(h))``, h being the height of v above the threshold in units of the
    escape zone, less what keeps a neuron at its threshold from escaping at once (`ClampModel.zones`).

    **Arguments:** `height`: the same in mV.
    """
    return jax.nn.softplus(model.zones(p, height))


def _huber(x):
    size = jnp.abs(x)
    return jnp.where(size < 1, 0.5 * x**2, size - 0.5)


def _voltage_error(p: Values, v: Float[Array, "time sweeps"], data: Sweeps, sigma: float) -> Float[Array, ""]:
    error = _huber((measured(p, v, data.current) - data.voltage) / sigma)
    return jnp.sum(jnp.where(data.quiet, error, 0.0)) / jnp.maximum(jnp.sum(data.quiet), 1)


def recorded_loss(
    model: ClampModel, raw: Values, data: Sweeps, dt: float, weights: Weights
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Voltage error and likelihood of a neuron with escape noise that recorded spikes reset, nats per spike.

    ```
    <H((v - v_rec)/sigma)> - (1/N) sum_k [y_k log(1 - exp(-lambda_k dt)) - (1 - y_k) lambda_k dt]
    ```
    H is Huber's function, the mean is over quiet steps, y_k marks the N recorded spikes, and lambda is the
    `escape_rate`.

    **Arguments:** `raw`: parameters as unbounded numbers; `dt` in ms.

    **Returns:** the loss and its two terms by name.

    **Raises:** `ValueError` for a model without reset.
    """
    p = physical(model.ranges, raw)
    neuron, drive = neuron_and_drive(model, p, data)
    run = teacher_forced(resetting(neuron), drive, data.spikes, dt)
    error = _voltage_error(p, run.v, data, weights.sigma)
    expected = dt * escape_rate(model, p, run.height)
    log_likelihood = log_likelihood_of_spikes(expected, data.spikes, FLOOR)
    spikes = -jnp.sum(log_likelihood) / jnp.maximum(jnp.sum(data.spikes), 1)
    return error + spikes, {"voltage": error, "spikes": spikes}


def stochastic_loss(
    model: ClampModel, raw: Values, data: Sweeps, dt: float, weights: Weights
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Loss of the stochastic fit: `recorded_loss` and the `prior`, nats per spike."""
    value, parts = recorded_loss(model, raw, data, dt, weights)
    return value + prior(raw) / jnp.maximum(jnp.sum(data.spikes), 1), parts


def _filter(tau: float) -> Exponential:
    """What filters spike trains, 1/ms."""
    return Exponential(jnp.asarray((tau,)), rate_unit=1.0)


class FreeRun(NamedTuple):
    """A neuron that runs by itself, at the end of every step."""

    release: Float[Array, "time sweeps"]
    """Charge released in the step; with an ordinary threshold the number of spikes."""
    v: Float[Array, "time sweeps"]
    """Membrane potential, mV."""
    activation: Float[Array, "time sweeps"]
    """The charge, filtered, 1/ms."""


def run_free(model: ClampModel, p: Values, data: Sweeps, gate: Gate, dt: float, tau: float) -> FreeRun:
    """The model by itself, through the gate: what `spikejax.simulate` does for one layer, the sweeps being
    its neurons.

    Its gradient is that of the costate with the model's damping, exact if there is none.

    **Arguments:** `p`: parameters in their units; `dt` and `tau`, of the filter of the charge, in ms.
    """
    neuron, drive = neuron_and_drive(model, p, data)
    cell = Cell(neuron, _filter(tau), gate, dt)
    shape, dtype = data.start.shape, data.start.dtype
    state = LayerState(neuron.init(shape), cell.synapse.init(shape, dtype), jnp.zeros(shape, dtype))
    save = frozenset(("release", "v", "activation"))
    damping = None if model.damping is None else jnp.asarray(model.damping)
    _, record = Costate(damping=damping).layer(cell, None, drive, cell.start(state), None, save)
    assert record.release is not None and record.v is not None and record.activation is not None  # noqa: PT018
    return FreeRun(record.release, record.v, record.activation[:, 0])


def filtered(spikes: Float[Array, "time sweeps"], tau: float, dt: float) -> Float[Array, "time sweeps"]:
    """Recorded spikes through the synapse that the model's charge goes through, 1/ms.

    **Arguments:** `tau` and `dt` in ms.
    """
    synapse = _filter(tau)

    def step(s, y):
        s, _ = synapse.step(s, y, dt)
        return s, s[0]

    return jax.lax.scan(step, synapse.init(spikes.shape[1:], spikes.dtype), spikes)[1]


def deterministic_loss(
    model: ClampModel,
    raw: Values,
    data: Sweeps,
    target: Float[Array, "time sweeps"],
    gate: Gate,
    dt: float,
    weights: Weights,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Loss of the deterministic fit, of a neuron without noise that runs freely.

    ```
    w_a L_rec + w_s sum (s - s_rec)^2/sum s_rec^2 + w_n (<H(N(t) - N_rec(t))> + <H(N(T) - N_rec(T))>/5)
    ```
    s: the charge, filtered with tau; N(t): charge released until t; L_rec: `recorded_loss`. The distance of s
    is that of van Rossum (2001), which has no slope where spikes are further than tau apart; the area between
    the counting functions N has one everywhere. The voltage enters through L_rec: that of a free run has a
    minimum for every way to get out of step with the recorded spikes. Recorded spikes cannot reset a model
    without reset; for it L_rec is the error of the free run's voltage, in quiet steps alone.

    **Arguments:** `raw`: parameters as unbounded numbers; `target`: ``s_rec``, the recorded spikes
    `filtered`; `dt` in ms.

    **Returns:** the loss and its terms by name.
    """
    p = physical(model.ranges, raw)
    run = run_free(model, p, data, gate, dt, weights.tau)
    if model.resets:
        anchor, parts = recorded_loss(model, raw, data, dt, weights)
    else:
        anchor = _voltage_error(p, run.v, data, weights.sigma)
        parts = {"voltage": anchor}
    trains = jnp.sum((run.activation - target) ** 2) / jnp.maximum(jnp.sum(target**2), 1e-6)
    ahead = jnp.cumsum(run.release - data.spikes, axis=0)
    counts = jnp.mean(_huber(ahead)) + 0.2 * jnp.mean(_huber(ahead[-1]))
    total = weights.anchor * anchor + weights.trains * trains + weights.counts * counts
    return total, parts | {"trains": trains, "counts": counts}
