"""Every adjoint gives the gradient of autodiff, and that is the derivative of what was simulated: for every
neuron, and for random networks of everything that is registered."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
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
from spikejax.component import declarations
from spikejax.gates import RELEASES
from spikejax.neurons import NEURONS, RESETS, WRAPPERS, AbstractResetNeuron
from spikejax.synapses import SYNAPSES

from ..by_day import by_day


class Scale(NamedTuple):
    """What makes a neuron spike a few times in a trial."""

    dt: float
    current: float
    width: float
    """Of the gate."""
    reversal: tuple[float, float] = (3.0, -0.5)
    """Of excitation and inhibition, for neurons that take conductances, and their strength."""
    conductance: float = 0.3


SCALES = {
    "nif": Scale(1.0, 4.0, 0.4),
    "lif": Scale(1.0, 4.0, 0.4),
    "alif": Scale(1.0, 6.0, 0.4),
    "glif": Scale(1.0, 6.0, 0.4),
    "theta": Scale(1.0, 12.0, 0.8),
    "qif": Scale(1.0, 12.0, 0.8),
    "eif": Scale(0.25, 4000.0, 4.0, (0.0, -80.0), 5.0),
    "adex": Scale(0.25, 4000.0, 4.0, (0.0, -80.0), 5.0),
    "izhikevich": Scale(0.5, 40.0, 20.0, (0.0, -80.0), 0.05),
    "hodgkin_huxley": Scale(0.05, 200.0, 30.0, (0.0, -80.0), 0.1),
    "spike_response": Scale(0.5, 1.5, 0.4),
}
"""A neuron that is registered has its line here."""
SLOW = ("hodgkin_huxley", "adex", "eif", "izhikevich", "theta")
"""These take longest to compile: they are compared at night, and ``theta`` by day in
``tests/core/test_adjoints.py``."""
BY_DAY = [("lif", None), ("qif", None), ("lif", "accommodation")]
"""The others are among the random networks of the day, and compared by themselves at night."""
OTHERS = {name: cls() for name, cls in ADJOINTS.items() if cls is not Autodiff} | {
    "checkpointed costate": Checkpointed(inner=Costate())
}


class Drawn(NamedTuple):
    """A small network, and what it is given."""

    neuron: str
    wrappers: tuple[str, ...] = ()
    release: str = "charge"
    reset: str | None = None
    synapse: str = "exponential"
    reversal: bool = False
    recurrent: bool = True
    masked: bool = False
    handed_over: bool = False
    """Whether it starts from a state that is given."""
    traced_step: bool = False
    """Whether the time step is an argument, which has a derivative."""
    batch: int = 1
    steps: int = 9
    """With the default chunks of three, a checkpointed run of nine has no shorter last one to compile."""
    seed: int = 0


def neuron_of(drawn: Drawn):
    options = {} if drawn.reset is None else {"reset": drawn.reset}
    made = NEURONS.make(drawn.neuron, **options)
    return functools.reduce(lambda inner, name: WRAPPERS[name](inner), drawn.wrappers, made)


def network_of(drawn: Drawn) -> Network:
    """A population with two synaptic time constants, where the synapse has any, biased to fire."""
    scale, keys = SCALES[drawn.neuron], jax.random.split(jax.random.key(drawn.seed))
    strength = {"input_scale": 0.3 * scale.current, "recurrent_scale": 0.01 * scale.current}
    if drawn.reversal:
        strength = {"input_scale": scale.conductance, "recurrent_scale": scale.conductance}
        strength |= {"reversal": scale.reversal} | ({"excitatory": 0.5} if drawn.recurrent else {})
    own = SYNAPSES[drawn.synapse]
    synapse = own(tau_syn=(4.0, 9.0)) if "tau_syn" in declarations(own) else own(rate_unit=0.1)
    layer = Layer.dense(
        (2,), 3, neuron_of(drawn), synapse, recurrent=drawn.recurrent,
        bias=(0.7 * scale.current, scale.current), key=keys[0], **strength,
    )  # fmt: skip
    return Network((layer,), LinearReadout.create(layer.activation_shape, 1, key=keys[1]))


def state_of(network: Network, key):
    """A state in the middle of things."""

    def moved(layer, key):
        keys = jax.random.split(key)
        return layer._replace(
            activation=layer.activation + jax.random.uniform(keys[0], layer.activation.shape, maxval=0.1),
            pending=layer.pending + jax.random.uniform(keys[1], layer.pending.shape, maxval=0.3),
        )

    state = network.init()
    return state._replace(layers=tuple(moved(layer, key) for layer in state.layers))


def problem_of(drawn: Drawn):
    """Everything that a gradient is taken in, and ``run(adjoint)``: a compiled function of it, to the loss,
    counts and voltages, and the gradient."""
    scale, keys = SCALES[drawn.neuron], jax.random.split(jax.random.key(1000 + drawn.seed), 2)
    network = network_of(drawn)
    stimulus = jax.random.uniform(keys[0], (drawn.batch, drawn.steps, 2), minval=0.7, maxval=1.3)
    state = state_of(network, keys[1]) if drawn.handed_over else None
    mask = jnp.arange(drawn.steps) < drawn.steps - 2 if drawn.masked else None
    dt = jnp.asarray(scale.dt) if drawn.traced_step else scale.dt
    everything = (network, jnp.asarray(scale.width), stimulus, state, dt)
    params, fixed = eqx.partition(everything, eqx.is_inexact_array)

    def one(network, width, x, state, dt, adjoint):
        gate = Gate("raised_cosine", width, release=drawn.release)
        saved = ("activation", "v", "release", "current")
        return simulate(network, x, gate=gate, dt=dt, adjoint=adjoint, save=saved, state=state, mask=mask)

    def loss(params, adjoint):
        network, width, stimulus, state, dt = eqx.combine(params, fixed)
        run = lambda x: one(network, width, x, state, dt, adjoint)
        out = jax.vmap(run)(stimulus) if drawn.batch > 1 else run(stimulus[0])
        shown = jax.tree.leaves((out.readout, out.counts, out.layers, out.state))
        return sum(jnp.sum(jnp.sin(x)) for x in shown), (out.counts, out.layers[0].v)

    def run(adjoint):
        evaluate = jax.jit(jax.value_and_grad(lambda params: loss(params, adjoint), has_aux=True))

        def strictly(params):
            # A whole simulation stays in one precision, and nothing grows axes, without saying so.
            with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
                return evaluate(params)

        return strictly

    return params, run


def agree(drawn: Drawn, adjoints, relative) -> tuple[Any, Any]:
    """The `adjoints` have the value and the gradient of autodiff, which is finite and not 0. What was
    differentiated, and autodiff's function of it."""
    params, run = problem_of(drawn)
    autodiff = run(Autodiff())
    (expected, _), gradient = autodiff(params)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(gradient)), drawn
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(gradient) if x.size) > 0, drawn
    for adjoint in adjoints:
        (value, _), found = run(OTHERS[adjoint])(params)
        assert float(value) == pytest.approx(float(expected), rel=1e-12), (adjoint, drawn)
        assert relative(found, gradient) < 1e-10, (adjoint, drawn)
    return params, autodiff


