"""Looking for starts of a fit without a gradient: a free run of each through an ordinary threshold."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from ..gates import Gate
from .clamp_loss import Sweeps, Weights, filtered, free_loss
from .clamp_models import ClampModel
from .ranges import Values

SIDE_BY_SIDE = 64
"""Starts that are screened as one program: enough to fill vectors, few enough for the cache."""
SHRINK = 0.7
"""What is left of the search's step in the next round."""


def screening(
    model: ClampModel, data: Sweeps, gate: Gate, dt: float, weights: Weights
) -> Callable[[Values], Float[np.ndarray, " starts"]]:
    """A function of starts: the loss of the second stage through an ordinary threshold, infinite for one that
    diverges.

    It needs no gradient, so a thousand starts cost what a few steps of the fit do. A start that is silent, or
    fires at rest, has a loss without slope: none of these is to be followed.
    """
    target = filtered(data.spikes, weights.tau, dt)

    @jax.jit
    def run(raw, data, target):
        return jax.vmap(lambda x: free_loss(model, x, data, target, gate.hard(), dt, weights)[0])(raw)

    def score(raw):
        count, values = len(jax.tree.leaves(raw)[0]), []
        width = min(count, SIDE_BY_SIDE)
        for begin in range(0, count, width):
            # The last ones are repeated up to the size of the others, so that one program serves all.
            which = np.minimum(np.arange(begin, begin + width), count - 1)
            values.append(np.asarray(run(jax.tree.map(lambda x, k=which: x[k], raw), data, target), float))
        value = np.concatenate(values)[:count]
        return np.where(np.isfinite(value), value, np.inf)

    return score


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
