"""Penalties: losses on what a network does to get there, added to the one that says what it is to do.

They ask for nothing of a task; `spikejax.losses.Sum` adds them.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .component import known_numbers, option
from .losses import AbstractLoss, time_weights
from .registry import Registry
from .simulate import Series, Solution

PENALTIES: Registry["AbstractPenalty"] = Registry("penalty")
"""The penalties that a configuration can name."""


class AbstractPenalty(AbstractLoss):
    """A loss that no target enters, times a `weight`."""

    weight: eqx.AbstractVar[float]


@PENALTIES.register("rate_band")
class RateBand(AbstractPenalty):
    """``weight <relu(low - r)^2 + relu(r - high)^2>`` over the neurons of all layers, r their firing rates in
    Hz.

    Zero for rates within the band; silent neurons still receive a gradient, and the most active ones are held
    back.

    **Raises:** `ValueError` for a negative weight or rate, and for `low` above `high`.
    """

    weight: float = option(unit="1/Hz^2", doc="weight", at_least=0.0)
    low: float = option(0.0, unit="Hz", doc="rates below this are pushed up", at_least=0.0)
    high: float = option(100.0, unit="Hz", doc="rates above this are pushed down", at_least=0.0)

    def __check_init__(self):
        if self.low > self.high:
            raise ValueError(
                f"RateBand: `low` is {self.low:g} Hz, but must not be above `high`, {self.high:g} Hz"
            )

    def __call__(self, solution, trial):
        del trial
        rates = firing_rates(solution)
        outside = jax.nn.relu(self.low - rates) ** 2 + jax.nn.relu(rates - self.high) ** 2
        return self.weight * jnp.mean(outside), {}


@PENALTIES.register("log_rate")
class LogRate(AbstractPenalty):
    """``weight/2 mean_j (log(r_j + 1) - log(target + 1))^2`` over the neurons of all layers, r their firing
    rates in Hz.

    Penalises rates of half and of twice the target equally, so that silent neurons still receive a gradient.

    **Raises:** `ValueError` for a negative weight or target.
    """

    weight: float = option(
        doc="weight of the mean squared distance of log(rate + 1) to its target", at_least=0.0
    )
    target: float = option(20.0, unit="Hz", doc="that target's rate", at_least=0.0)

    def __call__(self, solution, trial):
        del trial
        # A smooth count can be slightly negative: a neuron that starts within the zone and leaves it
        # downwards.
        distance = jnp.log1p(jnp.maximum(firing_rates(solution), 0.0)) - math.log1p(self.target)
        return 0.5 * self.weight * jnp.mean(distance**2), {}


@PENALTIES.register("activity")
class ActivityCost(AbstractPenalty):
    """``weight/2 <sum_j s_j(t)^2>``, s the activation of each neuron's last synapse, summed over neurons,
    averaged over time.

    The last time constant is meant to be the slowest, whose activation is the smoothest measure of the rate.

    **Raises:** `ValueError` for a negative weight.
    """

    weight: float = option(
        doc="weight of the squared activation of the slowest synapses, summed over neurons", at_least=0.0
    )

    @property
    def series(self) -> frozenset[Series]:
        return frozenset({"activation"})

    def check_network(self, network):
        for i, layer in enumerate(network.layers):
            tau = layer.synapse.tau_syn
            known = known_numbers(tau)
            if known is None:
                continue
            slowest = known.reshape(np.shape(tau)[0] if np.ndim(tau) else 1, -1).max(axis=1)
            if slowest.max() != slowest[-1]:
                raise ValueError(
                    f"ActivityCost is of the last time constant: list the tau_syn of layer {i} slowest last"
                )

    def __call__(self, solution, trial):
        steps = len(solution.readout)
        each = [s[:, -1].reshape(steps, -1) for s in _saved(solution, "activation")]
        per_step = sum((jnp.sum(s**2, axis=1) for s in each), start=jnp.zeros(steps, each[0].dtype))
        return 0.5 * self.weight * (time_weights(solution, trial) @ per_step), {}


@PENALTIES.register("low_voltage")
class LowVoltage(AbstractPenalty):
    """``weight/2 <mean_j relu(low - v_j(t))^2>``: a force on neurons that inhibition has driven far below
    `low`.

    **Raises:** `ValueError` for a negative weight.
    """

    weight: float = option(doc="weight of squared voltages below low", at_least=0.0)
    low: float = option(-1.0, doc="membrane potentials below this are pushed up, in units of v")

    @property
    def series(self) -> frozenset[Series]:
        return frozenset({"v"})

    def __call__(self, solution, trial):
        v = _side_by_side(solution, "v")
        per_step = jnp.mean(jax.nn.relu(self.low - v) ** 2, axis=1)
        return 0.5 * self.weight * (time_weights(solution, trial) @ per_step), {}


@PENALTIES.register("whole_charge")
class WholeCharge(AbstractPenalty):
    """``weight <mean_j 4 c_j (1 - c_j)>``, c the charge that neuron j has released so far, without its whole
    spikes: the fraction of time that neurons spend in the active zone.

    A smooth gate lets a network compute with partial charge, from a voltage that lingers in the zone or turns
    around there. A hard threshold does not, so this is what is lost with it. Neurons are taken to start below
    the zone.

    **Raises:** `ValueError` for a negative weight.
    """

    weight: float = option(
        doc="weight of the fraction of time that neurons spend in the active zone", at_least=0.0
    )

    @property
    def series(self) -> frozenset[Series]:
        return frozenset({"release"})

    def __call__(self, solution, trial):
        charge = jnp.cumsum(_side_by_side(solution, "release"), axis=0)
        part = charge - jax.lax.stop_gradient(jnp.floor(charge))
        per_step = jnp.mean(4 * part * (1 - part), axis=1)
        return self.weight * (time_weights(solution, trial) @ per_step), {}


def firing_rates(solution: Solution) -> Float[Array, " neurons"]:
    """Firing rates of the neurons of all layers in the trial, Hz; 0 in a trial of no length."""
    duration = jnp.where(solution.duration > 0, solution.duration, 1.0)
    return jnp.concatenate([c.reshape(-1) for c in solution.counts]) * (1e3 / duration)


def _saved(solution: Solution, name: Series) -> list[Float[Array, "time ..."]]:
    """A saved time series of every layer."""
    found = [getattr(record, name) for record in solution.layers]
    if any(x is None for x in found):
        raise ValueError(f"a penalty needs the {name} over time: simulate with save=loss.series")
    return found


def _side_by_side(solution: Solution, name: Series) -> Float[Array, "time neurons"]:
    """A saved time series of the neurons of all layers."""
    steps = len(solution.readout)
    return jnp.concatenate([x.reshape(steps, -1) for x in _saved(solution, name)], axis=1)


__all__ = [
    "PENALTIES",
    "AbstractPenalty",
    "ActivityCost",
    "LogRate",
    "LowVoltage",
    "RateBand",
    "WholeCharge",
    "firing_rates",
]
