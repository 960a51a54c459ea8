"""Fixed sums over windows of space, and their opposite."""

import math
from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..component import Declaration, check_keywords
from ..parameters import as_parameter
from .base import CONNECTIONS, AbstractInstant, ActivationShape
from .space import check_space, numbers

Whole = int | tuple[int, ...]
Window = Annotated[Whole, Declaration(doc="extent of a window, one number or one for each axis", at_least=1)]
Weight = Annotated[
    float | tuple[float, ...],
    Declaration(doc="factor, which is not trained; a list gives each synaptic time constant its own"),
]
Kinds = Annotated[
    str,
    Declaration(
        doc="whether synaptic time constants are added up, as in a current, or kept, for a next connection",
        choices=("sum", "keep"),
    ),
]


class _Windows(AbstractInstant):
    """A connection of fixed weight between places of space, channel by channel."""

    gain: Float[Array, ""] | Float[Array, " kinds"]
    in_shape: tuple[int, ...] = eqx.field(static=True)
    window: tuple[int, ...] = eqx.field(static=True)
    kinds: str = eqx.field(static=True, default="sum")
    derives_shape = True

    def __check_init__(self):
        lead, shape = self._axes()
        if len(self.window) != len(shape) - 1 or self.gain.shape not in ((), lead):
            raise ValueError(
                f"{type(self).__name__}: `window` is {self.window} and `gain` has shape {self.gain.shape}, "
                f"but the input is {tuple(self.in_shape)}: give the window one number for each axis of "
                "space, and the gain one for all or one for each synaptic time constant"
            )
        if min(self.out_shape) < 1:
            raise ValueError(
                f"{type(self).__name__}: a window of {self.window} does not fit into a space of {shape[1:]}: "
                "make it smaller, or pad"
            )

    def _axes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The axis of synaptic time constants, if there is one, and ``(channels, *space)``."""
        kinds = len(self.in_shape) - len(self.window) - 1
        return tuple(self.in_shape[:kinds]), tuple(self.in_shape[kinds:])

    def _space(self) -> tuple[int, ...]:
        """Extent of the output in space."""
        raise NotImplementedError

    @property
    def out_shape(self) -> tuple[int, ...]:
        """``(channels, *space)``, or an `ActivationShape` where the synaptic time constants are kept."""
        lead, (channels, *_) = self._axes()
        shape = (channels, *self._space())
        return ActivationShape((*lead, *shape)) if lead and self.kinds == "keep" else shape

    def _weighted(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """The input times its factor, without the axis of synaptic time constants unless it is kept."""
        lead, shape = self._axes()
        gain = self.gain.reshape(self.gain.shape + (1,) * (len(shape) if self.gain.ndim else 0))
        x = gain * x
        return jnp.sum(x, axis=0) if lead and self.kinds == "sum" else x

    def _check_size(self, out_shape: tuple[int, ...] | None) -> None:
        if out_shape is not None and tuple(out_shape) != tuple(self.out_shape):
            raise ValueError(
                f"`size` is {tuple(out_shape)}, but of the input {tuple(self.in_shape)} this connection "
                f"makes {tuple(self.out_shape)}: leave the size out, or have the connection make it"
            )


@CONNECTIONS.register("pool")
class Pool(_Windows):
    """The sum, or the mean, over windows of space side by side, channel by channel, times a weight that is
    not trained.

    **Arguments:** `gain`: factor of every input, one or one for each synaptic time constant; `in_shape`:
    ``(channels, *space)`` or ``(kinds, channels, *space)``; `window`: its extent in each axis of space;
    `kinds`: "sum" over synaptic time constants, or "keep" them; `pad`: whether a window that sticks out at
    the end counts, with zeros beyond, or is left out.

    **Raises:** `ValueError` where these do not fit.
    """

    pad: bool = eqx.field(static=True, default=False)

    @classmethod
    def create(
        cls,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...] | None = None,
        *,
        key=None,
        window: Window = 2,
        how: Annotated[
            str, Declaration(doc="sum or mean over a window", choices=("sum", "average"))
        ] = "sum",
        weight: Weight = 1.0,
        pad: Annotated[
            bool,
            Declaration(
                doc="whether a last window that sticks out of the space counts, as if there were zeros "
                "beyond, or is left out"
            ),
        ] = False,
        kinds: Kinds = "sum",
    ) -> "Pool":  # fmt: skip
        """Windows of the extent `window`, side by side. Where they do not divide the space, what is left at
        its end is left out, or counts with zeros beyond (`pad`; a mean then has these zeros in it).

        **Arguments:** `in_shape`: ``(channels, *space)``, or that of an activation (`ActivationShape`);
        `out_shape`: None, or what it has to be; `key`: not used.
        """
        del key
        check_keywords(cls, window=window, how=how, weight=weight, kinds=kinds)
        _, shape = check_space("pooling", in_shape)
        extent = numbers("window", window, len(shape) - 1)
        gain = as_parameter(weight) / (math.prod(extent) if how == "average" else 1)
        made = cls(gain, in_shape, extent, kinds, pad)
        made._check_size(out_shape)
        return made

    def _space(self):
        _, (_, *space) = self._axes()
        return tuple(-(-n // w) if self.pad else n // w for n, w in zip(space, self.window, strict=True))

    def __call__(self, x):
        """The sums of one input."""
        x = self._weighted(x)
        lead = x.ndim - len(self.window)
        for axis, (n, w) in enumerate(zip(self._space(), self.window, strict=True), lead):
            missing = max(n * w - x.shape[axis], 0)
            x = jnp.pad(x, [(0, missing if a == axis else 0) for a in range(x.ndim)]) if missing else x
            x = jax.lax.slice_in_dim(x, 0, n * w, axis=axis)
        # Each axis of space as (windows, within): the sum over the latter.
        split = [k for pair in zip(self._space(), self.window, strict=True) for k in pair]
        x = x.reshape(*x.shape[:lead], *split)
        return jnp.sum(x, axis=tuple(range(lead + 1, x.ndim, 2)))


@CONNECTIONS.register("unpool")
class Unpool(_Windows):
    """Every place of space repeated to a window, channel by channel, times a weight that is not trained.

    **Arguments:** as of `Pool`.

    **Raises:** `ValueError` where these do not fit.
    """

    @classmethod
    def create(
        cls,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...] | None = None,
        *,
        key=None,
        window: Window = 2,
        weight: Weight = 1.0,
        kinds: Kinds = "sum",
    ) -> "Unpool":
        """Each place as a window of the extent `window`; the arguments are those of `Pool.create`."""
        del key
        check_keywords(cls, window=window, weight=weight, kinds=kinds)
        _, shape = check_space("unpooling", in_shape)
        made = cls(as_parameter(weight), in_shape, numbers("window", window, len(shape) - 1), kinds)
        made._check_size(out_shape)
        return made

    def _space(self):
        _, (_, *space) = self._axes()
        return tuple(n * w for n, w in zip(space, self.window, strict=True))

    def __call__(self, x):
        """The repeated places of one input."""
        x = self._weighted(x)
        for axis, w in enumerate(self.window, x.ndim - len(self.window)):
            x = jnp.repeat(x, w, axis=axis)
        return x


__all__ = ["Pool", "Unpool"]
