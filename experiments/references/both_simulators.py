"""One network for both simulators: two layers of neurons with a closed form, and a stimulus of spikes."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from spikejax import (
    LIF,
    QIF,
    ClockDriven,
    Dense,
    EventDriven,
    Exponential,
    Filtered,
    Gate,
    Hard,
    Layer,
    Network,
    Population,
    SpikeTimes,
    trainable,
)
from spikejax.parameters import cast

DURATION = 40.0


def made(neuron, scale: float) -> Network:
    synapse, keys = Exponential(5.0, rate_unit=0.2), jax.random.split(jax.random.key(3), 2)
    filtered = partial(Filtered.create, connection=partial(Dense.create, scale=scale), synapse=synapse)
    plain = partial(Dense.create, scale=6.0)
    rest = {"recurrent": None, "bias": (0.0, 0.0)}
    first = Layer.create((3,), 6, neuron, synapse, feedforward=filtered, key=keys[0], **rest)
    shape = first.activation_shape
    last = Layer.create(shape, 4, neuron, synapse, feedforward=plain, key=keys[1], **rest)
    return cast(Network((first, last), Population.create(last.activation_shape, 4)), jnp.float64)


NETWORKS = {"qif": partial(made, QIF(tau_mem=10.0), 6.0), "lif": partial(made, LIF(tau_mem=10.0), 8.0)}


def stimulus() -> SpikeTimes:
    rng = np.random.default_rng(0)
    return SpikeTimes(np.sort(rng.uniform(0, 20, 12)), rng.integers(0, 3, 12), duration=DURATION, channels=3)


@eqx.filter_jit
def first_spikes(network, simulator):
    """The first spike times of both layers, and the gradient of their sum in the last layer, in weights and
    in the times of the stimulus."""
    params, fixed = eqx.partition(network, trainable(network, ("weight",)))
    given = stimulus()

    def total(params, time):
        spikes = simulator(eqx.combine(params, fixed), given.at(time), save="spikes").spikes
        return jnp.sum(jnp.where(jnp.isfinite(spikes[-1][0]), spikes[-1][0], 0.0)), spikes

    grads, spikes = jax.grad(total, argnums=(0, 1), has_aux=True)(params, given.time)
    return [one[0] for one in spikes], jnp.concatenate([x.ravel() for x in jax.tree.leaves(grads)])


def differences(kind: str, dt: float) -> tuple[float, float]:
    """How far the clock-driven simulator with a hard threshold is from the event-driven one: largest
    difference of a first spike time, ms (inf where one of them has no spike), and relative distance of the
    gradients."""
    network = NETWORKS[kind]()
    exact, slope = first_spikes(network, EventDriven(spikes=24, pseudospikes=False))
    found, gradient = first_spikes(network, ClockDriven(Gate(release=Hard()), dt))
    apart = 0.0
    for a, b in zip(map(np.asarray, exact), map(np.asarray, found), strict=True):
        both = np.isfinite(a)
        apart = max(
            apart, np.abs(a[both] - b[both]).max() if np.array_equal(both, np.isfinite(b)) else np.inf
        )
    return float(apart), float(jnp.linalg.norm(gradient - slope) / jnp.linalg.norm(slope))


__all__ = ["NETWORKS", "differences", "first_spikes", "stimulus"]
