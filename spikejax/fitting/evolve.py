"""Looking for starts of a fit without a gradient: a free run of each through an ordinary threshold."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from .ranges import Values

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
    that their spread means something.

    **Arguments:** starts as unbounded numbers and their `value`; `loss`: of starts, as `screening` makes it;
    `draws`: all starts' steps in a round; `step`: their standard deviation in the first round; `report`:
    called after a round with its number and the least loss.

    **Returns:** the best start of every family and its loss, never above the one it came with.

    **Reference:** Beyer & Schwefel, Natural Computing 2002: (1 + lambda) strategies.
    """
    starts, each = len(value), max(draws // len(value), 1)
    for i in range(rounds):
        names = dict(zip(raw, jax.random.split(jax.random.fold_in(key, i), len(raw)), strict=True))
        size = step * SHRINK**i
        tried = {
            name: x[:, None] + size * jax.random.normal(names[name], (starts, each), x.dtype)
            for name, x in raw.items()
        }
        values = loss({name: x.ravel() for name, x in tried.items()}).reshape(starts, each)
        values = np.concatenate([value[:, None], values], axis=1)
        rows, best = np.arange(starts), values.argmin(axis=1)
        raw = {
            name: jnp.concatenate([x[:, None], tried[name]], axis=1)[rows, best] for name, x in raw.items()
        }
        value = values[rows, best]
        report(i + 1, float(value.min()))
    return raw, value
