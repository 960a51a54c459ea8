"""Written with eventax: its QIF neuron is the same model, ``tau dV/dt = V (V - 1) + I``, solved by steps
between events, with a root finder for the crossings. It stops when every neuron of the last layer has fired.

The problem is that of `experiments/event_speed.py`, in membrane time constants.
"""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
from eventax.evnn import FFEvNN
from eventax.neuron_models import QIF

from .with_jax import compiled

STEP, TOLERANCE, EVENTS = 0.2, 1e-4, 200
"""Of the solver (Tsit5), so large that spike times are right to 1e-3; of the root finder; most events."""


def build(problem):
    """The gradient step of the weights."""
    (hidden, channels), outputs = problem["in"].shape, len(problem["out"])
    n, end = hidden + outputs, float(problem["end"])
    weight = np.zeros((n + channels, n), np.float32)
    weight[:hidden, hidden:], weight[n:, :hidden] = problem["out"].T, problem["in"].T
    model = FFEvNN(
        layers=[hidden, outputs],
        in_size=channels,
        neuron_model=QIF,
        max_solver_time=end,
        key=jax.random.key(0),
        tmem=1.0,
        tsyn=0.5,
        init_weights=jnp.asarray(weight),
        init_bias=0.0,
        solver=diffrax.Tsit5(),
        solver_stepsize=STEP,
        root_finder=optimistix.Newton(TOLERANCE, TOLERANCE, optimistix.rms_norm),
        max_event_steps=EVENTS,
    )
    # Its inputs are a list for every channel.
    own = np.argsort(problem["channel"], axis=1)
    times = np.take_along_axis(problem["time"], own, axis=1)[..., None]

    def loss(weight, times, label):
        whole = eqx.tree_at(lambda m: m.neuron_model.weights, model, weight)
        first = jax.vmap(whole.ttfs)(times)
        first = jnp.where(jnp.isinf(first), end, first)
        right = jnp.take_along_axis(first, label[:, None], axis=1)[:, 0]
        log_p = jax.nn.log_softmax(-first / problem["scale"])
        own = jnp.take_along_axis(log_p, label[:, None], axis=1)[:, 0]
        return jnp.mean(problem["late"] * (jnp.exp(right / end) - 1) - own)

    def plain(gradient):
        return {"in": gradient[n:, :hidden].T, "out": gradient[:hidden, hidden:].T}

    return compiled(loss, jnp.asarray(weight), (times, problem["label"]), plain)
