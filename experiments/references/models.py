"""The neurons' equations as the literature has them, written from the papers and sharing no code with the
package: what the ledger and the fidelity tables hold the neurons to."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikejax import (
    ALIF,
    EIF,
    GLIF,
    LIF,
    NIF,
    QIF,
    Accommodating,
    AdEx,
    HodgkinHuxley,
    Izhikevich,
    Theta,
)
from spikejax.neurons import AbstractNeuron

# Before the models below are made.
jax.config.update("jax_enable_x64", True)
PI = np.pi


class Model(NamedTuple):
    """A neuron and its equations as the literature has them."""

    neuron: AbstractNeuron
    field: Callable
    """``dy/dt`` of the tuple of state variables, v first; for an input ``I - g v``."""
    reset: Callable
    """State after a spike."""
    threshold: Callable
    start: tuple[float, ...]
    current: float
    """A constant current at which it spikes."""
    dt: float
    differences: str


def squid(y, i, g):
    v, m, h, n = y
    alpha = lambda a, x, s: a * jnp.where(jnp.abs(x) < 1e-7, s, x / jnp.expm1(x / s))
    u = v + 65
    dv = -120 * m**3 * h * (v - 50) - 36 * n**4 * (v + 77) - 0.3 * (v + 54.387) + i - g * v
    return (
        dv,
        alpha(0.1, 25 - u, 10.0) * (1 - m) - 4 * jnp.exp(-u / 18) * m,
        0.07 * jnp.exp(-u / 20) * (1 - h) - h / (1 + jnp.exp((30 - u) / 10)),
        alpha(0.01, 10 - u, 10.0) * (1 - n) - 0.125 * jnp.exp(-u / 80) * n,
    )


def cortical(y, i, g):
    v, m, h, n, p = y
    vt = -56.2
    quotient = lambda x, s: jnp.where(jnp.abs(x) < 1e-7, s, x / jnp.expm1(x / s))
    dv = -50 * m**3 * h * (v - 50) - 5 * n**4 * (v + 90) - 0.07 * p * (v + 90) - 0.1 * (v + 70.3) + i - g * v
    steady, tau = (
        1 / (1 + jnp.exp(-(v + 35) / 10)),
        608 / (3.3 * jnp.exp((v + 35) / 20) + jnp.exp(-(v + 35) / 20)),
    )
    return (
        dv,
        0.32 * quotient(vt + 13 - v, 4.0) * (1 - m) - 0.28 * quotient(v - vt - 40, 5.0) * m,
        0.128 * jnp.exp((vt + 17 - v) / 18) * (1 - h) - 4 / (1 + jnp.exp((vt + 40 - v) / 5)) * h,
        0.032 * quotient(vt + 15 - v, 5.0) * (1 - n) - 0.5 * jnp.exp((vt + 10 - v) / 40) * n,
        (steady - p) / tau,
    )


def _gates_at_rest(neuron):
    """Where the gating variables stand still, by running the reference's own equations: a root, not the
    package's formula."""
    field = squid if neuron.kinetics == "squid" else cortical
    v = float(neuron.v_init)
    size = 3 if neuron.kinetics == "squid" else 4
    # Each equation is linear in its own variable: x = f(0)/(f(0) - f(1)).
    low, high = field((v, *(0.0,) * size), 0.0, 0.0)[1:], field((v, *(1.0,) * size), 0.0, 0.0)[1:]
    return (v, *(float(a / (a - b)) for a, b in zip(low, high, strict=True)))


