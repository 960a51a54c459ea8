"""What was the first not to be finite in a batch, in the order in which it was computed."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ..losses import AbstractLoss
from ..metrics import leaf_name
from ..network import Network
from ..noise import Noise
from ..simulate import Series
from ..simulators import AbstractSimulator
from ..tasks import Trial
from .step import run_trial

ORDER: tuple[tuple[Series, str], ...] = (
    ("current", "the input current"),
    ("v", "the membrane potential"),
    ("release", "the released charge"),
    ("activation", "the synaptic activation"),
)
"""What is computed in a step of a layer, in turn."""


class Objective(NamedTuple):
    """What a training step differentiates, beside the network."""

    loss: AbstractLoss
    noise: Noise | None = None


def first_not_finite(
    network: Network, trials: Trial, simulator: AbstractSimulator, objective: Objective | None = None
) -> str | None:
    """The first quantity that was not finite in a batch whose loss or gradient was not: a parameter, an
    input, or by layer and step what was simulated, the readout, the loss. None if they are all finite, so
    that it was the gradient.

    **Arguments:** `trials`: the batch; `objective`: what is differentiated.
    """
    for tree, what in ((network, "the parameter {}"), (trials, "the {} of the trials")):
        bad = _bad_leaf(tree)
        if bad is not None:
            return what.format(bad)
    steps = simulator.time_step is not None
    save: frozenset[Series] = frozenset(name for name, _ in ORDER) if steps else frozenset()
    noise = None if objective is None else objective.noise

    @eqx.filter_jit
    def look(network, trials, simulator):
        def one(trial: Trial):
            series = save if objective is None else save | objective.loss.series
            solution = run_trial(network, trial, simulator, save=series, noise=noise)
            found = [
                [_first_step(getattr(record, name)) for name, _ in ORDER] if steps else []
                for record in solution.layers
            ]
            loss = jnp.zeros(()) if objective is None else objective.loss(solution, trial)[0]
            return found, _first_step(solution.readout), jnp.isfinite(loss)

        return jax.lax.map(one, trials)

    layers, readout, finite = jax.device_get(look(network, trials, simulator))
    dt = simulator.time_step
    seen: list[tuple[int, int, str, int]] = []
    for i, record in enumerate(layers):
        for rank, (at, (_, what)) in enumerate(zip(record, ORDER, strict=False)):
            seen.append((int(at.min()), i * len(ORDER) + rank, f"{what} of layer {i}", int(at.argmin())))
    seen.append((int(readout.min()), len(layers) * len(ORDER), "the readout", int(readout.argmin())))
    step, _, what, trial = min(seen)
    if step < NEVER:
        when = f"step {step}" + (f" ({(step + 1) * dt:g} ms)" if dt is not None else "")
        return f"{what} from {when} of trial {trial} of the batch on"
    if not finite.all():
        return f"the readout is finite, but the loss of trial {int(finite.argmin())} of the batch"
    return None


NEVER = np.iinfo(np.int32).max
"""The first step of what is always finite."""


def _first_step(series: Array | None) -> Array:
    """The first step of a series, ``(time, ...)``, that is not finite."""
    if series is None or not series.size:
        return jnp.asarray(NEVER, jnp.int32)
    bad = ~jnp.isfinite(series).reshape(len(series), -1).all(axis=1)
    return jnp.where(bad.any(), jnp.argmax(bad).astype(jnp.int32), NEVER)


def _bad_leaf(tree: PyTree) -> str | None:
    """The name of the first array of a tree that has a value which is not a number."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if eqx.is_inexact_array(leaf) and bool(jnp.isnan(leaf).any()):
            return leaf_name(path)
    return None


__all__ = ["Objective", "first_not_finite"]
