"""Losses of the spikes of a network's last layer, neuron by neuron: their times, and their numbers."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..component import option, part
from ..network import Network
from ..simulate import Series, Solution
from ..synapses import SYNAPSES, AbstractSynapse
from ..tasks.base import Trial
from .base import LOSSES, AbstractLoss, known_class


class AbstractSpikeLoss(AbstractLoss):
    """A loss of what the last layer releases, its spikes; its neurons stand for the outputs of the task.

    The network's readout has no part in it: `spikejax.Population` is one that trains nothing.
    """

    @property
    def series(self):
        return frozenset[Series]({"release"})

    def check_network(self, network: Network) -> None:
        neurons, outputs = (
            math.prod(network.layers[-1].shape),
            math.prod(network.readout.connection.out_shape),
        )
        if neurons != outputs:
            raise ValueError(
                f"{type(self).__name__} is of the spikes of the last layer, which has {neurons} neurons, but "
                f"the task has {outputs} outputs: give it as many (`size`), and the readout kind population"
            )


@LOSSES.register("spike_time")
class SpikeTime(AbstractSpikeLoss):
    """Distance of the last layer's spike trains from those of the target, filtered by a synapse (van Rossum):
    ``L = dt/2 sum_t |e(t)|^2,  e = kernel * (s - y)``.

    The spikes of a step count as if they came at its start, whatever the time of release. Where the mask is
    False, the trial is over and counts nothing.

    **Arguments:** `synapse`: the kernel.

    The scalar beside it: `error`, the loss over that of a layer that is silent (where the target is silent
    too, the loss itself).

    **Reference:** Shrestha & Orchard, NeurIPS 2018, eq. 13; van Rossum 2001.
    """

    targets: ClassVar = frozenset({"spikes"})
    reports: ClassVar = {"error": False}

    synapse: AbstractSynapse = part(SYNAPSES, "sampled_alpha", doc="filter of the spikes")

    def __call__(self, solution, trial):
        spikes = _spikes(solution)
        if spikes.shape != trial.target.shape:
            raise ValueError(
                f"SpikeTime: the last layer has spikes of shape {spikes.shape}, but the target "
                f"{trial.target.shape}: both are (time, neurons)"
            )
        target = trial.target.astype(spikes.dtype)
        loss = _power(self.synapse, spikes - target, solution, trial)
        silent = _power(self.synapse, target, solution, trial)
        return loss, {"error": loss / jnp.where(silent > 0, silent, 1.0)}


@LOSSES.register("spike_count")
class SpikeCount(AbstractSpikeLoss):
    """Squared error of the numbers of spikes of the last layer: `true` for the neuron of the right class,
    `false` for the others.

    ```
    L = dt/2 sum_t |e(t)|^2,   e = (n - n_target)/steps  within the region, and kernel * s outside of it
    ```
    n are the spikes in the region, `steps` its length; kernel * s is of the spikes outside alone. With the
    credit *kernel*, as in the original, counts have no derivative and ``de = kernel * ds`` everywhere, within
    the region too: a spike is asked for or taken away at every step of the trial alike. With the credit
    *count* the loss is the first part alone, with its own derivative.

    **Arguments:** `true`, `false`: numbers of spikes; `region`: begin and end in which they are counted, ms
    (default: the whole trial); `synapse`: the kernel; `credit`: ``"kernel"`` or ``"count"``.

    The scalars beside it: `accuracy` (0 or 1) and the predicted `label`, the neuron with most spikes.

    **Reference:** Shrestha & Orchard, NeurIPS 2018, eq. 15, and the authors' code.
    """

    targets: ClassVar = frozenset({"class"})
    reports: ClassVar = {"accuracy": True}
    score: ClassVar = "accuracy"

    true: float = option(60.0, doc="spikes of the neuron of the right class", at_least=0.0)
    false: float = option(10.0, doc="spikes of the others", at_least=0.0)
    region: tuple[float, float] | None = option(
        None, unit="ms", doc="begin and end of what is counted; default: all", at_least=0.0, length=(2, 2)
    )
    synapse: AbstractSynapse = part(SYNAPSES, "sampled_alpha", doc="filter of the spikes")
    credit: str = option("kernel", doc="where the derivative comes from", choices=("kernel", "count"))

    def __check_init__(self):
        super().__check_init__()
        _check_region(self)

    def __call__(self, solution, trial):
        spikes, there = _spikes(solution), _there(solution, trial)
        dt = _step(solution, there)
        inside = _region(self.region, there, dt)[:, None]
        steps = jnp.maximum(inside.sum(), 1).astype(spikes.dtype)
        counts = jnp.sum(jnp.where(inside, spikes, 0.0), axis=0)
        known = known_class("SpikeCount", trial.target, len(counts))
        right = jnp.arange(len(counts)) == trial.target
        wanted = jnp.where(known, jnp.where(right, self.true, self.false), jnp.nan).astype(spikes.dtype)
        missing = (counts - wanted) / steps
        if self.credit == "count":
            loss = 0.5 * dt * steps * jnp.sum(missing**2)
        else:
            filtered = _filtered(self.synapse, spikes, dt)
            outside = _filtered(self.synapse, jnp.where(inside, 0.0, spikes), dt)
            value = outside + jnp.where(inside, missing[None], 0.0)
            # The error as it is, with the derivative of the filtered spikes.
            e = filtered + jax.lax.stop_gradient(value - filtered)
            loss = 0.5 * dt * jnp.sum(jnp.where(there[:, None], e, 0.0) ** 2)
        return loss, _answer(counts, trial, known)


@LOSSES.register("count_probability")
class CountProbability(AbstractSpikeLoss):
    """Softmax cross-entropy of the numbers of spikes of the last layer, ``p = softmax(scale n)``.

    **Arguments:** `scale`: what a spike adds to a logit; `region` as in `SpikeCount`.

    The scalars beside it: `accuracy` (0 or 1) and the predicted `label`, the neuron with most spikes.
    """

    targets: ClassVar = frozenset({"class"})
    reports: ClassVar = {"accuracy": True}
    score: ClassVar = "accuracy"

    scale: float = option(0.1, doc="what a spike adds to a logit", above=0.0)
    region: tuple[float, float] | None = option(
        None, unit="ms", doc="begin and end of what is counted; default: all", at_least=0.0, length=(2, 2)
    )

    def __check_init__(self):
        super().__check_init__()
        _check_region(self)

    def __call__(self, solution, trial):
        spikes, there = _spikes(solution), _there(solution, trial)
        inside = _region(self.region, there, _step(solution, there))
        counts = jnp.sum(jnp.where(inside[:, None], spikes, 0.0), axis=0)
        known = known_class("CountProbability", trial.target, len(counts))
        target = jax.nn.one_hot(trial.target, len(counts), dtype=counts.dtype)
        target = jnp.where(known, target, jnp.nan)
        return -jnp.sum(target * jax.nn.log_softmax(self.scale * counts)), _answer(counts, trial, known)


def _check_region(loss) -> None:
    if loss.region is not None and loss.region[0] >= loss.region[1]:
        raise ValueError(
            f"{type(loss).__name__}: `region` is {list(loss.region)} ms, but must end after its begin"
        )


def _spikes(solution: Solution) -> Float[Array, "time n"]:
    """What each neuron of the last layer released in every step."""
    release = solution.layers[-1].release
    assert release is not None, "asked for"
    return release.reshape(len(release), -1)


def _there(solution: Solution, trial: Trial) -> Bool[Array, " time"]:
    """The steps of the trial itself."""
    return jnp.ones(len(solution.readout), bool) if trial.mask is None else trial.mask


def _step(solution: Solution, there: Bool[Array, " time"]) -> Float[Array, ""]:
    """The time step, ms."""
    return solution.duration / jnp.maximum(there.sum(), 1).astype(solution.duration.dtype)


def _region(region, there, dt) -> Bool[Array, " time"]:
    """The steps of the trial that begin within the region (ms)."""
    if region is None:
        return there
    begin = jnp.arange(len(there), dtype=dt.dtype) * dt
    # What is a whole number of steps may be rounded in either way.
    slack = 1e-3 * dt
    return there & (begin > region[0] - slack) & (begin < region[1] - slack)


def _filtered(synapse: AbstractSynapse, charge, dt) -> Float[Array, "time n"]:
    """Charges that arrive at the start of each step as the synapses show them; of several time constants, one
    after the other."""
    return synapse.over_time(charge, dt)[0].reshape(len(charge), -1)


def _power(synapse: AbstractSynapse, charge, solution: Solution, trial: Trial) -> Float[Array, ""]:
    there = _there(solution, trial)
    dt = _step(solution, there)
    inside = there[:, None]
    e = _filtered(synapse, jnp.where(inside, charge, 0.0), dt)
    return 0.5 * dt * jnp.sum(jnp.where(inside, e, 0.0) ** 2)


def _answer(counts, trial: Trial, known) -> dict[str, Array]:
    label = jnp.argmax(counts)
    right = (label == trial.target).astype(counts.dtype)
    return {"accuracy": jnp.where(known, right, jnp.nan), "label": label}


__all__ = ["AbstractSpikeLoss", "CountProbability", "SpikeCount", "SpikeTime"]
