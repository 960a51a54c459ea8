"""What an adjoint is: a way to run the time loop of a population so that it can be differentiated."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from ..cell import Cell
from ..component import Component, parameter
from ..connections import AbstractConnection
from ..parameters import as_parameter
from ..registry import Registry
from ..state import Carry, Record
from .chunks import over_chunks
from .plan import Plan, whole


class Advance(NamedTuple):
    """The whole network over a stretch of time, ``advance(carry, xs) -> (carry, ys)``."""

    run: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]
    operations: Callable[[], int]
    """Says how many operations a step has, of the neuron that has most: a plan asks for it."""

    def __call__(self, carry: PyTree, xs: PyTree) -> tuple[PyTree, PyTree]:
        return self.run(carry, xs)


class AbstractAdjoint(Component):
    """A way to differentiate a simulation. All compute the same forward pass; undamped and unclipped, all
    give the same exact gradient."""

    @property
    def exact(self) -> bool:
        """Whether the gradient is exact: neither damped nor clipped."""
        return getattr(self, "damping", None) is None and getattr(self, "clip", None) is None

    @abc.abstractmethod
    def layer(
        self,
        cell: Cell,
        recurrent: AbstractConnection | None,
        drive: Float[Array, "time *current"],
        carry: Carry,
        mask: Array | None,
        save: frozenset[str],
    ) -> tuple[Carry, Record]:
        """Run one population over all of `drive`, the current that does not come from the population itself.

        `save` names the fields of `Record` to return.
        """

    def plan(self, carry: PyTree, xs: PyTree, operations: Callable[[], int] | None = None) -> Plan:
        """How `over_time` runs a network of the state `carry` over the inputs `xs`, ``(time, ..)``.

        **Arguments:** `operations`: says how many a step has of the neuron that has most.
        """
        del operations
        return whole(carry, xs, f"as {type(self).__name__} does")

    def over_time(
        self, advance: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]], carry: PyTree, xs: PyTree
    ) -> tuple[PyTree, PyTree]:
        """Run the whole network, ``advance(carry, xs) -> (carry, ys)``, over the time axis of `xs`, as
        planned."""
        plan = self.plan(carry, xs, getattr(advance, "operations", None))
        if plan.chunks == 1:
            return advance(carry, xs)
        return over_chunks(advance, carry, xs, plan.chunk, plan.keep_products)


ADJOINTS: Registry[AbstractAdjoint] = Registry("adjoint")


def _off_at_zero(value: Any) -> Array | None:
    """None for a damping of 0, which is none: the program is then that of the exact gradient."""
    if value is None or (not isinstance(value, Tracer) and np.ndim(value) == 0 and np.asarray(value) == 0):
        return None
    return as_parameter(value)


def damping_field() -> Any:
    """The field `damping` of an adjoint."""
    doc = "BIASED: decay of the costate (default: none, the exact gradient)"
    return parameter(None, unit="per ms", doc=doc, at_least=0.0, converter=_off_at_zero)


def clip_field() -> Any:
    """The field `clip` of an adjoint."""
    doc = "BIASED: largest norm of the costate of a trial in a layer (default: none)"
    return parameter(None, doc=doc, positive=True)


__all__ = ["ADJOINTS", "AbstractAdjoint", "clip_field", "damping_field"]
