"""Written by hand in JAX: what one writes first, everything in one `lax.scan` and `jax.grad` through it; and
the same with the product of the input before the loop."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..settings import BETA, SLOPE
from .with_jax import compiled, cross_entropy


class Rules(NamedTuple):
    """What others do in another way: their results are compared with those of a loop that does so too."""

    hoisted: bool = False
    """The product of the input before the loop."""
    late: bool = False
    """The reset after the leak, ``v_t = beta v_{t-1} - s_{t-1} + ..``."""
    detached: bool = False
    """No derivative through the reset."""
    slope: float = SLOPE


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def spike(u, slope):
    """1 at the threshold and above it; its derivative is the fast sigmoid's."""
    del slope
    return (u >= 0).astype(u.dtype)


@spike.defjvp
def _spike_jvp(slope, primals, tangents):
    (u,), (t,) = primals, tangents
    return spike(u, slope), t / (1 + slope * jnp.abs(u)) ** 2


def into(setting, weight, x):
    """Currents of inputs ``(many, *channels)``."""
    if not setting.kernel:
        return x @ weight.T
    return jax.lax.conv_general_dilated(x, weight, (1, 1), "VALID")


def out_of(setting, weight, s):
    """What the readout is given by spikes ``(many, *neurons)``."""
    if setting.pool > 1:
        many, channels, height, width = s.shape
        windows = s.reshape(
            many, channels, height // setting.pool, setting.pool, width // setting.pool, setting.pool
        )
        s = jnp.mean(windows, axis=(3, 5))
    return s.reshape(s.shape[0], -1) @ weight.T


def loss(setting, rules, weights, x, labels):
    """Loss of a batch ``(time, batch, *channels)``."""
    if rules.hoisted:
        x = into(setting, weights["in"], x.reshape(-1, *setting.channels))
        x = x.reshape(setting.steps, setting.batch, *setting.neurons)

    def step(carry, x):
        v, s, o = carry
        current = x if rules.hoisted else into(setting, weights["in"], x)
        if setting.recurrent:
            current = current + s @ weights["recurrent"].T
        reset = jax.lax.stop_gradient(s) if rules.detached else s
        v = (BETA * v - reset if rules.late else BETA * (v - reset)) + current
        s = spike(v - 1, rules.slope)
        o = BETA * o + out_of(setting, weights["out"], s)
        return (v, s, o), o

    rest = jnp.zeros((setting.batch, *setting.neurons))
    start = rest, rest, jnp.zeros((setting.batch, setting.outputs))
    return cross_entropy(jax.lax.scan(step, start, x)[1], labels)


def build(problem, **rules):
    """The step, with the input in the order of time."""
    x = problem.dense().swapaxes(0, 1)
    weights = {name: jnp.asarray(w) for name, w in problem.weights.items()}
    return compiled(
        lambda w, x, y: loss(problem.setting, Rules(**rules), w, x, y), weights, (x, problem.labels)
    )
