"""Physical ranges of parameters, the map that keeps a gradient step inside them, and a prior."""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = ["PRIOR", "Range", "Ranges", "Values", "physical", "prior", "random_starts", "unbounded"]

INNER = 0.1
"""Random starts keep this part of the range away from either end, where the sigmoid is flat."""
PRIOR = 0.1
"""Weight of the `prior`: weak beside a few spikes."""


class Range(NamedTuple):
    """From `low` to `high`, in `unit`; with `log` a uniform draw is uniform in the logarithm."""

    low: float
    high: float
    unit: str
    log: bool = False


Ranges: TypeAlias = Mapping[str, Range]
Values: TypeAlias = dict[str, Float[Array, "..."]]
"""Parameters by name, in their units or as unbounded numbers."""


def physical(ranges: Ranges, raw: Values) -> Values:
    """Parameters in their units from unbounded numbers u: ``low + (high - low) sigmoid(u)``, or that of the
    logarithms."""
    return {name: _inside(ranges[name], jax.nn.sigmoid(u)) for name, u in raw.items()}


def unbounded(ranges: Ranges, values: Mapping[str, Float[Array, "..."] | float]) -> Values:
    """The inverse of `physical`.

    **Raises:** `ValueError` for a value that is not inside its range.
    """
    raw = {}
    for name, value in values.items():
        low, high, unit, log = ranges[name]
        if not (jnp.all(jnp.asarray(value) > low) and jnp.all(jnp.asarray(value) < high)):
            raise ValueError(
                f"`{name}` of {value} {unit} is not inside its range from {low:g} to {high:g} {unit}"
            )
        x = jnp.asarray(value, jnp.result_type(float))
        part = jnp.log(x / low) / jnp.log(high / low) if log else (x - low) / (high - low)
        raw[name] = jnp.log(part) - jnp.log1p(-part)
    return raw


def random_starts(ranges: Ranges, count: int, *, key: PRNGKeyArray) -> Values:
    """`count` draws from the inner part of every range, as unbounded numbers of shape ``(count,)``."""
    keys = jax.random.split(key, len(ranges))
    parts = [jax.random.uniform(k, (count,), minval=INNER, maxval=1 - INNER) for k in keys]
    return {name: jnp.log(part) - jnp.log1p(-part) for name, part in zip(ranges, parts, strict=True)}


def prior(raw: Values) -> Float[Array, ""]:
    """Minus the logarithm of a normal prior on the unbounded numbers u, ``PRIOR sum u^2/2``, in nats: it
    keeps parameters off the ends of their ranges."""
    return jnp.asarray(0.5 * PRIOR * sum(jnp.sum(u**2) for u in raw.values()))


def _inside(range_: Range, part: Float[Array, "..."]) -> Float[Array, "..."]:
    low, high = range_.low, range_.high
    return low * jnp.exp(jnp.log(high / low) * part) if range_.log else low + (high - low) * part
