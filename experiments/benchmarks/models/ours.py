"""Written with spikejax, by its public names.

A current I moves the membrane potential by ``(1 - beta) I``, and a readout likewise, so that the weights are
``1/(1 - beta)`` times those of the problem.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from spikejax import (
    LIF,
    Autodiff,
    Chain,
    Charge,
    Checkpointed,
    Convolution,
    Costate,
    Delta,
    Dense,
    Gate,
    Layer,
    LeakyReadout,
    Network,
    Pool,
    Surrogate,
    simulate,
)
from spikejax.connections import ActivationShape
from spikejax.tasks.trial_arrays import sorted_trials

from ..settings import BETA, SLOPE
from .with_jax import compiled, cross_entropy

DT = 1.0
TAU = -DT / math.log(BETA)
GAIN = 1 / (1 - BETA)
ADJOINTS = {"costate": Costate, "checkpointed": Checkpointed, "autodiff": Autodiff}


def network_of(problem, release: str) -> Network:
    """The network of a problem. The surrogate's reset is on the grid, as the problem has it; that of the
    charge splits the step, as is the default."""
    setting, weights = problem.setting, {name: GAIN * jnp.asarray(w) for name, w in problem.weights.items()}
    reset = "subtract" if release == "surrogate" else "split"
    kinds = ActivationShape((1, *setting.neurons))
    if setting.kernel:
        into = Convolution.create(
            setting.channels, None, key=jax.random.key(0),
            channels=setting.neurons[0], kernel=setting.kernel, padding="valid",
        )  # fmt: skip
        into = eqx.tree_at(lambda c: c.weight, into, weights["in"])
        pool = Pool.create(kinds, window=setting.pool, weight=1 / setting.pool**2)
        read = weights["out"].reshape(setting.outputs, *pool.out_shape)
        out = Chain((pool, Dense(read, pool.out_shape)))
    else:
        into = Dense(weights["in"], setting.channels)
        out = Dense(weights["out"][:, None], kinds)
    own = Dense(weights["recurrent"][:, None], kinds) if setting.recurrent else None
    layer = Layer(into, own, jnp.zeros(()), LIF(tau_mem=TAU, reset=reset), Delta(1 / DT))
    return Network((layer,), LeakyReadout(out, jnp.zeros(setting.outputs), tau_out=TAU))


def gate_of(release: str) -> Gate:
    """The gate: a surrogate of the slope of the problem, or the default of `Charge`."""
    if release == "charge":
        return Gate(release=Charge())
    return Gate("fast_sigmoid", width=2 / SLOPE, release=Surrogate())


def weights_of(network) -> dict:
    """The weights of a network by their names in the problem."""
    layer, out = network.layers[0], network.readout.connection
    found = {
        "in": layer.feedforward.weight,
        "out": (out.connections[1] if isinstance(out, Chain) else out).weight,
    }
    return found if layer.recurrent is None else found | {"recurrent": layer.recurrent.weight}


def with_weights(network, weights):
    """The network with other weights."""
    names = sorted(weights)
    return eqx.tree_at(
        lambda n: [weights_of(n)[name] for name in names], network, [weights[name] for name in names]
    )


def build(problem, release: str, adjoint: str, events: bool):
    """The step. Events: from the lists of all trials, as a task holds them, to the batch within the step."""
    setting, network, gate = problem.setting, network_of(problem, release), gate_of(release)

    def loss(weights, x, labels):
        whole = with_weights(network, weights)
        if events:
            trials, index = x
            x = trials.events(index)
        run = lambda x: simulate(whole, x, gate=gate, dt=DT, adjoint=ADJOINTS[adjoint]()).readout
        return cross_entropy(jax.vmap(run, out_axes=1)(x), labels)

    if events:
        ones = np.ones(len(problem.step), np.int8)
        shape = setting.steps, setting.channels
        x = (
            sorted_trials(problem.step, problem.channel, ones, problem.count, shape),
            jnp.arange(setting.batch),
        )
    else:
        x = problem.dense()

    def plain(gradient):
        return {name: GAIN * g.reshape(problem.weights[name].shape) for name, g in gradient.items()}

    return compiled(loss, weights_of(network), (x, problem.labels), plain)
