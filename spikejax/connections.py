"""Connections: linear maps from activations (or stimuli) to currents."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class AbstractConnection(eqx.Module):
    """A map that is linear in its input and in its own parameters. The time loop needs nothing else of it."""

    in_shape: eqx.AbstractVar[tuple[int, ...]]
    out_shape: eqx.AbstractVar[tuple[int, ...]]

    def __call__(self, x: Float[Array, "*in"]) -> Float[Array, "*out"]:
        raise NotImplementedError


class Dense(AbstractConnection):
    """All-to-all connection, ``I_i = sum_j W_ij x_j``, j running over every axis of the input.

    **Arguments:** `weight`: shape ``(*out, *in)``; `in_shape`, the shape of the input: ``(channels,)`` for a stimulus,
    ``(kinds, n)`` for the activation of n neurons with several synaptic time constants.
    """

    weight: Float[Array, "..."]
    in_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the current."""
        return self.weight.shape[: self.weight.ndim - len(self.in_shape)]

    @classmethod
    def normal(cls, in_shape: tuple[int, ...], out_shape: tuple[int, ...], scale: float, *, key: PRNGKeyArray) -> "Dense":
        """Weights from ``N(0, scale^2/fan_in)``, fan_in the size of the last axis of the input (channels or neurons)."""
        sigma = scale / math.sqrt(in_shape[-1])
        return cls(weight=sigma * jax.random.normal(key, (*out_shape, *in_shape)), in_shape=in_shape)

    def __call__(self, x):
        """Current of shape ``(*out)`` for one input of shape ``(*in)``."""
        # The input comes first, so that a batch of inputs is the left matrix of one product and its result needs no transpose.
        axes = len(self.in_shape)
        return jnp.tensordot(x, self.weight, axes=(tuple(range(axes)), tuple(range(-axes, 0))))


__all__ = ["AbstractConnection", "Dense"]
