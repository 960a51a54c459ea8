"""A loss in PyTorch as a gradient step."""

from collections.abc import Callable

import torch

from .built import Built


def tensors(problem) -> tuple[torch.Tensor, torch.Tensor]:
    """Input, ``(time, batch, *channels)``, and labels."""
    x = torch.from_numpy(problem.dense()).swapaxes(0, 1).contiguous()
    return x, torch.from_numpy(problem.labels).long()


def put(parameter: torch.nn.Parameter, weight, gain: float = 1.0) -> torch.nn.Parameter:
    """A weight of the problem, times a gain, in the place of a parameter."""
    with torch.no_grad():
        parameter.copy_(gain * torch.from_numpy(weight))
    return parameter


def started(
    problem, run: Callable[[torch.Tensor], torch.Tensor], places: dict[str, torch.nn.Parameter], gain=1.0
) -> Built:
    """The step of a model.

    **Arguments:** `run`: from the input in the order of time to the readout; `places`: where the weights of
    the problem are, `gain` times as large.
    """
    x, labels = tensors(problem)
    for name, weight in problem.weights.items():
        put(places[name], weight, gain)

    def step():
        for parameter in places.values():
            parameter.grad = None
        loss = torch.nn.functional.cross_entropy(run(x).mean(0), labels)
        loss.backward()
        return loss

    def result(loss):
        return loss.item(), {name: gain * places[name].grad.numpy() for name in problem.weights}

    return Built(step, result, {})
