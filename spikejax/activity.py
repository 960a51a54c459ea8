"""How active the populations of a network are, and a warning where nothing can be learned from them."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

SILENT = 0.1
"""Below this rate (Hz, averaged over trials) a neuron counts as silent."""
SATURATED = 0.5
"""Above this many spikes a step (averaged over trials and time) a neuron counts as saturated."""
RUNAWAY = 1e3
"""A population above this mean rate (Hz) counts as running away."""
FEW = 8
"""Of fewer neurons than this, silence in one trial says nothing."""

_REMEDIES = {
    "silent": "give more bias or input_scale",
    "saturated": "give less bias or input_scale, or a smaller dt",
    "rate": "give a smaller recurrent_scale, a larger rate_unit of the synapse, or the neurons a refractory "
    "period",
}


class ActivityWarning(UserWarning):
    """A population is silent, saturated or runs away."""


def rates(counts: Float[Array, "trials *n"], duration: float | Float[Array, " trials"]) -> Float[Array, "*n"]:
    """Firing rates in Hz, averaged over trials.

    **Arguments:** `counts`: released charge per trial and neuron (`Solution.counts`); `duration` of the
    trials, ms.
    """
    duration = jnp.broadcast_to(jnp.asarray(duration), counts.shape[:1])
    return 1e3 * jnp.sum(counts, axis=0) / jnp.sum(duration)


def silent_fraction(rate: Float[Array, "*n"]) -> Float[Array, ""]:
    """Fraction of neurons below `SILENT` Hz."""
    return jnp.mean(rate < SILENT)


def saturated_fraction(rate: Float[Array, "*n"], dt: float) -> Float[Array, ""]:
    """Fraction of neurons above `SATURATED` spikes a step of `dt` ms."""
    return jnp.mean(rate * dt * 1e-3 > SATURATED)


def activity(
    counts: Sequence[Float[Array, "trials ..."]],
    durations: float | Float[Array, " trials"],
    dt: float | None = None,
) -> dict[str, Array]:
    """Mean firing rate (``rate/0``, Hz), fraction of silent and, with steps of `dt` (ms), of saturated
    neurons of each layer.

    **Arguments:** `counts`: of each layer, ``(trials, *n)``; `durations` of the trials, ms.
    """
    metrics = {}
    for i, count in enumerate(counts):
        rate = rates(count, durations)
        metrics[f"rate/{i}"] = jnp.mean(rate)
        metrics[f"silent/{i}"] = silent_fraction(rate)
        if dt is not None:
            metrics[f"saturated/{i}"] = saturated_fraction(rate, dt)
    return metrics


def complaints(metrics: Mapping[str, Any], most: float = 0.5) -> dict[str, str]:
    """What is wrong with the activity, a line for each metric of `activity` that says so: more than the
    fraction `most` of a population silent or saturated, or a population that runs away."""
    found = {}
    for name, x in metrics.items():
        kind, _, layer = name.partition("/")
        if kind == "rate" and float(x) > RUNAWAY:
            found[name] = f"layer {layer} runs away, with a mean rate of {float(x):.3g} Hz"
        elif kind in ("silent", "saturated") and float(x) > most:
            if kind == "saturated" and f"rate/{layer}" in found:  # said already
                continue
            found[name] = f"{float(x):.0%} of the neurons of layer {layer} are {kind}"
    advice = "or set its rate: `spikejax.training.calibrate`, [network.calibrate] (docs/activity.md)"
    return {name: f"{text}: {_REMEDIES[name.partition('/')[0]]}, {advice}" for name, text in found.items()}


def known(tree: Any) -> bool:
    """Whether all arrays of `tree` are there to be read: not traced, and not parts of other processes."""
    return all(
        not isinstance(x, Tracer) and getattr(x, "is_fully_addressable", True) for x in jax.tree.leaves(tree)
    )


def warn_of_trial(counts: Sequence[Float[Array, "..."]], duration: Float[Array, ""]) -> None:
    """Warn of a population that is silent throughout one trial, or runs away, if the numbers are known."""
    if not (known(counts) and known(duration)) or not float(duration) > 0:
        return
    several = [x[None] for x in counts]
    metrics = {
        name: x
        for name, x in activity(several, duration[None]).items()
        if not name.startswith("silent") or np.size(several[int(name.partition("/")[2])]) >= FEW
    }
    warn_of(metrics, most=1 - 1e-6, stacklevel=4)


def warn_of(metrics: Mapping[str, Any], most: float = 0.5, stacklevel: int = 3) -> None:
    """Warn of what `complaints` finds."""
    for line in complaints(metrics, most).values():
        warnings.warn(line, ActivityWarning, stacklevel=stacklevel)


__all__ = [
    "RUNAWAY",
    "SATURATED",
    "SILENT",
    "ActivityWarning",
    "activity",
    "complaints",
    "known",
    "rates",
    "saturated_fraction",
    "silent_fraction",
    "warn_of",
    "warn_of_trial",
]
