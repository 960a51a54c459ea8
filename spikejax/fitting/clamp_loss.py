"""What a current-clamped neuron is fitted to: sweeps, and the losses of a model that the recording drives and
of one that runs freely."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..adjoints import Costate
from ..cell import Cell
from ..gates import Gate
from ..state import Carry, LayerState, Record
from ..synapses import Exponential
from .clamp_models import MILLI, ClampModel, at_sweeps
from .escape import force
from .ranges import Values, physical
from .recordings import Stepped

BEFORE, AFTER = 2.0, 5.0
"""The voltage counts from AFTER ms after a recorded spike until BEFORE ms before the next: in between is the
spike."""


class Sweeps(NamedTuple):
    """Sweeps to fit, time-major."""

    current: Float[Array, "time sweeps"]
    """pA."""
    voltage: Float[Array, "time sweeps"]
    """At the end of the step, mV."""
    start: Float[Array, " sweeps"]
    """At time 0, mV."""
    spikes: Float[Array, "time sweeps"]
    """1 in a step with a spike."""
    quiet: Bool[Array, "time sweeps"]
    """Where the voltage counts."""
    number: Float[Array, " sweeps"]
    """Of each sweep in the recording."""


class Weights(NamedTuple):
    """What the loss is made of (see `free_loss`)."""

    driven: float = 0.003
    trains: float = 1.0
    counts: float = 1.0
    sigma: float = 4.0
    """Voltage error that counts as 1, mV; larger ones count linearly."""
    tau: float = 20.0
    """Of the filter of the spike trains, ms."""


def sweeps_to_fit(
    stepped: Stepped, which: Int[np.ndarray, " chosen"], window: tuple[float, float] | None = None
) -> Sweeps:
    """The chosen sweeps of a recording, in a `window` of time (ms) if one is given.

    **Raises:** `ValueError` for a window that is not inside the sweeps.
    """
    dt, steps = stepped.dt, stepped.current.shape[1]
    begin, end = (0, steps) if window is None else (round(window[0] / dt), round(window[1] / dt))
    if not 0 <= begin < end <= steps:
        raise ValueError(
            f"the window from {window[0]:g} to {window[1]:g} ms is not inside the sweeps of {steps * dt:g} ms"
        )
    busy = stepped.counts[which] > 0
    quiet = np.ones_like(busy)
    for sweep, step in zip(*np.nonzero(busy), strict=True):
        quiet[sweep, max(0, step - round(BEFORE / dt)) : step + round(AFTER / dt) + 1] = False
    before = stepped.voltage[which, begin - 1] if begin else stepped.start[which]
    as_array = lambda x: jnp.asarray(x, jnp.result_type(float))
    cut = lambda x: as_array(x[:, begin:end].T)
    return Sweeps(
        cut(stepped.current[which]),
        cut(stepped.voltage[which]),
        as_array(before),
        cut(busy.astype(float)),
        jnp.asarray(quiet[:, begin:end].T),
        as_array(stepped.sweeps[which]),
    )


def _huber(x):
    size = jnp.abs(x)
    return jnp.where(size < 1, 0.5 * x**2, size - 0.5)


def measured(
    p: Values, v: Float[Array, "time *n"], current: Float[Array, "time *n"]
) -> Float[Array, "time *n"]:
    """What the electrode reads in mV, ``v + R_s I``: with the part of its series resistance that the bridge
    does not balance."""
    return v + MILLI * p["R_s"] * current


def _voltage_error(p, v, data, sigma, where):
    error = _huber((measured(p, v, data.current) - data.voltage) / sigma)
    return jnp.sum(jnp.where(where, error, 0.0)) / jnp.maximum(jnp.sum(where), 1)


def escape_rate(model: ClampModel, p: Values, height: Float[Array, "time *n"]) -> Float[Array, "time *n"]:
    """``log(1 + exp(h))`` per ms, h being the height of v above the threshold in units of the escape zone."""
    return jax.nn.softplus(model.escape(p, height))


def forced_loss(
    model: ClampModel, raw: Values, data: Sweeps, dt: float, weights: Weights
) -> tuple[Float[Array, ""], dict]:
    """Loss of the first stage.

    ```
    <H((v - v_rec)/sigma)> + (1/N) sum_k [lambda_k dt - y_k (lambda_k dt + log(1 - exp(-lambda_k dt)))],    lambda = log(1 + exp(height))/ms
    ```
    H is Huber's function, the mean is over quiet steps, y_k marks the N recorded spikes, and the height is v
    above the threshold in units of the escape zone.
    """
    p = at_sweeps(physical(model.ranges, raw), data.number)
    neuron, drive = model.neuron(p, data.start), model.drive(p, data.current)
    run = force(neuron, drive, data.spikes, dt)
    error = _voltage_error(p, run.v, data, weights.sigma, data.quiet)
    expected = dt * escape_rate(model, p, run.height)
    log_likelihood = jnp.where(data.spikes > 0, jnp.log(-jnp.expm1(-expected - 1e-6)), -expected)
    spikes = -jnp.sum(log_likelihood) / jnp.maximum(jnp.sum(data.spikes), 1)
    return error + spikes, {"voltage": error, "spikes": spikes}


PRIOR = 0.1
"""Weight of ``u^2/2`` of the unbounded parameters, in nats: a normal prior that keeps them off the ends of
their ranges."""


def noisy_loss(
    model: ClampModel, raw: Values, data: Sweeps, dt: float, weights: Weights
) -> tuple[Float[Array, ""], dict]:
    """What a neuron with escape noise is fitted by: `forced_loss` and a prior, nats per spike."""
    value, parts = forced_loss(model, raw, data, dt, weights)
    prior = 0.5 * PRIOR * sum(jnp.sum(u**2) for u in raw.values())
    return value + prior / jnp.maximum(jnp.sum(data.spikes), 1), parts


def run_free(
    model: ClampModel,
    p: Values,
    data: Sweeps,
    gate: Gate,
    dt: float,
    tau: float,
    save=("release", "v", "activation"),
) -> tuple[Carry, Record]:
    """The model by itself, through the gate: what `spikejax.simulate` does for one layer, the sweeps being
    its neurons.

    Its gradient is that of the costate with the model's damping, exact if there is none.
    """
    p = at_sweeps(p, data.number)
    neuron = model.neuron(p, data.start)
    cell = Cell(neuron, Exponential((tau,)), gate, dt)
    state = LayerState(neuron.init(data.start.shape), cell.synapse.init(data.start.shape, data.start.dtype))
    return Costate(damping=model.damping).layer(
        cell, None, model.drive(p, data.current), cell.start(state), None, frozenset(save)
    )


def filtered(spikes: Float[Array, "time sweeps"], tau: float, dt: float) -> Float[Array, "time sweeps"]:
    """Recorded spikes through the synapse that the model's charge goes through, 1/ms."""
    synapse = Exponential((tau,))

    def step(s, y):
        s, _ = synapse.step(s, y, dt)
        return s, s[0]

    return jax.lax.scan(step, synapse.init(spikes.shape[1:], spikes.dtype), spikes)[1]


