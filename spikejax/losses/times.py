"""Losses of spike times of a network's last layer, whatever simulated it.

A neuron that does not fire has no time: it counts as if it fired at the end of the trial, without a
derivative. That is continuous where spikes appear and vanish at the end, as those of QIF neurons do; with
pseudospikes, which come after it, there is a derivative too.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..component import option
from ..simulate import Series, Solution
from ..tasks.base import Trial
from .base import LOSSES, known_class
from .spikes import AbstractSpikeLoss

STEEP = 10.0
"""Where the exponential penalty of a late spike goes on as its tangent: a pseudospike may be very late."""


class AbstractTimesLoss(AbstractSpikeLoss):
    """A loss of the spike times of the last layer; its neurons stand for the outputs of the task."""

    @property
    def series(self):
        return frozenset[Series]({"spikes"})


@LOSSES.register("first_spike")
class FirstSpike(AbstractTimesLoss):
    """Softmax cross-entropy of the times of first spikes: the neuron of the class is to fire first.

    ```
    p = softmax(-t/scale),   L = -log p_label + late (exp(t_label/horizon) - 1)
    ```
    The second part asks for an early spike; beyond 10 `horizon` it goes on as its tangent.

    **Arguments:** `scale` (ms); `late`: weight of the second part; `horizon` (ms): its time constant, by
    default the length of the trial.

    The scalars beside it: `accuracy` (0 or 1) and the predicted `label`, the neuron that fires first. If none
    does, the label is -1 and the answer wrong; so without pseudospikes (`AbstractSimulator.hard`) only spikes
    within the trial count. A class that is none of the network's makes NaN, as in `CrossEntropy`.

    **Reference:** Mostafa 2017, doi:10.1109/TNNLS.2017.2726060; Goltz et al. 2021,
    doi:10.1038/s42256-021-00388-x (the second part).
    """

    targets: ClassVar = frozenset({"class"})
    reports: ClassVar = {"accuracy": True}
    score: ClassVar = "accuracy"

    scale: float = option(
        2.0, unit="ms", doc="a spike earlier by this makes its class e times as likely", above=0.0
    )
    late: float = option(0.0, doc="weight of the penalty of a late spike of the right neuron", at_least=0.0)
    horizon: float | None = option(
        None, unit="ms", doc="time constant of that penalty; default: the length of the trial", above=0.0
    )

    def __call__(self, solution, trial):
        first, end = _times(solution)[0], solution.duration
        fired = ~jnp.isinf(first)
        t = jnp.where(fired, first, end)
        known = known_class("FirstSpike", trial.target, len(t))
        target = jax.nn.one_hot(trial.target, len(t), dtype=t.dtype)
        target = jnp.where(known, target, jnp.nan)
        loss = -jnp.sum(target * jax.nn.log_softmax(-t / self.scale))
        if self.late:
            x = jnp.sum(target * t) / (end if self.horizon is None else self.horizon)
            tangent = 1 + jnp.maximum(x - STEEP, 0.0)
            loss = loss + self.late * (jnp.exp(jnp.minimum(x, STEEP)) * tangent - 1)
        return loss, _answer(jnp.argmin(t), fired.any(), t, trial, known)


@LOSSES.register("time_error")
class TimeError(AbstractTimesLoss):
    """Squared error of spike times, spike by spike: the mean of ``((t - t*)/scale)^2``, or if `relative` of
    ``((t - t*)/(t* + scale))^2``, over the spikes that have a target.

    The n-th spike of a neuron belongs to its n-th target. A target of inf wants no such spike: one within the
    trial costs ``((T - t)/scale)^2``, T its end, and counts in the mean. Spikes past the last target are
    free.

    **Arguments:** `scale` (ms); `relative`.

    The scalar beside it: `error`, ms, the root of the mean of ``(t - t*)^2``.

    **Raises:** from the call, `ValueError` for targets of more spikes or of another number of neurons than
    the simulation has.
    """

    targets: ClassVar = frozenset({"times"})
    reports: ClassVar = {"error": False}

    scale: float = option(10.0, unit="ms", doc="an error of this costs 1", above=0.0)
    relative: bool = option(False, doc="divide errors by the time of the target too, as t* + scale")

    def __call__(self, solution, trial):
        times, wanted = _times(solution), trial.target
        if wanted.ndim != 2 or wanted.shape[1] != times.shape[1] or len(wanted) > len(times):
            raise ValueError(
                f"TimeError: the target has shape {wanted.shape}, but there is room for spikes of shape "
                f"{times.shape}, (spikes, neurons): give as many neurons, and the simulator more `spikes`"
            )
        wanted, times = wanted.astype(times.dtype), times[: len(wanted)]
        end = solution.duration.astype(times.dtype)
        asked = ~jnp.isinf(wanted)
        t = jnp.where(jnp.isinf(times), end, times)
        # One that is not wanted and comes after the end is none.
        error = jnp.where(asked, t - jnp.where(asked, wanted, 0.0), jnp.minimum(t - end, 0.0))
        size = self.scale + jnp.where(asked & self.relative, wanted, 0.0)
        mean = lambda x: jnp.sum(x**2) / max(x.size, 1)
        return mean(error / size), {"error": jnp.sqrt(jax.lax.stop_gradient(mean(error)))}


@LOSSES.register("timed_count")
class TimedCount(AbstractTimesLoss):
    """The number of spikes as a demand on their times: with n wanted, the n-th spike is to come before the
    end of the trial T, and the next one after it.

    ```
    L = sum_i (relu(t_n - (T - margin))/scale)^2 + (relu((T + margin) - t_{n+1})/scale)^2
    ```
    n is `true` for the neuron of the right class and `false` for the others. A count has no derivative, but
    the time of a spike that is to be added or taken away has one where there are pseudospikes.

    **Arguments:** `true`, `false`: numbers of spikes; `margin`, `scale` (ms).

    The scalars beside it: `accuracy` (0 or 1) and the predicted `label`, the neuron with most spikes; -1, and
    wrong, if there are none.

    **Raises:** from the call, `ValueError` for a simulation without room for so many spikes and one more.
    """

    targets: ClassVar = frozenset({"class"})
    reports: ClassVar = {"accuracy": True}
    score: ClassVar = "accuracy"

    true: int = option(2, doc="spikes of the neuron of the right class", at_least=0)
    false: int = option(0, doc="spikes of the others", at_least=0)
    margin: float = option(0.0, unit="ms", doc="how far from the end spikes stay", at_least=0.0)
    scale: float = option(10.0, unit="ms", doc="a spike that is off by this costs 1", above=0.0)

    def __call__(self, solution, trial):
        times = _times(solution)
        if len(times) < max(self.true, self.false) + 1:
            raise ValueError(
                f"TimedCount: {max(self.true, self.false)} spikes are asked for, but there is room for "
                f"{len(times)}, and it takes one more: give the simulator more `spikes`"
            )
        known = known_class("TimedCount", trial.target, times.shape[1])
        end = jnp.where(known, solution.duration, jnp.nan)
        right = jnp.arange(times.shape[1]) == trial.target
        silent = jnp.isinf(times)

        def cost(n: int) -> Float[Array, " n"]:
            """For n spikes of every neuron."""
            more = jnp.where(silent[n], end + self.margin, times[n])
            found = jnp.maximum(end + self.margin - more, 0.0) ** 2
            if n:
                last = jnp.where(silent[n - 1], end, times[n - 1])
                found = found + jnp.maximum(last - (end - self.margin), 0.0) ** 2
            return found / self.scale**2

        loss = jnp.sum(jnp.where(right, cost(self.true), cost(self.false)))
        counts = jnp.sum(times < solution.duration, axis=0)
        return loss, _answer(jnp.argmax(counts), counts.any(), loss, trial, known)


def _times(solution: Solution) -> Float[Array, "spikes n"]:
    """The spike times of the last layer, ms; inf where there is none."""
    if not solution.spikes:
        raise ValueError('the simulation gives no spike times: name "spikes" in its `save`')
    times = solution.spikes[-1]
    return times.reshape(len(times), -1)


def _answer(label, given: Bool[Array, ""], like: Array, trial: Trial, known) -> dict[str, Array]:
    label = jnp.where(given, label, -1)
    right = (label == trial.target).astype(like.dtype)
    return {"accuracy": jnp.where(known, right, jnp.nan), "label": label}


__all__ = ["AbstractTimesLoss", "FirstSpike", "TimeError", "TimedCount"]
