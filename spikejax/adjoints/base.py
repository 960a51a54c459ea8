"""What an adjoint is: a way to run the time loop of a population so that it can be differentiated."""

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..cell import Carry, Cell
from ..connections import AbstractConnection
from ..parameters import as_parameter


class Record(NamedTuple):
    """Time series of a population, one entry a step, taken at its end; None where not saved."""

    activation: Float[Array, "time kinds *n"] | None = None
    release: Float[Array, "time *n"] | None = None
    v: Float[Array, "time *n"] | None = None
    current: Float[Array, "time *n"] | None = None


def _optional(value):
    return None if value is None else as_parameter(value)


class Leash(eqx.Module):
    """Damping and clipping of the costate. Both bias the gradient; both are off (None) unless asked for.

    At every step back in time the costate (the cotangent of the state of one trial in one layer) is
    multiplied by ``exp(-damping dt)`` and then scaled down to the norm `clip` if it is longer.

    **Arguments:** `damping`: decay per ms; `clip`: largest Euclidean norm.
    """

    damping: Float[Array, ""] | None = eqx.field(converter=_optional, default=None)
    clip: Float[Array, ""] | None = eqx.field(converter=_optional, default=None)

    @property
    def off(self) -> bool:
        """Whether the gradient is left exact."""
        return self.damping is None and self.clip is None

    def __call__(self, costate: PyTree, dt: float) -> PyTree:
        """The costate, one step further back."""
        if self.damping is not None:
            decay = jnp.exp(-self.damping * dt)
            costate = jax.tree.map(lambda c: c * decay, costate)
        if self.clip is not None:
            norm2 = sum(jnp.sum(c**2) for c in jax.tree.leaves(costate))
            clip = self.clip
            scale = jnp.where(norm2 > clip**2, clip / jnp.sqrt(jnp.where(norm2 > 0, norm2, 1.0)), 1.0)
            costate = jax.tree.map(lambda c: c * scale, costate)
        return costate


class AbstractAdjoint(eqx.Module):
    """A way to differentiate a simulation. All compute the same forward pass; unleashed, all give the same
    exact gradient."""

    @abc.abstractmethod
    def layer(
        self,
        cell: Cell,
        recurrent: AbstractConnection | None,
        drive: Float[Array, "time *n"],
        carry: Carry,
        mask: Array | None,
        save: frozenset[str],
    ) -> tuple[Carry, Record]:
        """Run one population over all of `drive`, the current that does not come from the population itself.

        `save` names the fields of `Record` to return.
        """

    def over_time(self, advance, carry: PyTree, xs: PyTree) -> tuple[PyTree, PyTree]:
        """Run the whole network, ``advance(carry, xs) -> (carry, ys)``, over the time axis of `xs`."""
        return advance(carry, xs)


def forward_step(cell: Cell, recurrent, carry: Carry, drive, mask):
    """One step of a recurrent population: the carry after it, the release and the current."""
    current = drive if recurrent is None else drive + recurrent(carry.state.activation)
    carry, release = cell(carry, current, mask)
    return carry, release, current


def record(save: frozenset[str], carry: Carry, release, current) -> Record:
    """The requested fields of one step."""
    every = Record(carry.state.activation, release, carry.state.neuron.v, current)
    return Record(**{name: getattr(every, name) for name in save})
