"""Written with jaxpike: a chain of layers, or, if there is recurrence, its `Graph`.

A current moves the membrane potential by ``1 - beta`` of it, and a readout likewise, so that weights are
``1/(1 - beta)`` times those of the problem.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxpike

from ..settings import BETA, SLOPE
from .axes import channels_last, turned
from .with_jax import compiled, cross_entropy

GAIN, TAU = 1 / (1 - BETA), -1 / math.log(BETA)


def build(problem):
    """The step."""
    setting, key = problem.setting, jax.random.key(0)
    dense = lambda i, o: jaxpike.Dense(i, o, key=key, use_bias=False)
    x = channels_last(setting, problem.dense().swapaxes(0, 1))
    hidden = jaxpike.LIF(TAU, surrogate=jaxpike.FastSigmoid(SLOPE))
    out, readout = dense(setting.read, setting.outputs), jaxpike.LeakyIntegrator(TAU)
    if setting.recurrent:
        nodes = {"in": dense(setting.channels[0], setting.neurons[0]), "hidden": hidden, "out": out}
        nodes |= {"recurrent": dense(setting.neurons[0], setting.neurons[0]), "readout": readout}
        edges = [("input", "in"), ("in", "hidden"), ("hidden", "recurrent"), ("recurrent", "hidden")]
        edges += [("hidden", "out"), ("out", "readout")]
        net = jaxpike.Graph(nodes, edges, "readout")
        places = lambda net: {name: net.nodes[name].weight for name in problem.weights}
    else:
        if setting.kernel:
            into = jaxpike.Conv2d(
                setting.channels[0], setting.neurons[0], setting.kernel,
                key=key, padding="VALID", use_bias=False,
            )  # fmt: skip
            between = [jaxpike.Pool2d(setting.pool), jaxpike.Flatten()]
        else:
            into, between = dense(setting.channels[0], setting.neurons[0]), []
        net = jaxpike.Sequential(into, hidden, *between, out, readout)
        places = lambda net: {"in": net.layers[0].weight, "out": net.layers[-2].weight}
    weights = {name: GAIN * jnp.asarray(turned(setting, name, w)) for name, w in problem.weights.items()}
    assert {n: w.shape for n, w in places(net).items()} == {n: w.shape for n, w in weights.items()}
    names = sorted(weights)

    def loss(weights, x, labels):
        given = [weights[name] for name in names]
        whole = eqx.tree_at(lambda net: [places(net)[name] for name in names], net, given)
        return cross_entropy(jaxpike.unroll(whole, x)[0], labels)

    plain = lambda gradient: {
        name: GAIN * turned(setting, name, g, back=True) for name, g in gradient.items()
    }
    return compiled(loss, weights, (x, problem.labels), plain)
