"""Written with snnTorch: layers in a loop over time, as its tutorials have it."""

import snntorch
import torch
from snntorch import surrogate

from ..settings import BETA, SLOPE
from .with_torch import started


def build(problem):
    """The step."""
    setting, spike = problem.setting, surrogate.fast_sigmoid(SLOPE)
    if setting.kernel:
        into = torch.nn.Conv2d(setting.channels[0], setting.neurons[0], setting.kernel, bias=False)
        between = torch.nn.Sequential(torch.nn.AvgPool2d(setting.pool), torch.nn.Flatten())
    else:
        into = torch.nn.Linear(setting.channels[0], setting.neurons[0], bias=False)
        between = torch.nn.Identity()
    out = torch.nn.Linear(setting.read, setting.outputs, bias=False)
    readout = snntorch.Leaky(BETA, reset_mechanism="none")
    places = {"in": into.weight, "out": out.weight}
    if setting.recurrent:
        hidden = snntorch.RLeaky(BETA, linear_features=setting.neurons[0], spike_grad=spike)
        torch.nn.init.zeros_(hidden.recurrent.bias).requires_grad_(False)
        places["recurrent"] = hidden.recurrent.weight
    else:
        hidden = snntorch.Leaky(BETA, spike_grad=spike)

    def run(x):
        state, v_out, read = hidden.reset_mem(), readout.reset_mem(), []
        state = state if setting.recurrent else (state,)
        for now in x:
            state = hidden(into(now), *state)
            s, state = state[0], state if setting.recurrent else state[1:]
            _, v_out = readout(out(between(s)), v_out)
            read.append(v_out)
        return torch.stack(read)

    return started(problem, run, places)
