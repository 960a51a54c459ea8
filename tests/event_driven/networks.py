"""Small random networks for the tests, and the same as one population of the reference."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikejax import LIF, Exponential, Layer, LinearReadout, Network
from spikejax.connections import ActivationShape, Delayed, Dense
from spikejax.event_driven import QIF, Delta, EventDriven, SpikeTimes
from spikejax.network import Skip

from .reference import Population

TAU, CHANNELS, SIZES, INPUTS, END = 10.0, 3, (4, 3), 12, 40.0
KINDS = ("qif", "delta", "lif", "lif equal")


class Made(NamedTuple):
    network: Network
    simulator: EventDriven
    stimulus: SpikeTimes
    reference: Population


def parts(kind: str) -> tuple[Any, Any, float, float]:
    """Neuron, synapse of a jump of 1 for a weight of 1, bias, and synaptic time constant."""
    if kind == "delta":
        return QIF(tau_mem=TAU), Delta(1 / TAU), 0.8, np.inf
    tau_syn = TAU if kind == "lif equal" else TAU / 2
    neuron = QIF(tau_mem=TAU) if kind == "qif" else LIF(tau_mem=TAU, v_reset=-0.2)
    return neuron, Exponential(tau_syn, 1 / tau_syn), 0.0 if kind == "qif" else 0.1, tau_syn


def make(kind: str, seed: int, *, recurrent: bool, delays: bool = False) -> Made:
    """Two layers, with a connection past the first, and with `delays` one for each neuron's spikes."""
    rng = np.random.default_rng(seed)
    neuron, synapse, bias, tau_syn = parts(kind)
    strong = {"qif": 4.0, "delta": 0.8, "lif": 1.5, "lif equal": 1.0}[kind]
    shapes = [(CHANNELS,), ActivationShape((1, SIZES[0]))]
    into = [strong * rng.normal(0.4, 1, (n, int(np.prod(s)))) for n, s in zip(SIZES, shapes, strict=True)]
    own = [0.4 * strong * rng.normal(0, 1, (n, n)) * (recurrent) for n in SIZES]
    past = 0.5 * strong * rng.normal(0, 1, (SIZES[1], CHANNELS))
    delay = [rng.uniform(0.5, 6, n) if delays else None for n in SIZES]
    layers = []
    for i, (n, shape, w, r) in enumerate(zip(SIZES, shapes, into, own, strict=True)):
        around = dense(r[:, None], ActivationShape((1, n)), delay[i]) if recurrent else None
        feedforward = dense(w.reshape(n, *shape), shape, delay[i - 1] if i else None)
        layers.append(Layer(feedforward, around, jnp.full(n, bias), neuron, synapse))
    readout = LinearReadout.create(ActivationShape((1, SIZES[1])), 1, key=jax.random.key(0))
    skips = (Skip(Dense(weight=jnp.asarray(past), in_shape=(CHANNELS,)), -1, 1),)
    a, total = SIZES[0], sum(SIZES)
    weight, outer = np.zeros((total, total)), np.zeros((CHANNELS, total))
    weight[:a, :a], weight[a:, a:], weight[:a, a:] = own[0].T, own[1].T, into[1].T
    outer[:, :a], outer[:, a:] = into[0].T, past.T
    v = np.full(total, float(neuron.v_init))
    reference = Population(
        "lif" if kind.startswith("lif") else kind,
        TAU,
        tau_syn,
        weight,
        outer,
        np.full(total, bias),
        v,
        np.concatenate(delay) if delays else None,
        v_reset=-0.2,
    )
    times = np.sort(rng.uniform(0, 0.8 * END, INPUTS))
    stimulus = SpikeTimes(times, rng.integers(0, CHANNELS, INPUTS), duration=END, channels=CHANNELS)
    simulator = EventDriven(spikes=24, ratio=1 if kind == "lif equal" else 2)
    return Made(Network(tuple(layers), readout, skips), simulator, stimulus, reference)


def dense(weight, shape, delay=None):
    """A dense connection, behind delays if there are any."""
    inner = Dense(weight=jnp.asarray(weight), in_shape=shape)
    if delay is None:
        return inner
    return Delayed(connection=inner, in_shape=shape, delay=jnp.asarray(delay), longest=10.0)


def trains(solution) -> list[list[float]]:
    """The spikes within the trial of every neuron, layer after layer."""
    return [
        np.asarray(times[: int(count), i]).tolist()
        for times, counts in zip(solution.spikes, solution.counts, strict=True)
        for i, count in enumerate(counts)
    ]
