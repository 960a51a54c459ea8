"""Kernels: shapes of a gate on the unit zone, with their integrals in closed form."""

import abc
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .component import Component, option
from .elementary import quarter_sine
from .registry import Registry

KERNELS: "Registry[AbstractKernel]" = Registry("gate kernel")


class AbstractKernel(Component):
    """Shape of a gate on the unit zone: density ``k(x)`` with ``k = 0`` for ``|x| > 1``, integral 1, and
    cumulative ``K``."""

    compact: ClassVar[bool] = True
    """Whether the support is compact, as a gate's is; else it is a pseudo-derivative, for surrogate
    gradients."""

    @abc.abstractmethod
    def density(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """``k(x)``."""

    @abc.abstractmethod
    def cumulative(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """``K(x)``, the integral of ``k`` from -1: 0 at ``x <= -1``, 1 at ``x >= 1``."""

    def area(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """The integral of ``K`` from -1: 0 at ``x <= -1``, x at ``x >= 1``. It says when within a step charge
        was released.

        By default the Gauss-Legendre rule of 16 points, for kernels that do not know theirs.
        """
        points, weights = np.polynomial.legendre.leggauss(16)
        inside = jnp.clip(x, -1, 1)
        half = 0.5 * (inside + 1)
        at = (self.cumulative(half * (float(p) + 1) - 1) for p in points)
        terms = (float(w) * level for w, level in zip(weights, at, strict=True))
        return half * sum(terms) + jnp.maximum(x - 1, 0)


@KERNELS.register("boxcar")
class Boxcar(AbstractKernel):
    """``k(x) = 1/2``. Not continuous, and its gradient is exact all the same: no derivative of ``g`` enters
    it."""

    def density(self, x):
        return jnp.where(jnp.abs(x) < 1, 0.5, 0.0).astype(x.dtype)

    def cumulative(self, x):
        return 0.5 * (1 + jnp.clip(x, -1, 1))

    def area(self, x):
        return 0.25 * (1 + jnp.clip(x, -1, 1)) ** 2 + jnp.maximum(x - 1, 0)


@KERNELS.register("triangle")
class Triangle(AbstractKernel):
    """``k(x) = 1 - |x|``."""

    def density(self, x):
        return jnp.maximum(1 - jnp.abs(x), 0.0)

    def cumulative(self, x):
        x = jnp.clip(x, -1, 1)
        return 0.5 + x - 0.5 * x * jnp.abs(x)

    def area(self, x):
        # From below up to 0 it is (1 + x)^3/6, and symmetric about 0 but for x: area(x) = x + area(-x).
        return (1 - jnp.minimum(jnp.abs(x), 1)) ** 3 / 6 + jnp.maximum(x, 0)


@KERNELS.register("raised_cosine")
class RaisedCosine(AbstractKernel):
    """``k(x) = (1 + cos(pi x))/2``: continuous with its derivative."""

    def density(self, x):
        return _raised_density(x)

    def cumulative(self, x):
        return _raised_cumulative(x)

    def area(self, x):
        return _raised_area(x)


def _raised_density(x):
    # cos(pi x) = sin(pi (1/2 - |x|)), whose argument is in the range of `quarter_sine`.
    return 0.5 * (1 + quarter_sine(jnp.pi * (0.5 - jnp.minimum(jnp.abs(x), 1))))


@jax.custom_jvp
def _raised_cumulative(x):
    x = jnp.clip(x, -1, 1)
    size = jnp.abs(x)
    return 0.5 * (1 + x + jnp.sign(x) * quarter_sine(jnp.pi * jnp.minimum(size, 1 - size)) / jnp.pi)


@_raised_cumulative.defjvp
def _raised_cumulative_jvp(primals, tangents):
    # By hand, because the fold at |x| = 1/2 and the sign at 0 have no derivative of their own.
    (x,), (dx,) = primals, tangents
    return _raised_cumulative(x), _raised_density(x) * dx


@jax.custom_jvp
def _raised_area(x):
    # (1 + |x|)^2/4 - (1 + cos(pi x))/(2 pi^2) where x < 0; area(x) = x + area(-x).
    size = jnp.minimum(jnp.abs(x), 1)
    return 0.25 * (1 - size) ** 2 - _raised_density(size) / jnp.pi**2 + jnp.maximum(x, 0)


@_raised_area.defjvp
def _raised_area_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return _raised_area(x), _raised_cumulative(x) * dx


@KERNELS.register("logistic")
class TruncatedLogistic(AbstractKernel):
    """``k(x) = slope sigma'(slope x) / (sigma(slope) - sigma(-slope))``, the logistic density cut at ``|x| =
    1`` and renormalised."""

    slope: float = option(5.0, doc="steepness of the logistic before it is cut", above=0.0)

    def density(self, x):
        p = jax.nn.sigmoid(self.slope * x)
        inside = jnp.abs(x) < 1
        return jnp.where(inside, self.slope * p * (1 - p), 0.0) / jnp.tanh(
            jnp.asarray(self.slope / 2, x.dtype)
        )

    def cumulative(self, x):
        # sigma(s) - sigma(-s) = tanh(s/2), and sigma(sx) = (1 + tanh(sx/2))/2.
        x = jnp.clip(x, -1, 1)
        scale = jnp.tanh(jnp.asarray(self.slope / 2, x.dtype))
        return 0.5 * (1 + jnp.tanh(self.slope / 2 * x) / scale)

    def area(self, x):
        # The integral of tanh is log cosh, even in x.
        inside = jnp.minimum(jnp.abs(x), 1)
        scale = jnp.tanh(jnp.asarray(self.slope / 2, x.dtype)) * self.slope
        log_cosh = lambda s: s / 2 + jnp.log1p(jnp.exp(-s))
        bend = (log_cosh(self.slope * inside) - log_cosh(jnp.asarray(self.slope, x.dtype))) / scale
        return 0.5 * (1 - inside) + bend + jnp.maximum(x, 0)


@KERNELS.register("fast_sigmoid")
class FastSigmoid(AbstractKernel):
    """``k(x) = 1/(1 + |x|)^2``, the usual SuperSpike surrogate (Zenke & Ganguli 2018).

    Peak 1 and unbounded support: a pseudo-derivative, not a gate; only for ``release="surrogate"``.
    """

    compact: ClassVar[bool] = False

    def density(self, x):
        return 1 / (1 + jnp.abs(x)) ** 2

    def cumulative(self, x):
        return 1 + x / (1 + jnp.abs(x))


@KERNELS.register("arctan")
class ArcTan(AbstractKernel):
    """``k(x) = 1/(1 + (pi x/2)^2)``, the arctan surrogate (Fang et al. 2021). Only for
    ``release="surrogate"``."""

    compact: ClassVar[bool] = False

    def density(self, x):
        return 1 / (1 + (jnp.pi / 2 * x) ** 2)

    def cumulative(self, x):
        return 1 + 2 / jnp.pi * jnp.arctan(jnp.pi / 2 * x)


@KERNELS.register("laplace")
class Laplace(AbstractKernel):
    """``k(x) = exp(-|x|)``, the escape-rate surrogate of SLAYER (Shrestha & Orchard 2018). Only for
    ``release="surrogate"``.

    With a gate of the width ``2 tau_rho v_th`` and the release's scale ``scale_rho/tau_rho`` the derivative
    is ``scale_rho/(tau_rho v_th) exp(-|v - v_th|/(tau_rho v_th))``, for a neuron whose reset or rest is 0.
    """

    compact: ClassVar[bool] = False

    def density(self, x):
        return jnp.exp(-jnp.abs(x))

    def cumulative(self, x):
        tail = jnp.exp(-jnp.abs(x))
        return jnp.where(x < 0, tail, 2 - tail)


__all__ = [
    "KERNELS",
    "AbstractKernel",
    "ArcTan",
    "Boxcar",
    "FastSigmoid",
    "Laplace",
    "RaisedCosine",
    "Triangle",
    "TruncatedLogistic",
]
