"""Physical ranges of parameters, the map that keeps a gradient step inside them, and a prior."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = [
    "PRIOR",
    "Range",
    "Ranges",
    "Values",
    "border",
    "described",
    "physical",
    "prior",
    "random_starts",
    "unbounded",
]

BORDER = 0.01
"""Part of a range at either end, in which a parameter counts as at its border."""

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


def border(range_: Range, value: float) -> str | None:
    """The end, ``"lower"`` or ``"upper"``, that a value is at: within `BORDER` of its range (of the
    logarithms, where a draw is uniform in them) or past it; None inside."""
    low, high, _, log = range_
    part = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
    return "lower" if part < BORDER else "upper" if part > 1 - BORDER else None


def described(
    ranges: Ranges, values: Mapping[str, float], **uncertainty: Mapping[str, float]
) -> dict[str, Any]:
    """Fitted parameters for a file: value, unit, range and uncertainty, by name.

    A parameter at the border of its range has no uncertainty: the range holds it there, not the data.

    **Arguments:** `uncertainty`: by what it is called and parameter, such as ``standard_error={"R": 3.0}``;
    NaN where there is none.
    """
    found = {}
    for name, value in values.items():
        low, high, unit, _ = ranges[name]
        end = border(ranges[name], value)
        known = {key: math.nan if end else each[name] for key, each in uncertainty.items()}
        found[name] = {"value": value, **known, "unit": unit, "range": [low, high], "at_border": end}
    return found


def _inside(range_: Range, part: Float[Array, "..."]) -> Float[Array, "..."]:
    low, high = range_.low, range_.high
    return low * jnp.exp(jnp.log(high / low) * part) if range_.log else low + (high - low) * part
