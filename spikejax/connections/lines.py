"""What connections with delays are at one time step: inputs that are interpolated in time, and weights for
every lag.

An activation is known as its mean over every step. Delayed by ``k + f`` steps, f between 0 and 1, its mean
over a step is ``(1 - f) x(t - k) + f x(t - k - 1)``: exact where it does not change within its step.
"""

from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..stimulus import Events
from .around import AbstractAround
from .base import AbstractConnection
from .shift import shifted

if TYPE_CHECKING:  # no field of the constructor: a class may have a property in its place
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


def whole_and_part(
    lag: Float[Array, "..."], most: int, exact: bool
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """k and f of delays of ``k + f`` steps, at most `most`; k has no derivative.

    Unless `exact` the value of f is 0, the truncated delay, and its derivative that of an f just above 0.
    """
    # Not clipped by a function whose derivative at the ends is a half.
    lag = jnp.where(lag < 0, 0.0, jnp.where(lag > most, float(most), lag))
    whole = jax.lax.stop_gradient(jnp.minimum(jnp.floor(lag), most - 1))
    part = lag - whole
    if not exact:
        # The whole of `most` steps has no step after it to interpolate with.
        part = part - jax.lax.stop_gradient(jnp.where(part < 1, part, 0.0))
    return whole, part


def taps(lag: Float[Array, "*n"], most: int, exact: bool) -> Float[Array, "lags *n"]:
    """The share of the input 0 to `most` steps ago in what arrives after `lag` steps."""
    whole, part = whole_and_part(lag, most, exact)
    ago = jnp.arange(most + 1, dtype=lag.dtype).reshape(-1, *(1,) * lag.ndim)
    whole, part = whole[None], part[None]
    return jnp.where(ago == whole, 1 - part, jnp.where(ago == whole + 1, part, 0.0))


class _Remembering(AbstractConnection):
    """Remembers its last inputs, ``(most, *in)``, the oldest first."""

    most: AbstractVar[int]

    def _start(self, dtype) -> Float[Array, "most *in"]:
        return jnp.zeros((self.most, *self.in_shape), dtype)

    def _end(self, whole: Float[Array, "time *in"], mask) -> Float[Array, "most *in"]:
        """What is remembered of `whole`, which begins with what was remembered."""
        steps = len(whole) - self.most
        end = steps if mask is None else mask.sum()
        return jax.lax.dynamic_slice_in_dim(whole, end, self.most)


class DelayLines(_Remembering, AbstractAround):
    """Inputs that arrive after `lag` steps at another connection, ``C x(t - lag)``.

    **Arguments:** `connection`: C, from the shape that `lag` and the input broadcast to; `lag`: in steps,
    with as many axes as the input or more; `most`: the largest that is kept in memory; `exact`: whether by
    interpolation, or truncated.
    """

    connection: AbstractConnection
    lag: Float[Array, "..."]
    in_shape: tuple[int, ...] = eqx.field(static=True)
    most: int = eqx.field(static=True)
    exact: bool = eqx.field(static=True)

    def init(self, dtype):
        return self._start(dtype), self.connection.init(dtype)

    def step(self, x, memory=None):
        past, inner = self.init(x.dtype) if memory is None else memory
        window = jnp.concatenate([past, x[None]])
        # All lags are read and weighed: in a loop that costs less than to look up two of them.
        shares = jnp.flip(taps(self.lag, self.most, self.exact), 0)
        y, inner = self.connection.step(jnp.sum(shares * self._wide(window), axis=0), inner)
        return y, (window[1:], inner)

    def over_time(self, x, memory=None, mask=None):
        if isinstance(x, Events):
            return self._of_events(x, memory, mask)
        past, inner = self.init(x.dtype) if memory is None else memory
        seen = jnp.concatenate([past, x])
        whole, part = whole_and_part(self.lag, self.most, self.exact)
        wide = self._wide(seen)
        late = shifted(wide, jnp.broadcast_to(whole.astype(jnp.int32), wide.shape[1:]))
        late = (1 - part)[None] * late[self.most :] + part[None] * late[self.most - 1 : -1]
        y, inner = self.connection.over_time(late, inner, mask)
        return y, (self._end(seen, mask), inner)

    def _of_events(self, x: Events, memory, mask):
        """Events are delayed one by one, and stay a list; those of a stretch before are an array, and
        make one of these."""
        if memory is not None:
            return super().over_time(x, memory, mask)
        whole, part = whole_and_part(self.lag, self.most, self.exact)
        late = x.on_lines(self.lag.shape[: self.lag.ndim - len(self.in_shape)]).delayed(whole + part)
        y, inner = self.connection.over_time(late, None, mask)
        end = x.steps if mask is None else mask.sum()
        return y, (x.window(end - self.most, self.most), inner)

    def _wide(self, x: Float[Array, "time *in"]) -> Float[Array, "time *wide"]:
        """The input with the axes in front that only the lags have."""
        x = x.reshape(len(x), *(1,) * (self.lag.ndim - x.ndim + 1), *self.in_shape)
        return jnp.broadcast_to(x, (len(x), *np.broadcast_shapes(self.lag.shape, self.in_shape)))


class Lagged(_Remembering):
    """Weights for every lag, ``I_i(t) = sum_k sum_j W_kij x_j(t - k)``, with the weights of `most` steps ago
    first."""

    weight: Float[Array, "lags ..."]
    in_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def most(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The largest lag."""
        return len(self.weight) - 1

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the current."""
        return self.weight.shape[1 : self.weight.ndim - len(self.in_shape)]

    def init(self, dtype):
        return self._start(dtype)

    def step(self, x, memory=None):
        past = self.init(x.dtype) if memory is None else memory
        window = jnp.concatenate([past, x[None]])
        # Lags and inputs as one axis of one plain product, with the input first (see `Dense`).
        matrix = jnp.moveaxis(self._matrices, 1, 2).reshape(window.size, -1)
        return (window.reshape(-1) @ matrix).reshape(self.out_shape), window[1:]

    def over_time(self, x, memory=None, mask=None):
        if isinstance(x, Events):
            return super().over_time(x, memory, mask)
        seen = jnp.concatenate([self.init(x.dtype) if memory is None else memory, x])
        out = jax.lax.conv_general_dilated(
            seen.reshape(1, len(seen), -1),
            self._matrices,
            (1,),
            "VALID",
            dimension_numbers=("NTC", "TOI", "NTC"),
        )
        return out.reshape(len(x), *self.out_shape), self._end(seen, mask)

    @property
    def _matrices(self) -> Float[Array, "lags out in"]:
        return self.weight.reshape(len(self.weight), -1, int(np.prod(self.in_shape)))


__all__ = ["DelayLines", "Lagged", "taps", "whole_and_part"]
