"""How a trial is run: in which chunks, and what of them is kept. Decided here and nowhere else."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from .chunks import side_by_side

CACHE = 8 * 2**20
"""Bytes of the series of a chunk on a CPU, so that they stay in its cache, and below the 32 MiB above which
an allocator gives pages back to the system at the end of each step, and faults them in again in the next."""
SERIES = 8
"""Series of a population that a chunk holds at once, for every number that it carries from step to step."""
FEWEST = 4
"""Steps of a chunk, at least: between two chunks every gradient of a weight is read and written once."""
WIDE = 256
"""Channels from which on a product is kept rather than computed again."""
LONG, SPARED = 150, 2**29
"""Operations of a step from which on it is not computed twice, and bytes of series up to which that is so:
above, new pages of memory cost as much. The step of a LIF neuron has about 50 with a surrogate and a reset on
the grid, and 350 with `Charge`."""
ALL = 2**30
"""Bytes of the series of a trial from which on it is cut all the same, on any device."""
KEPT = 16 * 2**20
"""Bytes of the products of a trial that are kept, at most."""


class Work(NamedTuple):
    """What is to be run."""

    steps: int
    batch: int
    """Trials side by side."""
    given: int
    """Numbers of the input of a trial in each step."""
    moving: int
    """Numbers that a trial carries from step to step."""
    itemsize: int
    """Bytes of a number."""

    @property
    def kept(self) -> int:
        """Bytes of all that a trial carries, of every step."""
        return self.batch * self.steps * self.moving * self.itemsize

    @classmethod
    def of(cls, carry: PyTree, xs: PyTree) -> "Work":
        """That of a network with the state `carry` and the inputs `xs`, ``(time, ..)``."""
        size = lambda tree, first: sum(math.prod(x.shape[first:]) for x in jax.tree.leaves(tree))
        itemsize = max((x.dtype.itemsize for x in jax.tree.leaves(carry)), default=4)
        steps = jax.tree.leaves(xs)[0].shape[0]
        return cls(steps, side_by_side((carry, xs)), size(xs, 1), size(carry, 0), itemsize)


class Plan(NamedTuple):
    """How it is run."""

    work: Work
    chunk: int
    """Steps of a chunk. Of several, each is run again on the way back; a single one is kept as a whole."""
    keep_products: bool = False
    """Whether what the weights of a layer make of a stimulus is kept then."""
    why: str = ""

    @property
    def chunks(self) -> int:
        """How many there are."""
        return -(-self.work.steps // self.chunk)

    def __str__(self) -> str:
        work = self.work
        lines = [
            f"{work.batch} x {work.steps} steps, {work.given} numbers given and {work.moving} carried in "
            f"each, {work.itemsize} bytes a number"
        ]
        if self.chunks == 1:
            lines.append(f"in one go: {self.why}")
        else:
            kept = " but for the products of the stimulus" if self.keep_products else ""
            lines.append(
                f"{self.chunks} chunks of {self.chunk} steps, run again on the way back{kept}: {self.why}"
            )
        return "\n".join(lines)


def plan_of(
    work: Work,
    chunk: int | None = None,
    operations: Callable[[], int] | None = None,
    platform: str | None = None,
) -> Plan:
    """The plan for `work`.

    On a CPU a chunk's series fit in the cache (`CACHE`), but a trial of `LONG` steps runs in one go up to
    `SPARED`, and on an accelerator every trial as long as its series fit in the memory (`ALL`).

    **Arguments:** `chunk`: steps of a chunk, in the place of what is found here; `operations`: says how many
    a step has; `platform`: ``"cpu"`` or another, by default that which JAX computes on.
    """
    platform = jax.default_backend() if platform is None else platform
    keep = platform == "cpu" and work.given >= WIDE and work.kept <= SERIES * KEPT
    if chunk is not None:
        return Plan(work, min(chunk, work.steps), keep, "as it was asked for")
    a_step = work.batch * work.itemsize * (work.given + SERIES * work.moving)
    room, why = CACHE, f"{CACHE >> 20} MiB stay in the cache"
    if platform != "cpu":
        room, why = ALL, f"on {platform}"
    elif CACHE < a_step * work.steps <= SPARED and operations is not None and operations() >= LONG:
        room, why = SPARED, "the step of its neurons is too long to be computed twice"
    why = f"a step has {a_step / 2**10:.3g} KiB of series, {why}"
    longest = max(room // max(a_step, 1), FEWEST)
    if longest >= work.steps:
        return Plan(work, work.steps, why=why)
    return Plan(work, _even(work.steps, longest), keep, why)


def _even(steps: int, longest: int) -> int:
    """A length of chunks, at most `longest`: one that divides the trial, if any above half of it does, since
    a last chunk that is shorter is compiled by itself."""
    found = [n for n in range(longest, longest // 2, -1) if steps % n == 0]
    return found[0] if found else longest


def whole(carry: Any, xs: Any, why: str) -> Plan:
    """The plan to run a trial in one go."""
    work = Work.of(carry, xs)
    return Plan(work, work.steps, why=why)


__all__ = ["Plan", "Work", "plan_of", "whole"]
