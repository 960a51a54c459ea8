"""Every adjoint gives the gradient of autodiff: for every neuron, with every addition, release, reset and
synapse that are registered."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from spikejax import (
    Autodiff,
    Checkpointed,
    Costate,
    Gate,
    Layer,
    LinearReadout,
    Network,
    simulate,
)
from spikejax.adjoints import ADJOINTS
from spikejax.gates import RELEASES
from spikejax.neurons import NEURONS, RESETS, WRAPPERS, AbstractResetNeuron
from spikejax.synapses import SYNAPSES

SCALES = {
    # Time step (ms), current that makes it spike a few times in the trial, width of the gate.
    "nif": (1.0, 4.0, 0.4),
    "lif": (1.0, 4.0, 0.4),
    "alif": (1.0, 6.0, 0.4),
    "glif": (1.0, 6.0, 0.4),
    "theta": (1.0, 12.0, 0.8),
    "eif": (0.25, 4000.0, 4.0),
    "adex": (0.25, 4000.0, 4.0),
    "izhikevich": (0.5, 40.0, 20.0),
    "hodgkin_huxley": (0.05, 200.0, 30.0),
}
"""A neuron that is registered has its line here."""
FEWER = {"izhikevich": {"substeps": 1}}
"""Options that make it quick to compile."""
# Nine steps: with the default chunks of three, a checkpointed run has no shorter last one to compile.
STEPS = 9
STIMULUS = jax.random.uniform(jax.random.key(1), (STEPS, 2), minval=0.7, maxval=1.3)
OTHERS = {name: cls() for name, cls in ADJOINTS.items() if cls is not Autodiff} | {
    "checkpointed costate": Checkpointed(inner=Costate())
}


def neuron_of(name: str, reset: str | None = None, wrapper: str | None = None):
    options = FEWER.get(name, {}) | ({} if reset is None else {"reset": reset})
    neuron = NEURONS.make(name, **options)
    return neuron if wrapper is None else WRAPPERS[wrapper](neuron)


def network_of(neuron, synapse: str, current: float) -> Network:
    """A recurrent population with two synaptic time constants, biased to fire."""
    keys = jax.random.split(jax.random.key(0))
    layer = Layer.dense(
        (2,), 3, neuron, SYNAPSES[synapse](tau_syn=(4.0, 9.0)),
        input_scale=0.3 * current, recurrent_scale=0.01 * current, bias=(0.7 * current, current), key=keys[0],
    )  # fmt: skip
    return Network((layer,), LinearReadout.create((2, 3), 1, key=keys[1]))


def agree(name, wrapper, release, reset, synapse, adjoints, relative):
    """The `adjoints` have the value and the gradient of autodiff, which is finite and not 0."""
    dt, current, width = SCALES[name]
    network = network_of(neuron_of(name, reset, wrapper), synapse, current)
    params, fixed = eqx.partition((network, jnp.asarray(width)), eqx.is_inexact_array)

    def run(adjoint):
        def loss(params):
            network, width = eqx.combine(params, fixed)
            gate = Gate("raised_cosine", width, release=release)
            saved = ("activation", "v", "release", "current")
            out = simulate(network, STIMULUS, gate=gate, dt=dt, adjoint=adjoint, save=saved)
            shown = jax.tree.leaves((out.readout, out.counts, out.layers, out.state))
            return sum(jnp.sum(jnp.sin(x)) for x in shown), out.counts

        # A whole simulation stays in one precision: nothing is promoted without saying so.
        with jax.numpy_dtype_promotion("strict"):
            return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

    (expected, counts), gradient = run(Autodiff())
    assert sum(float(c.sum()) for c in counts) >= 1
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(gradient))
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(gradient)) > 0
    for adjoint in adjoints:
        (value, _), found = run(OTHERS[adjoint])
        assert float(value) == pytest.approx(float(expected), rel=1e-12), adjoint
        assert relative(found, gradient) < 1e-9, adjoint


def serves(release: str, neuron) -> bool:
    try:
        RELEASES.make(release).check(neuron)
    except ValueError:
        return False
    return True


def is_reset(name: str) -> bool:
    return issubclass(NEURONS[name], AbstractResetNeuron)


ADDED = [(name, None) for name in NEURONS] + [("lif", wrapper) for wrapper in WRAPPERS]
"""Every neuron, and every addition to one of them."""


# These take longest to compile; the gradients of both are held against differences in tests/core.
SLOW = ("hodgkin_huxley", "adex")


@pytest.mark.parametrize(
    ("name", "wrapper"),
    [pytest.param(*x, marks=pytest.mark.nightly) if x[0] in SLOW else x for x in ADDED],
)
def test_every_adjoint(name, wrapper, relative):
    # Checkpointed runs call the same cell, and compile slowly: those of most neurons are compared at night.
    others = OTHERS if (name, wrapper) == ("lif", None) else ["costate"]
    agree(name, wrapper, "charge", "split" if is_reset(name) else None, "exponential", others, relative)


# The resets and synapses take turns, so that each meets each release.
TURNS = [
    (name, wrapper, release, list(RESETS)[(i + j) % len(RESETS)] if is_reset(name) else None,
     list(SYNAPSES)[(i + j) % len(SYNAPSES)])
    for i, (name, wrapper) in enumerate(ADDED)
    for j, release in enumerate(RELEASES)
    # A hard release has the neuron's part of the surrogate's gradient, and none of its own.
    if release != "charge" and (release != "hard" or name == "lif") and serves(release, neuron_of(name))
]  # fmt: skip


@pytest.mark.parametrize(("name", "wrapper", "release", "reset", "synapse"), TURNS)
def test_every_release(name, wrapper, release, reset, synapse, relative):
    agree(name, wrapper, release, reset, synapse, ["costate"], relative)


EVERY = [
    (name, wrapper, release, reset, synapse)
    for name, release, synapse in itertools.product(NEURONS, RELEASES, SYNAPSES)
    for wrapper, reset in itertools.product(
        [None, *WRAPPERS] if is_reset(name) else [None], RESETS if is_reset(name) else [None]
    )
    # A synapse sees the charge alone, whatever released it: every wrapper meets one of them.
    if serves(release, neuron_of(name)) and (wrapper is None or synapse == "exponential")
]


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "wrapper", "release", "reset", "synapse"), EVERY)
def test_everything_with_everything(name, wrapper, release, reset, synapse, relative):
    agree(name, wrapper, release, reset, synapse, OTHERS, relative)