def differences(params, evaluate, drawn: Drawn) -> int:
    """The gradient is that of central differences along random directions; the number of those along which
    the function is smooth: no spike appears or vanishes there, and none comes into another step."""
    (_, (_, v)), gradient = evaluate(params)
    leaves, tree = jax.tree.flatten(params)
    slopes, compared = jax.tree.leaves(gradient), 0
    for key in jax.random.split(jax.random.key(drawn.seed), 3):
        keys = jax.random.split(key, len(leaves))
        # Each number moves in proportion to its size, and those of a small slope more than others, so that
        # every slope counts.
        way = [jax.random.normal(k, x.shape) * (jnp.abs(x) + 0.01) for k, x in zip(keys, leaves, strict=True)]
        own = [float(jnp.abs(g * d).sum()) for g, d in zip(slopes, way, strict=True)]
        factors = [min(sum(own) / x, 30.0) if x else 1.0 for x in own]
        way = [f * d for f, d in zip(factors, way, strict=True)]
        parts = [float(jnp.vdot(g, d)) for g, d in zip(slopes, way, strict=True)]
        size = sum(f * x for f, x in zip(factors, own, strict=True))
        # Small against what turns the sines of the loss.
        e = min(1e-6, 1e-3 / size)
        ends = []
        for step in (e, -e):
            moved = [x + step * d for x, d in zip(leaves, way, strict=True)]
            (value, (_, other)), _ = evaluate(tree.unflatten(moved))
            ends.append(float(value))
            # A spike in another step changes v by about its reset there.
            ends.append(float(jnp.abs(other - v).max()) / float(jnp.ptp(v)))
        high, moved_up, low, moved_down = ends
        if max(moved_up, moved_down) > 0.01:
            continue
        assert abs(sum(parts) - (high - low) / (2 * e)) < 1e-5 * size, (drawn, parts, (high - low) / (2 * e))
        compared += 1
    return compared


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


