"""The all-to-all connection."""

import math
from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..component import Declaration, check_keywords
from ..event_product import event_product
from ..parameters import AbstractReparametrisation, Masked, Signed, WeightNormalised, like, resolve
from ..stimulus import Events, Stimulus
from .base import CONNECTIONS, AbstractInstant, ActivationShape, fan_in

Scale = Annotated[
    float | tuple[float, ...],
    Declaration(
        doc="initial weights are N(0, scale^2/fan_in); a list gives each channel, or each synaptic time "
        "constant, its own scale",
        at_least=0.0,
    ),
]


Norm = Annotated[
    float | None,
    Declaration(doc="scale each neuron's initial weights to this Euclidean norm instead", above=0.0),
]
Autapses = Annotated[bool, Declaration(doc="let a neuron have a synapse onto itself")]
WeightNorm = Annotated[
    bool,
    Declaration(doc="train length and direction of each neuron's weights apart (weight normalisation)"),
]


@CONNECTIONS.register("dense")
class Dense(AbstractInstant):
    """All-to-all connection, ``I_i = sum_j W_ij x_j``, j running over every axis of the input.

    **Arguments:** `weight`: shape ``(*out, *in)``; `in_shape`, the shape of the input: ``(channels,)`` for a
    stimulus, ``(kinds, n)`` for the activation of n neurons with several synaptic time constants.
    """

    weight: Float[Array, "..."] | AbstractReparametrisation
    in_shape: tuple[int, ...] = eqx.field(static=True)

    def __check_init__(self):
        if self.weight.shape[self.weight.ndim - len(self.in_shape) :] != tuple(self.in_shape):
            raise ValueError(
                f"Dense: `weight` has shape {self.weight.shape}, which does not end in the shape of the "
                f"input, {self.in_shape}"
            )

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the current."""
        return self.weight.shape[: self.weight.ndim - len(self.in_shape)]

    @classmethod
    def create(
        cls,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...] | None,
        *,
        key: PRNGKeyArray,
        scale: Scale = 1.0,
        mean: Annotated[
            float,
            Declaration(doc="mean of the initial weights, times fan_in: what inputs of 1 add up to"),
        ] = 0.0,
        norm: Norm = None,
        density: Annotated[
            float,
            Declaration(doc="fraction of the synapses that exist, drawn one by one", above=0.0, at_most=1.0),
        ] = 1.0,
        autapses: Autapses = True,
        weight_norm: WeightNorm = False,
    ) -> "Dense":
        """Weights from ``N(mean/fan_in, scale^2/fan_in)``, fan_in the number of channels of a stimulus,
        whatever its axes, or of neurons of an activation (`spikejax.connections.fan_in`), times `density`.

        **Arguments:** `scale`: one for all, or one for each entry of the input's first axis (channels, or
        synaptic time constants); `mean`: above 0 so that few neurons are silent, of which a gradient of spike
        times says nothing (Goltz et al. 2021, doi:10.1038/s42256-021-00388-x); `norm` of every neuron's
        weights, whatever their scale and mean; `density`: see `sparse`; `autapses`: whether a synapse from a
        neuron to itself may exist, now and after training (of a population to itself); `weight_norm`: see
        `spikejax.parameters.WeightNormalised`.

        **Raises:** `ValueError` for a number of scales that is another, for numbers out of their range, and
        without a population to connect to.
        """
        check_keywords(cls, scale=scale, mean=mean, norm=norm, density=density)
        if out_shape is None:
            raise ValueError("`size` is not given, but a dense connection leads to any number of neurons")
        made = cls.normal(in_shape, out_shape, scale, key=key)
        # Of the synapses that exist, which are made stronger below.
        offset = mean / (fan_in(in_shape) * math.sqrt(density))
        made = cls(weight=resolve(made.weight) + offset, in_shape=in_shape)
        if norm is not None:
            made = made.normalised(norm)
        present, kinds = None, int(isinstance(in_shape, ActivationShape))
        if not autapses:
            check_own(in_shape, out_shape)
            size, kinds = math.prod(out_shape), len(in_shape) - len(out_shape)
            present = ~jnp.eye(size, dtype=bool).reshape(*out_shape, *out_shape)
        if density < 1:
            drawn = jax.random.bernoulli(jax.random.fold_in(key, 2), density, (*out_shape, *in_shape[kinds:]))
            present = drawn if present is None else present & drawn
            made = cls(weight=resolve(made.weight) / math.sqrt(density), in_shape=in_shape)
        if weight_norm:
            made = cls(weight=WeightNormalised.of(resolve(made.weight), len(out_shape)), in_shape=in_shape)
        if present is None:
            return made
        # A synapse that is absent is absent with all its time constants.
        return made.masked(jnp.expand_dims(present, tuple(len(out_shape) + k for k in range(kinds))))

    @classmethod
    def normal(
        cls,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        scale: float | tuple[float, ...],
        *,
        key: PRNGKeyArray,
    ) -> "Dense":
        """Weights from ``N(0, scale^2/fan_in)``, fan_in as in `create`: a stimulus of ones makes a current of
        standard deviation `scale`.

        **Raises:** `ValueError` if there are several scales, but not one for each entry of the input's first
        axis.
        """
        scales = scales_of(scale, in_shape)
        if scales.ndim:
            scales = scales.reshape(-1, *(1 for _ in in_shape[1:]))
        sigma = scales / math.sqrt(fan_in(in_shape))
        draws = jax.random.normal(key, (*out_shape, *in_shape))
        return cls(
            weight=sigma.reshape((1,) * (draws.ndim - sigma.ndim) + sigma.shape) * draws, in_shape=in_shape
        )

    def normalised(self, norm: float) -> "Dense":
        """The connection with the weights of every neuron scaled to this Euclidean norm."""
        weight = resolve(self.weight)
        flat = weight.reshape(-1, math.prod(self.in_shape))
        scaled = norm * flat / jnp.linalg.norm(flat, axis=1, keepdims=True)
        return Dense(weight=like(self.weight, scaled.reshape(weight.shape)), in_shape=self.in_shape)

    def masked(self, mask: Bool[Array, "..."]) -> "Dense":
        """The connection with only the synapses where `mask`, broadcast to the weight, is True; the others
        are 0 and stay so."""
        mask = jnp.broadcast_to(mask, self.weight.shape)
        there = like(self.weight, jnp.where(mask, resolve(self.weight), 0.0))
        return Dense(weight=Masked(there, mask), in_shape=self.in_shape)

    def signed(self, sign: Float[Array, "..."] | float) -> "Dense":
        """The connection with weights of the given signs, broadcast to the weight; where 0, or where there
        was no synapse, there is none. Their size is what it was."""
        weight = resolve(self.weight)
        signs = jnp.broadcast_to(jnp.asarray(sign, weight.dtype), weight.shape)
        if isinstance(self.weight, Masked):
            signs = jnp.where(self.weight.mask, signs, 0.0)
        there = like(self.weight, jnp.where(signs != 0, weight, 0.0))
        return Dense(weight=Signed(there, signs), in_shape=self.in_shape)

    @property
    def matrix(self) -> Float[Array, "out in"]:
        """The weight with all axes of the output, and all of the input, in one."""
        return resolve(self.weight).reshape(-1, math.prod(self.in_shape))

    def __call__(self, x):
        """Current of shape ``(*out)`` for one input of shape ``(*in)``."""
        # The input comes first and flat, so that a batch of them is the left matrix of one plain product:
        # nothing is transposed before or after it, which inside the time loop costs as much as the product.
        return (x.reshape(-1) @ self.matrix.T).reshape(self.out_shape)

    def over_time(self, x: Stimulus, memory=None, mask=None):
        if not isinstance(x, Events):
            return super().over_time(x, memory, mask)
        out = event_product(x, self.matrix.T)
        return out.reshape(x.steps, *self.out_shape), memory


def scales_of(scale: float | tuple[float, ...], in_shape: tuple[int, ...]) -> Float[Array, "..."]:
    """One scale of initial weights for all, or one for each entry of the input's first axis.

    **Raises:** `ValueError` for another number of them.
    """
    scales = jnp.asarray(scale, jnp.result_type(float))
    if scales.ndim and scales.shape != in_shape[:1]:
        raise ValueError(
            f"there are {scales.size} scales of weights, but the first axis of the input {in_shape} has "
            f"{in_shape[0]}"
        )
    return scales


def check_own(in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> None:
    """Raise `ValueError` unless a connection leads from a population to itself."""
    if tuple(in_shape[-len(out_shape) :]) != tuple(out_shape):
        raise ValueError("`autapses` are synapses of a population onto itself: leave it out between others")


__all__ = ["Autapses", "Dense", "Norm", "Scale", "WeightNorm", "check_own", "scales_of"]
