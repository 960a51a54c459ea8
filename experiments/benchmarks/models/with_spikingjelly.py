"""Written with SpikingJelly: layers in its multi-step mode; where there is recurrence step by step.

A current moves the membrane potential by ``1 - beta`` of it, and a readout likewise, so that weights are
``1/(1 - beta)`` times those of the problem.
"""

import torch
from spikingjelly.activation_based import functional, layer, neuron

from ..settings import BETA, SLOPE
from .with_torch import started


class Spike(torch.autograd.Function):
    """1 above 0; its derivative is the fast sigmoid's, which the library has with another peak only."""

    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx, grad):
        return grad / (1 + SLOPE * ctx.saved_tensors[0].abs()) ** 2


def build(problem):
    """The step."""
    setting, tau = problem.setting, 1 / (1 - BETA)
    mode = "s" if setting.recurrent else "m"
    hidden = neuron.LIFNode(tau, v_reset=None, surrogate_function=Spike.apply, step_mode=mode)
    readout = neuron.NonSpikingLIFNode(tau)
    out = layer.Linear(setting.read, setting.outputs, bias=False, step_mode="m")
    if setting.kernel:
        into = layer.Conv2d(
            setting.channels[0], setting.neurons[0], setting.kernel, bias=False, step_mode="m"
        )
        between = [layer.AvgPool2d(setting.pool, step_mode="m"), layer.Flatten(step_mode="m")]
    else:
        into = layer.Linear(setting.channels[0], setting.neurons[0], bias=False, step_mode="m")
        between = []
    places = {"in": into.weight, "out": out.weight}
    if setting.recurrent:
        own = layer.Linear(setting.neurons[0], setting.neurons[0], bias=False)
        places["recurrent"] = own.weight

    def spikes(currents):
        if not setting.recurrent:
            return hidden(currents)
        s, found = None, []
        for current in currents:
            s = hidden(current if s is None else current + own(s))
            found.append(s)
        return torch.stack(found)

    after = torch.nn.Sequential(*between, out)

    def run(x):
        functional.reset_net(hidden)
        return torch.stack(readout(after(spikes(into(x)))))

    return started(problem, run, places, gain=tau)
