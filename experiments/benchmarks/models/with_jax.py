"""A loss in JAX as a compiled gradient step."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .built import Built


def cross_entropy(readout, labels):
    """Of the mean over time of a readout ``(time, batch, outputs)``."""
    logits = jnp.mean(readout, axis=0)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1))


def compiled(
    loss: Callable, params: Any, inputs: tuple, plain: Callable[[Any], dict] = lambda gradient: gradient
) -> Built:
    """The step ``value_and_grad(loss)(params, *inputs)``.

    **Arguments:** `plain`: from the gradient of `params` to the gradients of the problem's weights.
    """
    traced = []

    def counted(*args):
        traced.append(1)
        return loss(*args)

    step = jax.jit(jax.value_and_grad(counted))
    inputs = jax.tree.map(jnp.asarray, inputs)
    begun = time.perf_counter()
    program = step.lower(params, *inputs).compile()
    seconds = time.perf_counter() - begun
    memory = program.memory_analysis().temp_size_in_bytes / 2**20

    def result(found):
        value, gradient = found
        return float(value), {name: np.asarray(g) for name, g in plain(gradient).items()}

    run = lambda: jax.block_until_ready(step(params, *inputs))
    return Built(run, result, {"compile_s": seconds, "temporaries_mib": memory}, lambda: len(traced))
