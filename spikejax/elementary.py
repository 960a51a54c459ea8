"""Elementary functions: sine, cosine and angle that vectorise, to rounding; quotients that are smooth where
they read 0/0; the alpha function as a recursion; what is computed once; and axes.

XLA on the CPU calls its own sine, cosine and arc tangent for one element at a time, which makes them most of
the cost of a theta neuron. These are short series on a reduced argument, made of additions and products
alone.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


def beneath(x: Array, like: Array) -> Array:
    """`x`, one value for every neuron, to stand beneath `like`, which may have axes before the neurons'."""
    return x.reshape((1,) * (like.ndim - x.ndim) + x.shape)


def _terms(x, single: int, double: int) -> int:
    return single if jnp.finfo(x.dtype).nmant <= 23 else double


def quarter_sine(z: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``sin(z)`` for ``|z| <= pi/2``: its Taylor series."""
    square, value = z * z, 1.0
    for n in range(_terms(z, 12, 20), 0, -2):
        value = 1 - square / (n * (n + 1)) * value
    return z * value


@jax.custom_jvp
def circle(v: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """``cos(2 pi v)`` and ``sin(2 pi v)``."""
    r = v - jnp.round(v)
    size = jnp.abs(r)
    # Both folded into the first quarter, where the series holds.
    cosine = quarter_sine(2 * jnp.pi * (0.25 - size))
    sine = jnp.sign(r) * quarter_sine(2 * jnp.pi * jnp.minimum(size, 0.5 - size))
    return cosine, sine


@circle.defjvp
def _circle_jvp(primals, tangents):
    # By hand, because folds have no derivative of their own.
    cosine, sine = circle(*primals)
    dv = 2 * jnp.pi * tangents[0]
    return (cosine, sine), (-sine * dv, cosine * dv)


@jax.custom_jvp
def angle(y: Float[Array, "*n"], x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``atan2(y, x)``, between -pi and pi; 0 at the origin."""
    a, b = jnp.abs(x), jnp.abs(y)
    large = jnp.maximum(a, b)
    t = jnp.minimum(a, b) / jnp.where(large > 0, large, 1.0)
    # atan t = 2 atan(t/(1 + sqrt(1 + t^2))), twice: from t <= 1 to t <= 0.2, where the series is short.
    for _ in range(2):
        t = t / (1 + jnp.sqrt(1 + t * t))
    square, value = t * t, 0.0
    for n in range(_terms(t, 11, 23), 0, -2):
        value = 1 / n - square * value
    value = 4 * t * value
    value = jnp.where(b > a, jnp.pi / 2 - value, value)
    value = jnp.where(x < 0, jnp.pi - value, value)
    return jnp.where(y < 0, -value, value)


@angle.defjvp
def _angle_jvp(primals, tangents):
    (y, x), (dy, dx) = primals, tangents
    size = x * x + y * y
    return angle(y, x), (x * dy - y * dx) / jnp.where(size > 0, size, 1.0)


@jax.custom_jvp
def log1p(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``log(1 + x)`` for x above -1, to rounding also where x is small: the error of ``1 + x`` goes out by
    the factor ``x/((1 + x) - 1)``.

    XLA on the CPU calls its own for one element at a time, and so computes all that it fuses with it.

    **Reference:** Kahan; Goldberg, What every computer scientist should know about floating-point arithmetic,
    1991, theorem 4.
    """
    u = 1 + x
    # XLA would simplify the rounding away that is meant to go out.
    passed = jax.lax.reduce_precision(u, jnp.finfo(x.dtype).nexp, jnp.finfo(x.dtype).nmant) - 1
    exact = (passed == 0) | jnp.isinf(u)
    ratio = x / jnp.where(exact, 1.0, passed)
    return jnp.where(passed == 0, x, jnp.log(u) * jnp.where(exact, 1.0, ratio))


@log1p.defjvp
def _log1p_jvp(primals, tangents):
    (x,) = primals
    return log1p(x), tangents[0] / (1 + x)


@jax.custom_jvp
def quotient(a: Float[Array, "*n"], b: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``a/b``, as a product with ``1/b``: value and derivatives together divide once."""
    return a * (1 / b)


@quotient.defjvp
def _quotient_jvp(primals, tangents):
    a, b = primals
    inverse = 1 / b
    value = a * inverse
    return value, (tangents[0] - value * tangents[1]) * inverse


@jax.custom_jvp
def once(x: PyTree) -> PyTree:
    """`x`, computed once however often it is used, and so is its cotangent.

    XLA on the CPU gives every result of a step a loop of its own, which computes again all that leads to it.
    It stops at what it takes to be expensive, such as a division: here by ``1 + 0 x``, which no compiler may
    leave out, since x might not be finite. Where it is, x is what comes out, to the last bit; an infinity
    becomes NaN. What is no real number is left alone.
    """
    return jax.tree.map(lambda x: x / (1 + 0 * x) if _real(x) else x, x)


@once.defjvp
def _once_jvp(primals, tangents):
    divided = lambda x, t: t / (1 + 0 * jax.lax.stop_gradient(x)) if _real(x) else t
    return once(*primals), jax.tree.map(divided, primals[0], tangents[0])


def _real(x) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)


def relative_decay(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``(1 - exp(-x))/x``, 1 at 0, with its derivatives."""
    small = jnp.abs(x) < 1e-2
    safe = jnp.where(small, 1.0, x)
    series = 1 - x / 2 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5 * (1 - x / 6))))
    return jnp.where(small, series, -jnp.expm1(-safe) / safe)


def alpha_step(
    value: Float[Array, "*n"], source: Float[Array, "*n"], h: Float[Array, "..."] | float
) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """The sums over spikes ``sum_f (t - t_f) exp(1 - (t - t_f))``, `value`, and ``sum_f exp(-(t - t_f))``,
    `source`, a time `h` later; all times in units of the kernel's own. A new spike adds 1 to the source."""
    decay = jnp.exp(-h)
    return decay * (value + math.e * h * source), decay * source


__all__ = [
    "alpha_step",
    "angle",
    "beneath",
    "circle",
    "log1p",
    "once",
    "quarter_sine",
    "quotient",
    "relative_decay",
]
