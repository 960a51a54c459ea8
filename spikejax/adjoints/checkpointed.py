"""Memory of about the square root of the trial's length, for one more forward pass."""

import functools
import math

import jax
import jax.numpy as jnp

from ..component import option, part
from .base import ADJOINTS, AbstractAdjoint


@ADJOINTS.register("checkpointed")
class Checkpointed(AbstractAdjoint):
    """Keep the network's state at the ends of chunks, and run each chunk again on the way back.

    What is held at once is one state a chunk and the intermediates of one chunk: with the default chunk of
    ``ceil(sqrt(T))`` steps, about ``sqrt(T)`` of either. The chunk need not divide the trial. Time series
    that are saved still grow with T; spike counts and readouts are the cheap ones. An inner adjoint that is
    `Checkpointed` too cuts every chunk again: about the cube root of T, for another forward pass.

    **Arguments:** `chunk`: steps a chunk (default: ``ceil(sqrt(T))``); `inner`: the adjoint within a chunk;
    its damping and clip are those
    of the whole.
    """

    chunk: int | None = option(
        None, doc="steps of a chunk (default: square root of the trial)", at_least=1.0, kw_only=False
    )
    inner: AbstractAdjoint = part(ADJOINTS, "autodiff", doc="the adjoint within a chunk")

    @property
    def exact(self) -> bool:
        return self.inner.exact

    def layer(self, cell, recurrent, drive, carry, mask, save):
        return self.inner.layer(cell, recurrent, drive, carry, mask, save)

    def over_time(self, advance, carry, xs):
        # Of an inner adjoint that is checkpointed itself the chunks lie within those here.
        advance = functools.partial(self.inner.over_time, advance)
        steps = jax.tree.leaves(xs)[0].shape[0]
        chunk = self.chunk or max(1, math.ceil(math.sqrt(steps)))
        whole = steps // chunk
        head = jax.tree.map(lambda x: x[: whole * chunk].reshape(whole, chunk, *x.shape[1:]), xs)
        # Inside a scan the recomputation cannot be merged with the forward pass; outside it can, and must not
        # be.
        carry, ys = jax.lax.scan(jax.checkpoint(advance, prevent_cse=False), carry, head)
        ys = jax.tree.map(lambda y: y.reshape(whole * chunk, *y.shape[2:]), ys)
        if whole * chunk < steps:
            tail = jax.tree.map(lambda x: x[whole * chunk :], xs)
            carry, last = jax.checkpoint(advance)(carry, tail)
            ys = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), ys, last)
        return carry, ys


__all__ = ["Checkpointed"]
