"""Changes of the image that a trial's events make, in training."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ..stimulus import Events


class ImageChanges(NamedTuple):
    """How far the places of a trial's events may move, drawn anew for every trial.

    An event at (row, column) from the middle of the image goes to

    ```
    (1 + z) R(a) (row, column + s row) + (rows, columns)
    ```
    and from there to the nearest pixel; R turns by the angle a. Each number is drawn uniformly, whole numbers
    of rows and columns. What leaves the image is lost; events that meet in a pixel add.
    """

    shift: int = 0
    """Most rows and columns, pixels."""
    rotate: float = 0.0
    """Largest angle, degrees."""
    zoom: float = 0.0
    """Largest change of size, as a fraction."""
    shear: float = 0.0
    """Largest shear, columns for a row."""

    def __bool__(self) -> bool:
        return any(self)

    def __call__(self, events: Events, key: PRNGKeyArray) -> Events:
        """The events of a batch of trials, changed."""
        size = len(events)
        by = jax.random.randint(key, (size, 2), -self.shift, self.shift + 1)
        if not (self.rotate or self.zoom or self.shear):
            return jax.vmap(Events.shifted)(events, by)
        number = jax.random.uniform(jax.random.fold_in(key, 1), (3, size), minval=-1.0, maxval=1.0)
        angle, zoom, shear = number * jnp.asarray([jnp.deg2rad(self.rotate), self.zoom, self.shear])[:, None]
        cos, sin, one = jnp.cos(angle), jnp.sin(angle), jnp.ones(size)
        rotated = jnp.stack([jnp.stack([cos, sin], -1), jnp.stack([-sin, cos], -1)], -2)
        sheared = jnp.stack([jnp.stack([one, 0 * one], -1), jnp.stack([shear, one], -1)], -2)
        return jax.vmap(Events.shifted)(events, by, (1 + zoom)[:, None, None] * rotated @ sheared)


__all__ = ["ImageChanges"]
