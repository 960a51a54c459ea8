"""What a loop is: it runs a population through time, and its costate back, and knows nothing of gradients of
weights."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ..cell import Cell
from ..component import Component
from ..connections import AbstractConnection
from ..connections.base import hold
from ..registry import Registry
from ..state import Carry, Record


class Damping(NamedTuple):
    """What a costate is damped and clipped by on its way back. Both bias the gradient; None: they do not.

    At every step the costate (the cotangent of the state of one trial in one layer) is multiplied by
    ``exp(-damping dt)`` and then scaled down to the norm `clip` if it is longer.
    """

    damping: Float[Array, ""] | None
    """Decay per ms."""
    clip: Float[Array, ""] | None
    """Largest Euclidean norm."""

    @property
    def off(self) -> bool:
        """Whether the gradient is left exact."""
        return self.damping is None and self.clip is None

    def __call__(self, costate: PyTree, dt: float | Float[Array, ""]) -> PyTree:
        """The costate, one step of `dt` ms further back; None where a variable is no real number."""
        costate = eqx.filter(costate, eqx.is_inexact_array)
        if self.damping is not None:
            decay = jnp.exp(-self.damping * dt)
            costate = jax.tree.map(lambda c: c * decay, costate)
        if self.clip is not None:
            norm2 = sum(jnp.sum(c**2) for c in jax.tree.leaves(costate))
            clip = self.clip
            scale = jnp.where(norm2 > clip**2, clip / jnp.sqrt(jnp.where(norm2 > 0, norm2, 1.0)), 1.0)
            costate = jax.tree.map(lambda c: c * scale, costate)
        return costate


class Trajectory(NamedTuple):
    """What a population did, and what its costate needs of it."""

    last: Carry
    neuron: Any
    """State of the neurons before each step, arrays ``(time, *n)``."""
    synapse: Any
    """The synapses' pending charge and hidden variables before each step."""
    activation: Float[Array, "time kinds *n"]
    """Of each step."""
    current: Float[Array, "time *current"]
    """All that drove the neurons."""
    rest: Record
    """The other series that were asked for."""


class History(NamedTuple):
    """What the way back is given of the way there."""

    neuron: Any
    synapse: Any
    first: Float[Array, "kinds *n"]
    """Activation before the first step."""
    activation: Float[Array, "time kinds *n"]
    current: Float[Array, "time *current"]
    mask: Bool[Array, " time"] | None


class Cotangents(NamedTuple):
    """Derivatives of the loss by what a population gave out."""

    last: Carry
    activation: Float[Array, "time kinds *n"]
    rest: Record
    current: Float[Array, "time *current"] | None


class AbstractLoop(Component):
    """A way to run a population through time. All give the same numbers to rounding; `Scan` is the one to
    read.

    The cell is elementwise and the recurrence linear, and each is only called, so that a loop may fuse,
    unroll or tile them as it likes. A step may hold a data-dependent `jax.lax.while_loop` (the time of a
    crossing).
    """

    @abc.abstractmethod
    def forward(
        self,
        cell: Cell,
        recurrent: AbstractConnection | None,
        drive: Float[Array, "time *current"],
        carry: Carry,
        mask: Bool[Array, " time"] | None,
        save: frozenset[str],
    ) -> Trajectory:
        """Run over all of `drive`, the current that does not come from the population itself.

        `save` names further fields of `Record` to keep, of ``release``, ``v`` and ``late``. Not
        differentiated.
        """

    @abc.abstractmethod
    def backward(
        self,
        cell: Cell,
        recurrent: AbstractConnection | None,
        history: History,
        cotangents: Cotangents,
        damping: Damping,
    ) -> tuple[Cell, Float[Array, "time *current"], Carry]:
        """The costate, backwards: cotangents of the cell's arrays, of the current of each step, and of the
        carry before the first. A cotangent, given or handed back, is None where there is none: of integers,
        functions and words."""


LOOPS: Registry[AbstractLoop] = Registry("loop")


def forward_step(
    cell: Cell, recurrent: AbstractConnection | None, carry: Carry, drive: Array, mask: Array | None
) -> tuple[Carry, Array, Array]:
    """One step of a recurrent population: the carry after it, the release and the current."""
    activation, past = carry.state.activation, carry.state.past
    current, remembered = drive, past
    if recurrent is not None:
        own, remembered = recurrent.step(activation, past)
        current, remembered = drive + own, hold(mask, remembered, past)
    new, release = cell(carry, current, mask)
    return new._replace(state=new.state._replace(past=remembered)), release, current


__all__ = ["LOOPS", "AbstractLoop", "Cotangents", "Damping", "History", "Trajectory", "forward_step"]