def free_loss(
    model: ClampModel, raw: Values, data: Sweeps, target, gate: Gate, dt: float, weights: Weights
) -> tuple[Float[Array, ""], dict]:
    """Loss of the second stage.

    ```
    w_d L_driven + w_s sum (s - s_rec)^2/sum s_rec^2 + w_n (<H(N(t) - N_rec(t))> + <H(N(T) - N_rec(T))>/5)
    ```
    s: the charge, filtered with tau; N(t): charge released until t. The distance of s is that of van Rossum
    (2001), which has no slope where spikes are further than tau apart; the area between the counting
    functions N has one everywhere. The voltage enters through the loss of the first stage: that of a free run
    has a minimum for every way to get out of step with the recorded spikes. A model without reset cannot be
    driven by recorded spikes; for it L_driven is the error of the free run's voltage, in quiet steps alone.
    """
    p = physical(model.ranges, raw)
    _, record = run_free(model, p, data, gate, dt, weights.tau)
    if model.resets:
        driven, parts = forced_loss(model, raw, data, dt, weights)
    else:
        driven = _voltage_error(p, record.v, data, weights.sigma, data.quiet)
        parts = {"voltage": driven}
    trains = jnp.sum((record.activation[:, 0] - target) ** 2) / jnp.maximum(jnp.sum(target**2), 1e-6)
    ahead = jnp.cumsum(record.release - data.spikes, axis=0)
    counts = jnp.mean(_huber(ahead)) + 0.2 * jnp.mean(_huber(ahead[-1]))
    total = weights.driven * driven + weights.trains * trains + weights.counts * counts
    return total, parts | {"trains": trains, "counts": counts}
