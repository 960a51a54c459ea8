"""Which recordings are the trials of a training step, and what is changed in them."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from ..spike_times import SpikeTimes
from ..stimulus import Events, Stimulus
from .base import Trial
from .image_changes import ImageChanges


class Changes(NamedTuple):
    """What is changed in training."""

    drop: float
    """Probability that the input of a channel in a step is deleted."""
    shift: int
    """Largest shift of a whole trial in time, in steps."""
    image: ImageChanges


@eqx.filter_jit
def draw(recordings, key, step, size: int, changes: Changes, path: str | None) -> Trial:
    """The trials of one step: `size` of them, each epoch in a new order.

    **Arguments:** `recordings`: stimuli, targets and lengths, as of `trials_of`; `path`: likewise.
    """
    drop, shift, image = changes
    trials = len(recordings[1])
    per_epoch = max(trials // size, 1)
    epoch, within = step // per_epoch, step % per_epoch
    key_order, key_drop, key_shift = jax.random.split(key, 3)
    key_start = jax.random.fold_in(key, 3)
    order = jax.random.permutation(jax.random.fold_in(key_order, epoch), trials)
    index = order[(within * size + jnp.arange(size)) % trials]
    keys = jax.random.split(jax.random.fold_in(key_start, step), size)
    drawn = trials_of(recordings, index, keys, "auto" if image else path)
    x, target = drawn.stimulus, drawn.target
    assert not isinstance(x, SpikeTimes), "changes are of arrays and events"
    if image and isinstance(x, Events):
        x = image(x, jax.random.fold_in(jax.random.fold_in(key, 4), step))
        x = jax.vmap(Events.dense)(x) if path is None else x.by(path)
    if shift:
        by = jax.random.randint(jax.random.fold_in(key_shift, step), (size,), -shift, shift + 1)
        x = jax.vmap(_shifted)(x, by)
        target = target if drawn.label is not None else jax.vmap(_shifted)(target, by)
    if drop:
        # Of a list: there is one event at most for a channel in a step, or some that an image's change made
        # meet, each of which was one.
        values = x.value if isinstance(x, Events) else x
        kept = jax.random.bernoulli(jax.random.fold_in(key_drop, step), 1 - drop, values.shape)
        values = values * kept.astype(values.dtype)
        x = eqx.tree_at(lambda e: e.value, x, values) if isinstance(x, Events) else values
    return drawn._replace(stimulus=x, target=target)


def trials_of(recordings, index, keys, path: str | None) -> Trial:
    """The trials of these indices, as they are.

    **Arguments:** `recordings`: stimuli, targets and lengths (or None) of all; `keys`: one for each trial;
    `path`: how the products of lists of events are computed (`spikejax.Events`); None: arrays are made.
    """
    stimuli, targets, lengths = recordings
    target = targets[index]
    x = stimuli[index].astype(jnp.result_type(float)) if path is None else stimuli.events(index, path)
    mask = None if lengths is None else jnp.arange(x.shape[1]) < lengths[index][:, None]
    return Trial(x, target, mask, target if target.ndim == 1 else None, keys)


def _shifted(x: Stimulus, by: Int[Array, ""]) -> Stimulus:
    """`x` moved `by` steps later, silence moving in."""
    if isinstance(x, Events):
        return x.moved(by)
    t = jnp.arange(x.shape[0])
    inside = ((t - by >= 0) & (t - by < x.shape[0])).reshape(-1, *(1 for _ in x.shape[1:]))
    return jnp.where(inside, jnp.roll(x, by, axis=0), 0.0)


__all__ = ["Changes", "draw", "trials_of"]
