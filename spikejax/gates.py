"""Gates: the smooth replacement of the spike threshold, and the four ways to release charge through it.

A gate is a density ``g >= 0`` with compact support (the *active zone*) and integral 1, and its integral
``G``. Here ``u`` is the membrane potential measured from the centre of the active zone; which voltage that
is, the neuron says (`spikejax.neurons.AbstractNeuron.released`).
"""

import abc
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .elementary import quarter_sine
from .parameters import as_parameter

Release = Literal["charge", "graded", "surrogate", "hard"]


class AbstractKernel(eqx.Module):
    """Shape of a gate on the unit zone: density ``k(x)`` with ``k = 0`` for ``|x| > 1``, integral 1, and
    cumulative ``K``."""

    @abc.abstractmethod
    def density(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """``k(x)``."""

    @abc.abstractmethod
    def cumulative(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """``K(x)``, the integral of ``k`` from -1: 0 at ``x <= -1``, 1 at ``x >= 1``."""


class Boxcar(AbstractKernel):
    """``k(x) = 1/2``. Not continuous, and its gradient is exact all the same: no derivative of ``g`` enters
    it."""

    def density(self, x):
        return jnp.where(jnp.abs(x) < 1, 0.5, 0.0).astype(x.dtype)

    def cumulative(self, x):
        return 0.5 * (1 + jnp.clip(x, -1, 1))


class Triangle(AbstractKernel):
    """``k(x) = 1 - |x|``."""

    def density(self, x):
        return jnp.maximum(1 - jnp.abs(x), 0.0)

    def cumulative(self, x):
        x = jnp.clip(x, -1, 1)
        return 0.5 + x - 0.5 * x * jnp.abs(x)


class RaisedCosine(AbstractKernel):
    """``k(x) = (1 + cos(pi x))/2``: continuous with its derivative."""

    def density(self, x):
        return _raised_density(x)

    def cumulative(self, x):
        return _raised_cumulative(x)


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


class TruncatedLogistic(AbstractKernel):
    """``k(x) = slope sigma'(slope x) / (sigma(slope) - sigma(-slope))``, the logistic density cut at ``|x| =
    1`` and renormalised."""

    slope: float = eqx.field(static=True, default=5.0)

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


class FastSigmoid(AbstractKernel):
    """``k(x) = 1/(1 + |x|)^2``, the usual SuperSpike surrogate (Zenke & Ganguli 2018).

    Peak 1 and unbounded support: a pseudo-derivative, not a gate; only for ``release="surrogate"``.
    """

    def density(self, x):
        return 1 / (1 + jnp.abs(x)) ** 2

    def cumulative(self, x):
        return 1 + x / (1 + jnp.abs(x))


class ArcTan(AbstractKernel):
    """``k(x) = 1/(1 + (pi x/2)^2)``, the arctan surrogate (Fang et al. 2021). Only for
    ``release="surrogate"``."""

    def density(self, x):
        return 1 / (1 + (jnp.pi / 2 * x) ** 2)

    def cumulative(self, x):
        return 1 + 2 / jnp.pi * jnp.arctan(jnp.pi / 2 * x)


KERNELS: dict[str, type[AbstractKernel]] = {
    "boxcar": Boxcar,
    "triangle": Triangle,
    "raised_cosine": RaisedCosine,
    "logistic": TruncatedLogistic,
    "fast_sigmoid": FastSigmoid,
    "arctan": ArcTan,
}
SURROGATE_ONLY = (FastSigmoid, ArcTan)


class Gate(eqx.Module):
    """A threshold gate ``g_a`` of width ``width/sharpness`` and the way charge is released through it.

    ```
    g(u)   = (2/width) k(2 u/width)                      the density, integral 1
    g_a(v) = a g(a (v - v0) + v0)                        sharpness a, about the fixed point v0
    ```
    so the zone of ``g_a`` is ``a`` times narrower and ``a -> inf`` is the ordinary threshold. ``width`` and
    ``sharpness`` are arrays: changing them recompiles nothing, and `jax.vmap` runs over them. Each may have
    one value for every layer of the network.

    `release` is one word:

    - ``"charge"``: the paper's synapse driven by ``g(v) dv/dt``, integrated over the step: ``q = G(v_end) -
      G(v_start)``, plus 1 for a reset inside the step. Smooth in every parameter; its gradient is exact.
    - ``"graded"``: ``q = G(v_free)`` and a reset in proportion, with the zone centred on the threshold. Exact
      for *that* model.
    - ``"surrogate"``: ``q`` is the number of threshold crossings, its derivative is taken to be ``g``. Biased
      by construction.
    - ``"hard"``: ``q`` is the number of threshold crossings, its derivative is 0. For evaluation.

    **Arguments:** `kernel`: an `AbstractKernel` or its name; `width`: support at sharpness 1, in units of v
    (for `FastSigmoid` and `ArcTan`: twice the inverse slope); `sharpness`: dimensionless; `detach_reset`:
    with ``"surrogate"``, leave the reset out of the gradient.

    **Raises:** `ValueError` for an unknown kernel or release, and for a surrogate-only kernel with another
    release.

    **Reference:** Huh & Sejnowski, NeurIPS 2018, eqs. 2-4; Neftci et al., IEEE Signal Process. Mag. 2019
    (surrogates).

    !!! example
        >>> gate = Gate("raised_cosine", width=0.5)
        >>> float(gate.cumulative(jnp.array(0.0)))
        0.5
        >>> gate.sharpen(4.0).support == gate.support / 4
        Array(True, dtype=bool)
    """

    kernel: AbstractKernel
    width: Float[Array, "*layers"]
    sharpness: Float[Array, "*layers"]
    release: Release = eqx.field(static=True)
    detach_reset: bool = eqx.field(static=True)

    def __init__(
        self,
        kernel: str | AbstractKernel = "raised_cosine",
        width=0.5,
        sharpness=1.0,
        *,
        release: Release = "charge",
        detach_reset: bool = False,
    ):
        if isinstance(kernel, str):
            if kernel not in KERNELS:
                raise ValueError(f"unknown gate kernel {kernel!r}: choose one of {', '.join(KERNELS)}")
            kernel = KERNELS[kernel]()
        self.kernel = kernel
        self.width = as_parameter(width)
        self.sharpness = as_parameter(sharpness)
        self.release = release
        self.detach_reset = detach_reset

    def __check_init__(self):
        if self.release not in get_args(Release):
            raise ValueError(
                f"unknown release {self.release!r}: choose one of {', '.join(get_args(Release))}"
            )
        if isinstance(self.kernel, SURROGATE_ONLY) and self.release not in ("surrogate", "hard"):
            raise ValueError(
                f"kernel {type(self.kernel).__name__} has no compact support and serves release='surrogate' only, "
                f"not {self.release!r}: choose boxcar, triangle, raised_cosine or logistic"
            )

    @property
    def support(self) -> Float[Array, "*layers"]:
        """Width of the active zone, in units of v."""
        return self.width / self.sharpness

    def of_layer(self, i: int) -> "Gate":
        """The gate of layer `i`: this one, unless its width or sharpness has one value a layer.

        **Raises:** `ValueError` if there are not that many values.
        """
        for x in (self.width, self.sharpness):
            if x.ndim and i >= x.shape[0]:
                raise ValueError(
                    f"the gate has {x.shape[0]} values of width or sharpness, one a layer, but there is a layer {i}: give one for each"
                )
        if not (self.width.ndim or self.sharpness.ndim):
            return self
        width, sharpness = (x[i] if x.ndim else x for x in (self.width, self.sharpness))
        return Gate(self.kernel, width, sharpness, release=self.release, detach_reset=self.detach_reset)

    def density(self, u: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """``g_a`` at distance `u` from the zone's centre, in 1/v. Surrogate-only kernels keep their
        conventional peak of 1."""
        x = u * (2 / self.support)
        peak = 1.0 if isinstance(self.kernel, SURROGATE_ONLY) else 2 / self.support
        return self.kernel.density(x) * peak

    def cumulative(self, u: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """``G_a`` at distance `u` from the zone's centre; from 0 to 1."""
        return self.kernel.cumulative(u * (2 / self.support))

    def spike(self, u: Float[Array, "*n"], count: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """`count` in the forward direction; derivative ``g(u) du`` in the backward one (the surrogate
        gradient)."""
        return _surrogate(self, u, count)

    def replace(
        self, *, release: Release | None = None, sharpness=None, detach_reset: bool | None = None
    ) -> "Gate":
        """The same gate with another release, sharpness or treatment of the reset."""
        kernel = self.kernel
        release = self.release if release is None else release
        detach = self.detach_reset if detach_reset is None else detach_reset
        return Gate(
            kernel,
            self.width,
            self.sharpness if sharpness is None else sharpness,
            release=release,
            detach_reset=detach,
        )

    def sharpen(self, sharpness) -> "Gate":
        """The same gate at another sharpness."""
        return self.replace(sharpness=sharpness)

    def hard(self) -> "Gate":
        """The ordinary threshold, the limit ``a -> inf``, for evaluation."""
        return self.replace(release="hard")


@jax.custom_jvp
def _surrogate(gate, u, count):
    del gate, u
    return count


@_surrogate.defjvp
def _surrogate_jvp(primals, tangents):
    gate, u, count = primals
    return count, gate.density(u) * tangents[1]
