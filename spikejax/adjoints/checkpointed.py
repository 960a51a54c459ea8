"""Memory of about the square root of the trial's length, for one more forward pass."""

import functools
import math

from ..component import option, part
from .base import ADJOINTS, AbstractAdjoint
from .chunks import over_chunks
from .plan import Plan, Work, plan_of


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

    def plan(self, carry, xs, operations=None):
        del operations
        work = Work.of(carry, xs)
        if self.chunk is not None:
            return plan_of(work, self.chunk)
        return Plan(work, math.ceil(math.sqrt(work.steps)), why="the square root of the trial")

    def over_time(self, advance, carry, xs):
        # Of an inner adjoint that has chunks itself those lie within the chunks here.
        return over_chunks(
            functools.partial(self.inner.over_time, advance), carry, xs, self.plan(carry, xs).chunk
        )


__all__ = ["Checkpointed"]
