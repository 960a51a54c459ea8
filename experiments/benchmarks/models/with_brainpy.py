"""Written with brainpy.state: its LIF neuron and its leaky readout, in a loop of brainstate's.

Soft reset, exponential Euler; a current of 1 mA moves the membrane potential by ``1 - beta`` mV, so that the
weights of the neurons are ``1/(1 - beta)`` times those of the problem.
"""

import math
import time

import brainpy
import brainstate
import braintools
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np

from ..settings import BETA, SLOPE
from .axes import channels_last, turned
from .built import Built
from .with_jax import cross_entropy

GAIN = {"in": 1 / (1 - BETA), "recurrent": 1 / (1 - BETA), "out": 1.0}


class FastSigmoid(braintools.surrogate.Surrogate):
    """The surrogate of the problem."""

    def surrogate_grad(self, x):
        return 1 / (1 + SLOPE * jnp.abs(x)) ** 2


class Model(brainstate.nn.Module):
    """The network."""

    def __init__(self, problem):
        super().__init__()
        self.setting, tau = problem.setting, -1 / math.log(BETA) * u.ms
        state = lambda name: brainstate.ParamState(
            GAIN[name] * jnp.asarray(turned(self.setting, name, problem.weights[name], dense="in, out"))
        )
        self.places = {name: state(name) for name in ("in", "recurrent") if name in problem.weights}
        size = self.setting.neurons
        if self.setting.kernel:
            size = (*size[1:], size[0])
            self.pool = brainstate.nn.AvgPool2d(self.setting.pool, self.setting.pool)
        self.hidden = brainpy.state.LIF(size, tau=tau, spk_fun=FastSigmoid())
        self.readout = brainpy.state.LeakyRateReadout(self.setting.read, self.setting.outputs, tau=tau)
        self.readout.weight.value = state("out").value
        self.places["out"] = self.readout.weight

    def update(self, x):
        current = self.into(x)
        if self.setting.recurrent:
            current = current + self.hidden.get_spike() @ self.places["recurrent"].value
        s = self.hidden(current * u.mA)
        if self.setting.kernel:
            s = self.pool(s).reshape(self.setting.batch, -1)
        return self.readout(s)

    def into(self, x):
        """The current of the input."""
        weight = self.places["in"].value
        if not self.setting.kernel:
            return x @ weight
        return jax.lax.conv_general_dilated(
            x, weight, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )


def build(problem):
    """The step."""
    setting = problem.setting
    x = jnp.asarray(channels_last(setting, problem.dense().swapaxes(0, 1)))
    labels = jnp.asarray(problem.labels)
    brainstate.environ.set(dt=1.0 * u.ms)
    model = Model(problem)
    brainstate.nn.init_all_states(model, batch_size=setting.batch)
    traced = []

    def loss(x, labels):
        traced.append(1)
        brainstate.nn.reset_all_states(model, batch_size=setting.batch)
        return cross_entropy(brainstate.transform.for_loop(model.update, x), labels)

    gradient = brainstate.transform.grad(loss, model.places, return_value=True)
    step = brainstate.transform.jit(gradient)
    run = lambda: jax.block_until_ready(step(x, labels))
    begun = time.perf_counter()
    run()
    seconds = time.perf_counter() - begun

    def result(found):
        gradients, value = found
        plain = lambda name, g: GAIN[name] * turned(setting, name, np.asarray(g), True, "in, out")
        return float(value), {name: plain(name, g) for name, g in gradients.items()}

    # Without lowering it cannot be asked for its memory; compiled and run once.
    return Built(run, result, {"compile_s": seconds}, lambda: len(traced))
