"""Steps of subthreshold equations that have no closed form."""

from collections.abc import Callable

import jax
from jaxtyping import PyTree


def runge_kutta(field: Callable[[PyTree], PyTree], y: PyTree, dt, substeps: int = 1) -> PyTree:
    """`y` after `dt` ms of ``dy/dt = field(y)``: `substeps` steps of the classical Runge-Kutta method of
    order 4."""
    move = lambda y, slope, h: jax.tree.map(lambda a, b: a + h * b, y, slope)
    h = dt / substeps
    for _ in range(substeps):
        a = field(y)
        b = field(move(y, a, h / 2))
        c = field(move(y, b, h / 2))
        d = field(move(y, c, h))
        y = jax.tree.map(lambda y, a, b, c, d: y + h / 6 * (a + 2 * b + 2 * c + d), y, a, b, c, d)
    return y
