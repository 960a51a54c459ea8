"""The trial that a neuron is checked in: a small population under a slowly varying current that makes it
spike, at a step and at fractions of it."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..adjoints import AbstractAdjoint
from ..component import components, declarations
from ..connections import ActivationShape, Dense
from ..gates import Gate
from ..kernels import RaisedCosine
from ..network import Layer, Network
from ..neurons import AbstractNeuron
from ..parameters import field_name
from ..readouts import LinearReadout
from ..releases import Charge, Graded
from ..simulate import check_step, simulate
from ..synapses import Exponential
from .compiling import quick_jit

FINER = (1, 2, 4)
"""Steps of the trial, as fractions of the one that is checked."""
WIDTH = 0.2
"""Of the gate, as a fraction of the way from reset to threshold."""
SWING = 0.15
"""Amplitude of the slow part of the current, as a fraction of it."""
WANTED = (4, 8)
"""Fewest and most spikes that a neuron should have in the trial."""
LOWEST, HIGHEST = -10, 17
"""Exponents of 2 of the currents that are tried, in units of the way from reset to threshold."""
NICE = np.array([k * 10.0**p for p in range(-5, 1) for k in (1, 2, 5)])


class Motion(NamedTuple):
    """What a population did in every step, step by step."""

    states: Any
    """Before each step."""
    count: np.ndarray  # pyright: ignore[reportIncompatibleMethodOverride] (not tuple.count)
    """Spikes, ``(time, *n)``."""
    first: np.ndarray
    """Time of the first of them, as a fraction of the step."""
    last: Any
    """State at the end."""


class Setting(NamedTuple):
    """The trial: a population of one kind of neuron, how long it runs, and what drives it."""

    neuron: AbstractNeuron
    shape: tuple[int, ...]
    dt: float
    """ms."""
    steps: int
    drive: float = 0.0
    """Mean current of the first neuron, in the neuron's unit."""

    @property
    def room(self) -> float:
        """The way from reset to threshold, in units of v."""
        low, high = self.neuron.bounds()
        return float(np.min(np.asarray(high - low)))

    @property
    def gate(self) -> Gate:
        """A gate that every release serves."""
        # A potential that jumps has no way through a zone, but has a smooth gate all the same.
        release = Graded() if self.neuron.jumps else Charge()
        return Gate(RaisedCosine(), jnp.asarray(WIDTH * self.room), release=release)

    @property
    def spread(self) -> np.ndarray:
        """What the current of each neuron is, in units of `drive`: no two are in step."""
        size = max(1, int(np.prod(self.shape)))
        return (1 + 0.07 * np.arange(size)).reshape(self.shape)

    @property
    def padded(self) -> int:
        """Steps of the finest step, which all programs run for."""
        return self.steps * FINER[-1]

    def live(self, finer: int) -> np.ndarray:
        """Which of the `padded` steps belong to the trial at a step of ``dt/finer``."""
        return np.arange(self.padded) < self.steps * finer

    def wave(self, finer: int) -> np.ndarray:
        """The slow part of the current, its mean over every step; the same function of time at any step."""
        edges = np.arange(self.padded + 1) * (2 * np.pi / (self.steps * finer))
        return np.diff(-np.cos(edges)) / np.diff(edges)

    def currents(self, finer: int = 1) -> np.ndarray:
        """Current of every step and neuron, ``(padded, *n)``."""
        wave = (1 + SWING * self.wave(finer)).reshape(-1, *([1] * len(self.shape)))
        return self.drive * wave * self.spread

    def run(self, finer: int = 1) -> Motion:
        """The population at a step of ``dt/finer``, without gate and synapse."""
        live = self.live(finer)
        start = self.neuron.init(self.shape)
        found = _forward(self.neuron, start, jnp.asarray(self.currents(finer)), self.dt / finer, live)
        found = jax.tree.map(np.asarray, found)
        n = self.steps * finer
        return Motion(jax.tree.map(lambda x: x[:n], found[0]), found[1][:n], found[2][:n], found[3])

    def network(self) -> Network:
        """The population with one input, the slow part of the current, and synapses whose activation the loss
        weighs."""
        size, drive = max(1, int(np.prod(self.shape))), jnp.asarray(self.drive * self.spread)
        tau_syn = 20 * self.dt
        layer = Layer(
            Dense((SWING * drive)[..., None], (1,)),
            None,
            drive,
            self.neuron,
            Exponential(jnp.asarray(tau_syn), 1 / tau_syn),
        )
        weight = jnp.linspace(1.0, 2.0, size).reshape(1, 1, *self.shape)
        return Network(
            (layer,), LinearReadout(Dense(weight, ActivationShape((1, *self.shape))), jnp.zeros(1))
        )

    def check(self) -> None:
        """Raise `ValueError` if the step is too long for the neuron."""
        check_step(self.network(), self.gate, self.dt)

    def arguments(self, finer: int = 1) -> tuple[jax.Array, ...]:
        """Stimulus, weights of the loss in time, mask and step of `losses` at a step of ``dt/finer``."""
        live, dt = self.live(finer), self.dt / finer
        phase = 2 * np.pi * (np.arange(self.padded) + 0.5) / (self.steps * finer)
        weight = live * (1 + 0.5 * np.cos(phase)) / (self.steps * finer)
        arrays = self.wave(finer)[:, None], weight, live, dt
        return tuple(map(jnp.asarray, arrays))


