"""Written with Norse: cells in a loop over time.

Its neurons without a synaptic current have no recurrent layer, so that the product with the spikes of the
step before is added to the input. A current moves the membrane potential by ``1 - beta`` of it, and a readout
likewise, so that weights are ``1/(1 - beta)`` times those of the problem. Its surrogate has a slope of 1,
whatever is asked for.
"""

import torch
from norse.torch.functional.leaky_integrator_box import LIBoxParameters
from norse.torch.functional.lif_box import LIFBoxParameters
from norse.torch.functional.reset import reset_subtract
from norse.torch.module.leaky_integrator_box import LIBoxCell
from norse.torch.module.lif_box import LIFBoxCell

from ..settings import BETA
from .with_torch import started


def build(problem):
    """The step."""
    setting, rate = problem.setting, torch.as_tensor(1 - BETA)
    if setting.kernel:
        into = torch.nn.Conv2d(setting.channels[0], setting.neurons[0], setting.kernel, bias=False)
        between = torch.nn.Sequential(torch.nn.AvgPool2d(setting.pool), torch.nn.Flatten())
    else:
        into = torch.nn.Linear(setting.channels[0], setting.neurons[0], bias=False)
        between = torch.nn.Identity()
    out = torch.nn.Linear(setting.read, setting.outputs, bias=False)
    hidden = LIFBoxCell(LIFBoxParameters(tau_mem_inv=rate, reset_method=reset_subtract), dt=1.0)
    readout = LIBoxCell(LIBoxParameters(tau_mem_inv=rate), dt=1.0)
    places = {"in": into.weight, "out": out.weight}
    if setting.recurrent:
        own = torch.nn.Linear(setting.neurons[0], setting.neurons[0], bias=False)
        places["recurrent"] = own.weight

    def run(x):
        state = of_readout = s = None
        read = []
        for now in x:
            current = into(now)
            if setting.recurrent and s is not None:
                current = current + own(s)
            s, state = hidden(current, state)
            o, of_readout = readout(out(between(s)), of_readout)
            read.append(o)
        return torch.stack(read)

    return started(problem, run, places, gain=1 / (1 - BETA))
