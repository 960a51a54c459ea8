"""Numerical methods of neurons without closed form: steps of their equations, and the time of a crossing."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree


def runge_kutta(field: Callable[[PyTree], PyTree], y: PyTree, dt, substeps: int = 1) -> PyTree:
    """`y` after `dt` ms of ``dy/dt = field(y)``: `substeps` steps of the classical Runge-Kutta method of
    order 4."""
    move = lambda y, slope, h: jax.tree.map(lambda a, b: a + h * b, y, slope)
    h = dt / substeps

    def step(y):
        a = field(y)
        b = field(move(y, a, h / 2))
        c = field(move(y, b, h / 2))
        d = field(move(y, c, h))
        return jax.tree.map(lambda y, a, b, c, d: y + h / 6 * (a + 2 * b + 2 * c + d), y, a, b, c, d)

    return repeat(step, y, substeps)


def repeat(step: Callable[[PyTree], PyTree], y: PyTree, times: int) -> PyTree:
    """`step` done `times` over. A loop, so that it is compiled once."""
    if times == 1:
        return step(y)
    return jax.lax.scan(lambda y, _: (step(y), None), y, None, length=times)[0]


def crossing_time(
    height: Callable[[Float[Array, "*n"]], Float[Array, "*n"]],
    dt,
    crosses: Bool[Array, "*n"],
    noise: Float[Array, "*n"],
) -> Float[Array, "*n"]:
    """The time in ``[0, dt]`` (ms) at which `height` passes 0 from below, where it `crosses`; elsewhere `dt`.

    Newton's method, kept inside a bracket that every step makes smaller; a loop of no iterations where
    nothing crosses, which is most steps. Not to be differentiated.

    **Arguments:** `height`: of a time for each neuron; `noise`: a height that is 0 to rounding.
    """
    zero = jnp.zeros_like(noise)
    accuracy = 4 * jnp.finfo(noise.dtype).eps * dt  # what rounding leaves of a time

    def unfinished(carry):
        i, _, _, _, moving = carry
        return (i < 100) & jnp.any(moving)

    def narrow(carry):
        i, low, high, at, moving = carry
        value, slope = jax.jvp(height, (at,), (jnp.ones_like(at),))
        # The crossing lies between the last time below the threshold and the first above it.
        low, high = jnp.where(value < 0, at, low), jnp.where(value < 0, high, at)
        newton = at - value / jnp.where(slope > 0, slope, 1.0)
        # Every fourth step halves the bracket, so that a flow Newton cannot follow costs iterations, not the
        # answer.
        good = (slope > 0) & (newton > low) & (newton < high) & (i % 4 != 3)
        new = jnp.where(good, newton, 0.5 * (low + high))
        moving = moving & (jnp.abs(value) > noise)
        new = jnp.where(moving, new, at)
        return i + 1, low, high, new, moving & (jnp.abs(new - at) > accuracy) & (high - low > accuracy)

    start = (jnp.asarray(0), zero, jnp.full_like(zero, dt), jnp.full_like(zero, dt), crosses)
    return jax.lax.while_loop(unfinished, narrow, start)[3]


__all__ = ["crossing_time", "repeat", "runge_kutta"]
