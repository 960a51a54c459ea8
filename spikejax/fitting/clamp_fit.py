"""Fitting a current-clamped neuron by gradient, in two stages and from several random starts at once."""

from typing import NamedTuple
import functools
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from ..adjoints import Autodiff
from ..cell import Cell
from ..gates import Gate
from ..network import LayerState
from ..neurons import Drive
from ..synapses import Exponential
from .clamp_models import ClampModel
from .ranges import physical


class Sweeps(NamedTuple):
    current: Array  # (time, sweeps)
    voltage: Array
    start: Array
    spikes: Array
    quiet: Array


def prepare(stepped, which, before=2.0, after=4.0):
    counts = stepped.counts[which].T
    pad_b, pad_a = int(round(before / stepped.dt)), int(round(after / stepped.dt))
    busy = counts > 0
    quiet = np.ones(busy.shape, bool)
    for t, s in zip(*np.nonzero(busy)):
        quiet[max(0, t - pad_b) : t + pad_a + 1, s] = False
    f = lambda x: jnp.asarray(x, jnp.result_type(float))
    return Sweeps(f(stepped.current[which].T), f(stepped.voltage[which].T), f(stepped.start[which]), f(np.minimum(counts, 1)), f(quiet))


def forced(neuron, drive, spikes, dt):
    """teacher forced: recorded spikes reset. returns v at the step's end before spike, height"""

    def step(state, x):
        i, y = x
        free = neuron.flow(state, i, dt)
        height = free.v - neuron.threshold(free)
        end = jax.tree.map(lambda a, b: jnp.where(y > 0, a, b), neuron.on_spike(free), free)
        return end, (free.v, height)

    return jax.lax.scan(step, neuron.init(spikes.shape[1:]), (drive, spikes))[1]


def huber(x):
    return jnp.where(jnp.abs(x) < 1, 0.5 * x**2, jnp.abs(x) - 0.5)


def forced_loss(model, raw, data, dt, sigma=4.0, weight=1.0):
    p = physical(model.ranges, {k: raw[k] for k in model.ranges})
    neuron = model.neuron(p, data.start)
    v, height = forced(neuron, model.drive(p, data.current), data.spikes, dt)
    err = jnp.sum(data.quiet * huber((v + 1e-3 * p["R_s"] * data.current - data.voltage) / sigma)) / jnp.sum(data.quiet)
    x = model.escape(p, height)
    lam = dt * jax.nn.softplus(x) * 1.0
    ll = jnp.where(data.spikes > 0, jnp.log(-jnp.expm1(-lam - 1e-6)), -lam)
    return err + weight * -jnp.sum(ll) / jnp.sum(data.spikes), (err, -jnp.sum(ll) / jnp.sum(data.spikes))


def free(model, p, data, gate, dt, tau, save=("release", "v", "activation")):
    neuron = model.neuron(p, data.start)
    cell = Cell(neuron, Exponential((tau,)), gate, dt)
    state = LayerState(neuron.init(data.start.shape), cell.synapse.init(data.start.shape))
    carry, record = Autodiff().layer(cell, None, model.drive(p, data.current), cell.start(state), None, frozenset(save))
    return carry, record


def filtered(spikes, tau, dt):
    d = jnp.exp(-dt / tau)
    f = lambda s, y: ((s * d + (1 - d) / dt * y),) * 2
    return jax.lax.scan(f, jnp.zeros(spikes.shape[1:], spikes.dtype), spikes)[1]


def free_loss(model, raw, data, target, gate, dt, tau, weights=(0.1, 1.0, 1.0), sigma=4.0):
    p = physical(model.ranges, {k: raw[k] for k in model.ranges})
    carry, record = free(model, p, data, gate, dt, tau)
    err = jnp.sum(data.quiet * huber((record.v + 1e-3 * p["R_s"] * data.current - data.voltage) / sigma)) / jnp.sum(data.quiet)
    trains = jnp.sum((record.activation[:, 0] - target) ** 2) / jnp.sum(target**2)
    gap = jnp.cumsum(record.release - data.spikes, axis=0)
    counts = jnp.mean(huber(gap)) + 0.2 * jnp.mean(huber(gap[-1]))
    return weights[0] * err + weights[1] * trains + weights[2] * counts, (err, trains, counts)
