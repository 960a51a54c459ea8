"""A random search around starts of a fit, without a gradient: a small evolution strategy."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from .ranges import Values

__all__ = ["search"]

SHRINK = 0.7
"""What is left of the search's step in the next round."""


def search(
    raw: Values,
    value: Float[np.ndarray, " starts"],
    loss: Callable[[Values], Float[np.ndarray, " starts"]],
    *,
    rounds: int,
    draws: int,
    step: float,
    key: PRNGKeyArray,
    report: Callable[[int, float], None],
) -> tuple[Values, Float[np.ndarray, " starts"]]:
    """Search around every start by itself: normal steps in all parameters at once, the best of which is the
    start of the next round.

    An evolution strategy with one parent to a family, whose steps shrink (`SHRINK`). Families stay apart, so
    that the spread of what they find means something.

    **Arguments:** `raw`: starts as unbounded numbers; `value`: their loss; `loss`: of any number of starts;
    `draws`: steps tried in a round, for all starts together; `step`: standard deviation of the steps in the
    first round; `report`: called after a round with its number and the least loss, and
    before the first with 0 and NaN.

    **Returns:** the best start of every family and its loss, never above the one it came with.

    **Reference:** Beyer & Schwefel, Natural Computing 2002: (1 + lambda) strategies.
    """
    starts, each = len(value), max(draws // len(value), 1)
    rows = np.arange(starts)
    report(0, math.nan)
    for i in range(rounds):
        # Sorted, so that the order of the parameters does not change what is drawn.
        keys = dict(zip(sorted(raw), jax.random.split(jax.random.fold_in(key, i), len(raw)), strict=True))
        size = step * SHRINK**i
        tried = {
            name: x[:, None] + size * jax.random.normal(keys[name], (starts, each), x.dtype)
            for name, x in raw.items()
        }
        values = loss({name: x.ravel() for name, x in tried.items()}).reshape(starts, each)
        # The parent comes first, and so stays where no step is better.
        values = np.concatenate([value[:, None], values], axis=1)
        best = values.argmin(axis=1)
        raw = {
            name: jnp.concatenate([x[:, None], tried[name]], axis=1)[rows, best] for name, x in raw.items()
        }
        value = values[rows, best]
        report(i + 1, float(value.min()))
    return raw, value