_SQUID, _CORTICAL = HodgkinHuxley(), HodgkinHuxley.cortical()
MODELS = {
    "NIF": Model(
        NIF(tau_mem=10.0), lambda y, i, g: ((i - g * y[0]) / 10,), lambda y: (0.0,), lambda y: 1.0, (0.1,),
        0.37, 1.0,
        "none: exact",
    ),
    "LIF": Model(
        LIF(tau_mem=10.0), lambda y, i, g: ((-y[0] + i - g * y[0]) / 10,), lambda y: (0.0,), lambda y: 1.0,
        (0.1,), 1.7, 1.0,
        "none: exact",
    ),
    "theta": Model(
        Theta(tau_mem=10.0),
        lambda y, i, g: (((1 + jnp.cos(2 * PI * y[0])) + (1 - jnp.cos(2 * PI * y[0])) * i) / 10,),
        lambda y: (0.0,), lambda y: 1.0, (0.5,), 0.3, 1.0,
        "none: exact; no conductance-based input",
    ),
    "QIF": Model(
        QIF(tau_mem=10.0),
        # The phase of V (V - 1) + I:  V - 1/2 = -cot(pi v).
        lambda y, i, g: ((jnp.cos(PI * y[0]) ** 2 + (i - 0.25) * jnp.sin(PI * y[0]) ** 2) / (10 * PI),),
        lambda y: (0.0,), lambda y: 1.0, (0.3,), 0.6, 1.0,
        "none: exact; no conductance-based input",
    ),
    "ALIF": Model(
        ALIF(tau_mem=20.0, tau_adapt=150.0, beta=0.3),
        lambda y, i, g: ((-y[0] + i - g * y[0]) / 20, -y[1] / 150),
        lambda y: (0.0, y[1] + 1), lambda y: 1 + 0.3 * y[1], (0.0, 0.0), 2.5, 1.0,
        "exact, at most one spike a step; published with a reset by subtraction on the grid",
    ),
    "GLIF": Model(
        GLIF(tau_mem=20.0, tau_asc=(20.0, 90.0), jump_asc=(0.4, -0.3), tau_theta=40.0, jump_theta=0.2,
            v_reset=0.1),
        lambda y, i, g: ((-y[0] + i + y[1] + y[2] - g * y[0]) / 20, -y[1] / 20, -y[2] / 90, -y[3] / 40),
        lambda y: (0.1, y[1] + 0.4, y[2] - 0.3, y[3] + 0.2), lambda y: 1 + y[3], (0.0, 0.0, 0.0, 0.0), 2.0,
        1.0,
        "exact, at most one spike a step; the voltage-dependent threshold of GLIF5 is `Accommodating`",
    ),
    "LIF, accommodating": Model(
        Accommodating(LIF(tau_mem=10.0), tau=30.0, slope=0.6),
        lambda y, i, g: (
            (-y[0] + i - g * y[0]) / 10, (0.06 * jnp.logaddexp(0.0, (y[0] - 0.5) / 0.1) - y[1]) / 30,
        ),
        lambda y: (0.0, y[1]), lambda y: 1 + y[1], (0.0, 0.06 * math.log1p(math.exp(-5))), 3.0, 1.0,
        "of second order: what the threshold follows is linear in a step",
    ),
    "EIF": Model(
        EIF(),
        lambda y, i, g: ((-30 * (y[0] + 70.6) + 60 * jnp.exp((y[0] + 50.4) / 2) + i - g * y[0]) / 281,),
        lambda y: (-70.6,), lambda y: -40.4, (-70.6,), 800.0, 0.1,
        "order 4 in a coordinate that straightens the upswing; cut-off at V_T + 5 Delta_T",
    ),
    "AdEx": Model(
        AdEx(),
        lambda y, i, g: (
            (-30 * (y[0] + 70.6) + 60 * jnp.exp((y[0] + 50.4) / 2) - y[1] + i - g * y[0]) / 281,
            (4 * (y[0] + 70.6) - y[1]) / 144,
        ),
        lambda y: (-70.6, y[1] + 80.5), lambda y: -40.4, (-70.6, 0.0), 1000.0, 0.1,
        "as EIF",
    ),
    "Izhikevich": Model(
        Izhikevich(),
        lambda y, i, g: (0.04 * y[0] ** 2 + 5 * y[0] + 140 - y[1] + i - g * y[0], 0.02 * (0.2 * y[0] - y[1])),
        lambda y: (-65.0, y[1] + 8), lambda y: 30.0, (-70.0, -14.0), 10.0, 0.1,
        "order 2 (v exactly for the u of mid-step); the published Euler steps of 1 ms are another model",
    ),
    "Hodgkin-Huxley, squid": Model(
        _SQUID, squid, None, lambda y: 0.0, _gates_at_rest(_SQUID), 10.0, 0.05,
        "order 4, stable at any step; at 6.3 degrees",
    ),
    "Hodgkin-Huxley, cortical": Model(
        _CORTICAL, cortical, None, lambda y: 0.0, _gates_at_rest(_CORTICAL), 5.0, 0.05,
        "order 4, stable at any step; no T or L current",
    ),
}  # fmt: skip


def pack(model: Model, y):
    """The reference's tuple as the neuron's state."""
    state = model.neuron.init(())
    values = [jnp.asarray(x, jnp.result_type(float)) for x in y]
    if isinstance(model.neuron, GLIF):
        return state._replace(v=values[0], asc=jnp.stack(values[1:3]), theta=values[3])
    if isinstance(model.neuron, Accommodating):
        return state._replace(v=values[0], phi=values[1])
    return type(state)(*values, *([jnp.zeros(())] if model.field is squid else []))
