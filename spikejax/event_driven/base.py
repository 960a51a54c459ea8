"""What a neuron has to be to be solved from event to event: one with a closed form between them."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .train import Arrivals, Train

Solved = Any
"""State of a layer of neurons with a closed form: a `NamedTuple` of arrays ``(n,)``."""


class AbstractClosedForm(eqx.Module):
    """A layer of neurons between two events, in units of its membrane time constant: times, and the durations
    `h`, are counted in those.

    `until_spike`, `advance`, `fire` and `arrive` are all that a recurrent network needs (`recurrent.run`).
    They are elementwise, and may be differentiated.
    """

    rhythmic: ClassVar[bool] = False
    """Whether the neurons go on firing by themselves, or after the trial, so that there are pseudospikes."""

    @abc.abstractmethod
    def begin(self, v: Float[Array, " n"], current: Float[Array, " n"]) -> Solved:
        """The state from the neurons' `v` and the synaptic current."""

    @abc.abstractmethod
    def end(self, state: Solved) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """v and synaptic current of a state."""

    @abc.abstractmethod
    def until_spike(self, state: Solved) -> Float[Array, " n"]:
        """How long it takes to the next spike if nothing arrives; inf if there is none."""

    @abc.abstractmethod
    def advance(self, state: Solved, h: Float[Array, "..."]) -> Solved:
        """The state after `h` without a spike; at a spike, right before its reset."""

    @abc.abstractmethod
    def fire(self, state: Solved, who: Any) -> Solved:
        """The state with the neurons reset that `who` is True of."""

    @abc.abstractmethod
    def arrive(self, state: Solved, jump: Float[Array, " n"]) -> Solved:
        """The state after the arrival of spikes with these weights."""

    @abc.abstractmethod
    def layer(
        self, state: Solved, arrivals: Arrivals, end: Float[Array, ""], spikes: int
    ) -> tuple[Train, Solved]:
        """A layer without recurrence from 0 to `end`, with room for this many `spikes` of each neuron."""

    def rhythm(
        self, state: Solved, extra: Float[Array, " n"] | float = 0.0, *, rest: bool = False
    ) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Period and phase (the time since the last spike) with which the neurons go on after the trial.

        **Arguments:** `extra`: what the other neurons' pseudospikes add to the current; `rest`: without any
        synaptic current.
        """
        raise NotImplementedError(f"{type(self).__name__} has no pseudospikes")

    def carried(self, extra: Float[Array, " n"]) -> Float[Array, " n"] | float:
        """What of the pseudospikes from below counts for those that the layer itself passes on."""
        del extra
        return 0.0


def pseudospikes(
    train: Train, end: Float[Array, ""], period: Float[Array, " n"], phase: Float[Array, " n"]
) -> Float[Array, "spikes n"]:
    """The spike times with those after the trial in the places that are left: ``T + k period - phase``, k
    being counted from the first after it."""
    slots = jnp.arange(train.times.shape[0], dtype=jnp.int32)[:, None]
    after = (slots - train.count + 1).astype(train.times.dtype)
    return jnp.where(slots < train.count, train.times, end + after * period - phase)


__all__ = ["AbstractClosedForm", "Solved", "pseudospikes"]
