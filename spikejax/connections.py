"""Connections: linear maps from activations (or stimuli) to currents."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .parameters import AbstractReparametrisation, Masked, Signed, resolve


class AbstractConnection(eqx.Module):
    """A map that is linear in its input and in its own parameters. The time loop needs nothing else of it."""

    in_shape: eqx.AbstractVar[tuple[int, ...]]
    out_shape: eqx.AbstractVar[tuple[int, ...]]

    def __call__(self, x: Float[Array, "*in"]) -> Float[Array, "*out"]:
        raise NotImplementedError


class Dense(AbstractConnection):
    """All-to-all connection, ``I_i = sum_j W_ij x_j``, j running over every axis of the input.

    **Arguments:** `weight`: shape ``(*out, *in)``; `in_shape`, the shape of the input: ``(channels,)`` for a
    stimulus, ``(kinds, n)`` for the activation of n neurons with several synaptic time constants.
    """

    weight: Float[Array, "..."] | AbstractReparametrisation
    in_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the current."""
        return self.weight.shape[: self.weight.ndim - len(self.in_shape)]

    @classmethod
    def normal(
        cls,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        scale: float | tuple[float, ...],
        *,
        key: PRNGKeyArray,
    ) -> "Dense":
        """Weights from ``N(0, scale^2/fan_in)``, fan_in the size of the last axis of the input (channels or
        neurons).

        Several scales are those of the entries of the input's first axis: of the channels, or of the time
        constants.

        **Raises:** `ValueError` if their number is another.
        """
        scale = jnp.asarray(scale, jnp.result_type(float))
        if scale.ndim:
            if scale.shape != in_shape[:1]:
                raise ValueError(
                    f"there are {scale.size} scales of weights, but the first axis of the input {in_shape} has {in_shape[0]}"
                )
            scale = scale.reshape(-1, *(1 for _ in in_shape[1:]))
        sigma = scale / math.sqrt(in_shape[-1])
        return cls(weight=sigma * jax.random.normal(key, (*out_shape, *in_shape)), in_shape=in_shape)

    def masked(self, mask: Bool[Array, "..."]) -> "Dense":
        """The connection with only the synapses where `mask`, broadcast to the weight, is True; the others
        are 0 and stay so."""
        mask = jnp.broadcast_to(mask, self.weight.shape)
        return Dense(weight=Masked(jnp.where(mask, self.weight, 0.0), mask), in_shape=self.in_shape)

    def signed(self, sign: Float[Array, "..."] | float) -> "Dense":
        """The connection with weights of the given signs, broadcast to the weight; where 0 there is no
        synapse. Their size is what it was."""
        weight = resolve(self.weight)
        return Dense(
            weight=Signed(weight, jnp.broadcast_to(jnp.asarray(sign, weight.dtype), weight.shape)),
            in_shape=self.in_shape,
        )

    def __call__(self, x):
        """Current of shape ``(*out)`` for one input of shape ``(*in)``."""
        # The input comes first and flat, so that a batch of them is the left matrix of one plain product:
        # nothing is transposed before or after it, which inside the time loop costs as much as the product.
        matrix = self.weight.reshape(-1, math.prod(self.in_shape))
        return (x.reshape(-1) @ matrix.T).reshape(self.out_shape)


class Ports(AbstractConnection):
    """Several connections from one input side by side, their outputs stacked: to the current and to the
    conductances of a layer (`Layer.reversal`).

    **Arguments:** `connections`: one for each port, None where there is none, all from ``in_shape`` to
    ``(*n)``.

    **Raises:** `ValueError` where they do not fit, or all are None.
    """

    connections: tuple[AbstractConnection | None, ...]

    def __check_init__(self):
        shapes = {(c.in_shape, c.out_shape) for c in self.connections if c is not None}
        if len(shapes) != 1:
            raise ValueError(f"`connections` must have one shape of input and output, not {sorted(shapes)}")

    @property
    def _first(self) -> AbstractConnection:
        return next(c for c in self.connections if c is not None)

    @property
    def in_shape(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Shape of the input."""
        return self._first.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """``(ports, *n)``."""
        return (len(self.connections), *self._first.out_shape)

    def __call__(self, x):
        """Current and conductances ``(ports, *n)`` for one input."""
        given = [c(x) if c is not None else None for c in self.connections]
        zero = jnp.zeros(self._first.out_shape, x.dtype)
        return jnp.stack([zero if y is None else y for y in given])


__all__ = ["AbstractConnection", "Dense", "Ports"]