@eqx.filter_jit
def _forward(neuron, state, currents, dt, live):
    def step(state, x):
        current, alive = x
        end, path = neuron.travel(state, current, dt)
        kept = jax.tree.map(lambda a, b: jnp.where(alive, a, b), end, state)
        first = jnp.ones_like(path.count) if path.first is None else path.first
        return kept, (state, jnp.where(alive, path.count, 0.0), first)

    last, (states, count, first) = jax.lax.scan(step, state, (currents, live))
    return states, count, first, last


def losses(trial: Setting, adjoint: AbstractAdjoint):
    """What is differentiated, and a compiled function ``(it, *arguments) -> loss, gradient``.

    The loss is linear in the activation, with weights that change slowly in time: it has no jumps, so that
    its gradient has a limit for short steps.
    """
    network, gate = trial.network(), trial.gate
    params, fixed = eqx.partition(network, eqx.is_inexact_array)

    @quick_jit
    def evaluate(params, stimulus, weight, mask, dt):
        def loss(params):
            run = simulate(eqx.combine(params, fixed), stimulus, gate=gate, dt=dt, mask=mask, adjoint=adjoint)
            return weight @ run.readout[:, 0]

        return jax.value_and_grad(loss)(params)

    return params, evaluate


def population(neuron: AbstractNeuron) -> tuple[int, ...]:
    """Three neurons, or as many as its arrays have values for."""
    shapes = [np.shape(x) for x in (neuron.v_init, *neuron.bounds())]
    for one in components(neuron):
        for name, declared in declarations(type(one)).items():
            value = getattr(one, name)
            if declared.trained and value is not None:
                shapes.append(tuple(np.shape(value))[1 if declared.kinds else 0 :])
    return np.broadcast_shapes(*shapes) or (3,)


def sensible_step(neuron: AbstractNeuron) -> float:
    """A twentieth of the shortest time constant, rounded, and at most 0.5 ms."""
    taus = [float(np.min(np.asarray(tau))) for tau in neuron.time_constants().values()]
    return float(NICE[min([0.5, *(tau / 20 for tau in taus)]) * (1 + 1e-6) >= NICE][-1])


def with_drive(trial: Setting) -> Setting:
    """The trial with a current that makes every neuron spike a few times, found by doubling and bisection in
    its logarithm; with the one that makes most spikes where there is none."""

    @functools.cache
    def spikes(exponent: float) -> float:
        count = trial._replace(drive=trial.room * 2.0**exponent).run().count
        return float(count.reshape(len(count), -1).sum(axis=0).min())

    few, many = WANTED
    tried = [float(k) for k in range(LOWEST, HIGHEST + 1)]
    above = next((k for k in tried if spikes(k) >= few), None)
    if above is None:
        best = max(tried, key=spikes)
    else:
        low, best = above - 1, above
        for _ in range(10):
            if few <= spikes(best) <= many:
                break
            middle = 0.5 * (low + best)
            low, best = (low, middle) if spikes(middle) >= few else (middle, best)
    return trial._replace(drive=trial.room * 2.0**best)


def named_leaves(tree: Any) -> dict[str, jax.Array]:
    """The arrays of a tree by the names of their fields."""
    found: dict[str, jax.Array] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = field_name(path)
        while name in found:
            name += "'"
        found[name] = leaf
    return found


__all__ = [
    "FINER",
    "HIGHEST",
    "LOWEST",
    "WANTED",
    "Motion",
    "Setting",
    "losses",
    "named_leaves",
    "population",
    "sensible_step",
    "with_drive",
]