@pytest.mark.parametrize(("name", "wrapper"), by_day(ADDED, BY_DAY))
def test_every_adjoint(name, wrapper, relative):
    # Checkpointed runs call the same cell, and compile slowly: those of most neurons are compared at night.
    others = OTHERS if (name, wrapper) == ("lif", None) else ["costate"]
    release = "charge" if serves("charge", NEURONS.make(name)) else "graded"
    drawn = Drawn(name, (wrapper,) if wrapper else (), release, reset="split" if is_reset(name) else None)
    params, autodiff = agree(drawn, others, relative)
    assert sum(float(c.sum()) for c in autodiff(params)[0][1][0]) >= 1


def draw(seed: int) -> Drawn:
    """A random network: the neurons take turns, and each meets every release in turn."""
    rng = np.random.default_rng(seed)
    names = list(NEURONS)
    name = names[seed % len(names)]
    reset = is_reset(name)
    some = [(), (), *((w,) for w in WRAPPERS), tuple(WRAPPERS)] if reset else [()]
    wrappers = some[rng.integers(len(some))]
    possible = [r for r in RELEASES if serves(r, NEURONS.make(name))]
    yes = lambda: bool(rng.integers(2))
    return Drawn(
        name,
        wrappers,
        possible[(seed // len(names) + seed) % len(possible)],
        str(rng.choice(list(RESETS))) if reset else None,
        str(rng.choice(list(SYNAPSES))),
        reversal=NEURONS[name].conductances and yes(),
        recurrent=yes() or yes(),
        masked=yes(),
        handed_over=yes(),
        traced_step=yes(),
        batch=1 + int(yes()),
        steps=int(rng.integers(6, 10)),
        seed=seed,
    )


def compare(seed: int, adjoints, relative) -> None:
    """What the network of a seed owes; a message of a failure holds the network and so the seed."""
    drawn = draw(seed)
    params, autodiff = agree(drawn, adjoints, relative)
    # A surrogate derivative is not that of the function.
    if RELEASES[drawn.release].exact:
        assert differences(params, autodiff, drawn) > 0, drawn


DAILY = (5, 10, 11, 12, 17)
"""Quick to compile, and together of the neurons that are not compared by themselves by day."""


def test_every_neuron_is_compared_by_day():
    by_themselves = {name for name, _ in BY_DAY}
    assert by_themselves | {*SLOW, *(draw(seed).neuron for seed in DAILY)} == {*NEURONS}


@pytest.mark.parametrize("seed", DAILY)
def test_random_networks(seed, relative):
    # Checkpointed runs call the same loops, and take as long to compile again: one of the two each.
    compare(
        seed, ["costate", ["checkpointed", "checkpointed costate"][seed % 2]][: 1 + (seed % 3 == 0)], relative
    )


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(200))
def test_many_random_networks(seed, relative):
    compare(seed, OTHERS, relative)
