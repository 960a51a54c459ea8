"""Convolution over the axes of space."""

import math
from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..component import Declaration, check_keywords
from ..parameters import AbstractReparametrisation, WeightNormalised, resolve
from ..stimulus import Events
from .base import CONNECTIONS, AbstractInstant, ActivationShape
from .dense import Norm, Scale, WeightNorm
from .space import check_space, numbers, padded

Whole = int | tuple[int, ...]


@CONNECTIONS.register("convolution")
class Convolution(AbstractInstant):
    """The same weights at every place of space, ``I_o(p) = sum_c sum_d W_oc(d) x_c(stride p + dilation d)``.

    Inputs and outputs have the channels first: ``(channels, *space)``, of any number of spatial axes. The
    activation of a layer below has its synaptic time constants before those, ``(kinds, channels, *space)``,
    and the weight an axis for them.

    **Arguments:** `weight`: ``(channels_out, channels_in/groups, *kernel)``, or ``(channels_out, kinds,
    channels_in/groups, *kernel)``; `in_shape`: shape of the input; `stride`, `dilation`: one number for each
    axis of space; `padding`: (before, after) for each; `groups`: output channels and input channels fall into
    this many parts, each connected with its own.

    **Raises:** `ValueError` where these do not fit.
    """

    weight: Float[Array, "..."] | AbstractReparametrisation
    in_shape: tuple[int, ...] = eqx.field(static=True)
    stride: tuple[int, ...] = eqx.field(static=True)
    padding: tuple[tuple[int, int], ...] = eqx.field(static=True)
    dilation: tuple[int, ...] = eqx.field(static=True)
    groups: int = eqx.field(static=True, default=1)
    derives_shape = True

    def __check_init__(self):
        rank, shape = len(self.stride), self.weight.shape
        if not (len(self.padding) == len(self.dilation) == rank and len(shape) == len(self.in_shape) + 1):
            raise ValueError(
                f"Convolution: `weight` has shape {shape} and the input {self.in_shape}, with {rank} "
                f"strides, {len(self.padding)} paddings and {len(self.dilation)} dilations: give one for "
                "each axis of space, and the weight one axis more than the input"
            )
        if len(self.in_shape) - rank not in (1, 2):
            raise ValueError(
                f"Convolution: the input {self.in_shape} is (channels, *space) or (kinds, channels, *space), "
                f"with {rank} axes of space"
            )
        channels = self.in_shape[-rank - 1]
        if channels % self.groups or shape[0] % self.groups:
            raise ValueError(
                f"Convolution: `groups` is {self.groups}, which does not divide the {channels} channels of "
                f"the input and the {shape[0]} of the output"
            )
        expected = (*self.in_shape[: -rank - 1], channels // self.groups)
        if shape[1 : len(shape) - rank] != expected:
            raise ValueError(
                f"Convolution: `weight` has shape {shape}, but between the channels of the output and the "
                f"kernel it must have {expected}"
            )
        if min(self.out_shape) < 1:
            raise ValueError(
                f"Convolution: a kernel of {shape[-rank:]} does not fit into a space of "
                f"{self.in_shape[-rank:]}: make it smaller, or pad the input"
            )

    @property
    def out_shape(self) -> tuple[int, ...]:
        """``(channels_out, *space)``."""
        rank = len(self.stride)
        space = zip(
            self.in_shape[-rank:], self.weight.shape[-rank:], self.stride, self.padding, self.dilation,
            strict=True,
        )  # fmt: skip
        return (self.weight.shape[0], *((n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in space))

    @classmethod
    def create(
        cls,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...] | None = None,
        *,
        key: PRNGKeyArray,
        channels: Annotated[
            int | None, Declaration(doc="channels of the output; default: those of `size`", at_least=1)
        ] = None,
        kernel: Annotated[
            Whole, Declaration(doc="extent of the kernel, one number or one for each axis", at_least=1)
        ] = 3,
        stride: Annotated[
            Whole, Declaration(doc="steps between outputs, one number or one for each axis", at_least=1)
        ] = 1,
        padding: Annotated[
            str | Whole,
            Declaration(
                doc="zeros around the input: so many on each side, one number or one for each axis; same: so "
                "that the output is the input's extent/stride, rounded up; valid: none"
            ),
        ] = "same",
        dilation: Annotated[
            Whole, Declaration(doc="distance between the kernel's points, one number or one for each axis",
                               at_least=1)
        ] = 1,
        groups: Annotated[
            int, Declaration(doc="parts of the channels that are connected only within", at_least=1)
        ] = 1,
        scale: Scale = 1.0,
        norm: Norm = None,
        weight_norm: WeightNorm = False,
    ) -> "Convolution":  # fmt: skip
        """Weights from ``N(0, scale^2/fan_in)``, fan_in the number of points of the kernel times the channels
        of a group: a stimulus of ones makes a current of standard deviation `scale`.

        **Arguments:** `in_shape`: ``(channels, *space)``, or that of an activation (`ActivationShape`);
        `out_shape`: None, or what it has to be; `scale`: one for all, or one for each entry of the input's
        first axis (channels, or synaptic time constants); `norm`: Euclidean norm of every output channel's
        weights, whatever their scale; `weight_norm`: see `spikejax.parameters.WeightNormalised`.

        **Raises:** `ValueError` where these do not fit.
        """
        check_keywords(
            cls, channels=channels, kernel=kernel, stride=stride, dilation=dilation, groups=groups,
            scale=scale, norm=norm,
        )  # fmt: skip
        lead, (own, *space) = check_space("a convolution", in_shape)
        rank = len(space)
        kernel, stride, dilation = (
            numbers(name, x, rank)
            for name, x in (("kernel", kernel), ("stride", stride), ("dilation", dilation))
        )
        pads = padded(padding, tuple(space), kernel, stride, dilation)
        if channels is None:
            if out_shape is None:
                raise ValueError("`channels` is not given: how many channels has the output?")
            channels = out_shape[0]
        if own % groups or channels % groups:
            raise ValueError(
                f"`groups` is {groups}, which does not divide the {own} channels of the input and the "
                f"{channels} of the output"
            )
        inputs = (*lead, own // groups, *kernel)
        scales = _scales(scale, in_shape, inputs, groups)
        weight = scales / math.sqrt(own // groups * math.prod(kernel)) * jax.random.normal(
            key, (channels, *inputs)
        )  # fmt: skip
        if norm is not None:
            axes = tuple(range(1, weight.ndim))
            weight = norm * weight / jnp.sqrt(jnp.sum(weight**2, axis=axes, keepdims=True))
        made = cls(
            WeightNormalised.of(weight, 1) if weight_norm else weight,
            in_shape,
            stride,
            pads,
            dilation,
            groups,
        )
        if out_shape is not None and tuple(out_shape) != made.out_shape:
            raise ValueError(
                f"`size` is {tuple(out_shape)}, but a convolution of the input {tuple(in_shape)} makes "
                f"{made.out_shape}: leave the size out, or have the connection make it"
            )
        return made

    def __call__(self, x):
        """Current of shape ``(*out)`` for one input of shape ``(*in)``."""
        return self._convolved(x[None])[0]

    def over_time(self, x, memory=None, mask=None):
        if isinstance(x, Events):
            return super().over_time(x, memory, mask)
        # Time is the batch of one convolution, and with `jax.vmap` over trials time and trials are.
        return self._convolved(x), memory

    def _convolved(self, x: Float[Array, "time *in"]) -> Float[Array, "time *out"]:
        rank, weight = len(self.stride), resolve(self.weight)
        if len(self.in_shape) == rank + 2:  # Kinds and channels are channels, those of a group side by side.
            kinds, channels, *space = self.in_shape
            if self.groups > 1:
                x = x.reshape(len(x), kinds, self.groups, channels // self.groups, *space)
                x = jnp.moveaxis(x, 2, 1)
            x = x.reshape(len(x), kinds * channels, *space)
            weight = weight.reshape(len(weight), -1, *weight.shape[-rank:])
        return jax.lax.conv_general_dilated(
            x,
            weight,
            self.stride,
            self.padding,
            rhs_dilation=self.dilation,
            feature_group_count=self.groups,
        )


def _scales(scale, in_shape: tuple[int, ...], inputs: tuple[int, ...], groups: int) -> Array:
    """The scales of the weights as an array that broadcasts to them."""
    scales = jnp.asarray(scale, jnp.result_type(float))
    if not scales.ndim:
        return scales
    if scales.shape != in_shape[:1]:
        raise ValueError(
            f"there are {scales.size} scales of weights, but the first axis of the input {tuple(in_shape)} "
            f"has {in_shape[0]}"
        )
    if not isinstance(in_shape, ActivationShape) and groups > 1:
        raise ValueError("one `scale` for each channel needs `groups` = 1: give one for all")
    return scales.reshape(-1, *(1 for _ in inputs[1:]))


__all__ = ["Convolution"]
