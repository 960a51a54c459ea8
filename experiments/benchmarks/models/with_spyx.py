"""Written with spyx. Its neurons hand on the spikes of the step before, so that there is one step more,
without input, and the first readout is left out."""

import jax.numpy as jnp
from flax import nnx
from spyx import axn, nn

from ..settings import BETA, SLOPE
from .axes import channels_last, turned
from .with_jax import compiled, cross_entropy

PLACES = {"in": (0, "kernel"), "recurrent": (1, "recurrent_w"), "out": (-2, "kernel")}
"""Where a weight is: number of the layer, and its name there."""


class Pool(nnx.Module):
    """The mean over windows of space."""

    def __init__(self, window: int):
        self.window = window

    def __call__(self, x):
        return nnx.avg_pool(x, (self.window,) * 2, (self.window,) * 2)


def build(problem):
    """The step."""
    setting, rngs = problem.setting, nnx.Rngs(0)
    spike, x = axn.superspike(SLOPE), channels_last(setting, problem.dense().swapaxes(0, 1))
    if setting.kernel:
        channels, *space = setting.neurons
        kernel = (setting.kernel,) * 2
        into = nnx.Conv(setting.channels[0], channels, kernel, padding="VALID", use_bias=False, rngs=rngs)
        shape, between = (*space, channels), [Pool(setting.pool), nn.Flatten()]
    else:
        into = nnx.Linear(setting.channels[0], setting.neurons[0], use_bias=False, rngs=rngs)
        shape, between = setting.neurons, []
    neuron = nn.RLIF if setting.recurrent else nn.LIF
    hidden = neuron(shape, beta=BETA, activation=spike, rngs=rngs)
    out = nnx.Linear(setting.read, setting.outputs, use_bias=False, rngs=rngs)
    model = nn.Sequential(into, hidden, *between, out, nn.LI((setting.outputs,), beta=BETA, rngs=rngs))
    weights = {}
    for name, given in problem.weights.items():
        layer, key = PLACES[name]
        weights[name] = jnp.asarray(turned(setting, name, given, dense="in, out"))
        assert getattr(model.layers[layer], key).shape == weights[name].shape
    graph, _, others = nnx.split(model, nnx.Nothing, ...)

    def loss(weights, x, labels):
        model = nnx.merge(graph, nnx.State({}), others)
        for name, weight in weights.items():
            layer, key = PLACES[name]
            setattr(model.layers[layer], key, nnx.Param(weight))
        return cross_entropy(nn.run(model, x)[0][1:], labels)

    x = jnp.concatenate([x, jnp.zeros_like(x[:1])])
    plain = lambda gradient: {name: turned(setting, name, g, True, "in, out") for name, g in gradient.items()}
    return compiled(loss, weights, (x, problem.labels), plain)
