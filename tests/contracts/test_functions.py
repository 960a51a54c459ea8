"""What every loss, penalty, connection, readout, synapse and gate kernel owes as a function: compiled it is
what it is step by step, batched it is a loop, and its derivatives are finite."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import LIF, ClockDriven, Exponential, Gate, Network
from spikejax.connections import CONNECTIONS
from spikejax.kernels import KERNELS
from spikejax.losses import LOSSES
from spikejax.penalties import PENALTIES
from spikejax.readouts import READOUTS
from spikejax.synapses import SYNAPSES
from spikejax.tasks import Trial
from spikejax.tasks.delayed_xor import Response

from ..by_day import by_day
from ..core.every_connection import drawn


@pytest.fixture(autouse=True)
def strictly():
    """Nothing promotes axes or types without saying so."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


KEY = jax.random.key(0)
STEPS, DT = 12, 0.5
ALL_SERIES = ("activation", "v", "release", "current")


def lawful(function, component, batch, relative):
    """Contracts of ``function(component, x)``; `batch` has two x with a leading axis."""
    singles = [jax.tree.map(lambda x, i=i: x[i], batch) for i in range(2)]
    compiled = jax.jit(function)
    found = [compiled(component, x) for x in singles]
    assert relative(found[0], function(component, singles[0])) < 1e-12
    together = jax.jit(jax.vmap(function, in_axes=(None, 0)))(component, batch)
    assert relative(together, jax.tree.map(lambda *x: jnp.stack(x), *found)) < 1e-12
    # And several components side by side.
    both = jax.tree.map(lambda x: jnp.stack([x, x]) if eqx.is_array(x) else x, component)
    assert relative(jax.jit(jax.vmap(function))(both, batch), together) < 1e-12

    def total(floats, others):
        out = function(*eqx.combine(floats, others))
        return sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(out) if eqx.is_inexact_array(x))

    floats, others = eqx.partition((component, singles[0]), eqx.is_inexact_array)
    gradient = jax.jit(lambda f: jax.grad(total)(f, others))(floats)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(gradient))
    assert any(float(jnp.abs(x).max()) > 0 for x in jax.tree.leaves(gradient))


TARGETS = {
    "class": jnp.array([1, 2]),
    "signal": jax.random.normal(KEY, (2, STEPS, 3)),
    "spikes": jax.random.bernoulli(KEY, 0.2, (2, STEPS, 3)).astype(float),
    "response": Response(
        *(jax.random.uniform(KEY, (2, *shape)) for shape in ((STEPS, 1), (STEPS,), (STEPS,)))
    ),
    "times": jax.random.uniform(KEY, (2, 2, 3), maxval=STEPS * DT).at[0, 1, 2].set(jnp.inf),
}
"""By kind of target, for two trials: a kind that a loss asks for has its line here."""


@pytest.fixture(scope="module")
def trials():
    mask = jnp.arange(STEPS) < jnp.array([[STEPS], [8]])
    return Trial(jax.random.uniform(KEY, (2, STEPS, 2)), None, mask, jnp.array([1, 2]))


@pytest.fixture(scope="module")
def solutions(trials):
    """Of both trials."""
    network = Network.dense(
        2,
        (3,),
        3,
        neuron=LIF(tau_mem=5.0),
        synapse=Exponential((2.0, 6.0)),
        key=KEY,
        bias=(1.2, 1.6),
        recurrent_scale=0.5,
    )
    run = ClockDriven(Gate(), DT)
    found = jax.jit(jax.vmap(lambda x, m: run(network, x, mask=m, save=ALL_SERIES)))(
        trials.stimulus, trials.mask
    )
    # In order, some after the end of the trial, and some that are none.
    times = jnp.sort(jax.random.uniform(KEY, (2, 4, 3), maxval=1.5 * STEPS * DT), axis=1)
    return found._replace(spikes=(times.at[0, 3].set(jnp.inf).at[1, 2:, 0].set(jnp.inf),))


EVERY_LOSS = [(name, {}, target) for name, loss in LOSSES.items() for target in sorted(loss.targets)]
EVERY_LOSS += [(name, {"weight": 1.0}, "signal") for name in PENALTIES]


@pytest.mark.parametrize(("name", "given", "target"), EVERY_LOSS)
@pytest.mark.parametrize("masked", by_day([True, False], [True]))
def test_losses(name, given, target, masked, trials, solutions, relative):
    loss = (PENALTIES if given else LOSSES).make(name, **given)
    trials = trials._replace(target=TARGETS[target], mask=trials.mask if masked else None)
    # A rate is in Hz: small enough for the sine that `lawful` takes.
    scale = 1e-4 if given else 1.0

    def function(loss, x):
        value, scalars = loss(*x)
        return scale * value, scalars

    lawful(function, loss, (solutions, trials), relative)


def made_of(cls, *shapes):
    return cls.create(*shapes, key=KEY)


@pytest.mark.parametrize(
    "name", by_day(CONNECTIONS, ["dense", "sparse", "filtered", "delayed_synapses", "unpool"])
)
def test_connections(name, relative):
    made = drawn(name, (2, 3), (4,))
    x = jax.random.normal(KEY, (2, 5, 2, 3))
    lawful(lambda c, x: c.at(DT).over_time(x), made, x, relative)
    lawful(lambda c, x: (lambda bound: bound.step(x[3], bound.init(x.dtype)))(c.at(DT)), made, x, relative)


@pytest.mark.parametrize("name", READOUTS)
def test_readouts(name, relative):
    made = made_of(READOUTS[name], (2, 3), 3)
    x = jax.random.normal(KEY, (2, STEPS, 2, 3))
    run = lambda r, x, mask=None, state=None: r(r.init() if state is None else state, x, mask, DT)
    lawful(run, made, x, relative)
    # In two stretches, and of a trial that ends before the stretch does.
    state, whole = run(made, x[0])
    middle, first = run(made, x[0, :5])
    end, second = run(made, x[0, 5:], state=middle)
    assert whole.shape == (STEPS, 3)
    assert relative((end, jnp.concatenate([first, second])), (state, whole)) < 1e-12
    still, shown = run(made, x[0], mask=jnp.arange(STEPS) < 5)
    assert relative((still, shown[:5]), (middle, first)) < 1e-12


@pytest.mark.parametrize("name", SYNAPSES)
def test_synapses(name, relative):
    made = SYNAPSES.make(name)
    start = (made.init((3,)) + 0.3, made.init_hidden((3,)))
    x = jax.tree.map(lambda s: jnp.stack([s, 0.5 * s]), (start, jnp.array([0.0, 0.7, 1.0])))
    lawful(lambda s, x: s.step(x[0][0], x[1], DT, x[0][1]), made, x, relative)
    # A steady rate of `rate_unit` is an activation of 1, and a spike has the area 1/rate_unit; samples of a
    # kernel have it to second order in the step.
    bound = {"sampled_alpha": 1e-3}.get(name, 1e-6)
    state, area = (made.init((1,)), made.init_hidden((1,))), 0.0
    step = jax.jit(lambda state, q: made.step(state[0], q, DT, state[1]))
    for t in range(800):
        state = step(state, jnp.full(1, float(t == 0)))
        area += float(state[0][0, 0]) * DT
    assert area == pytest.approx(1 / made.rate_unit, rel=bound)
    for _ in range(800):
        state = step(state, jnp.full(1, made.rate_unit * DT))
    np.testing.assert_allclose(state[0], 1.0, rtol=bound)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels(name, relative):
    x = jnp.stack([jnp.linspace(-1.5, 1.5, 13), jnp.linspace(-0.9, 0.8, 13)]) + 0.01
    both = lambda kernel, x: (kernel.density(x), kernel.cumulative(x))
    lawful(both, KERNELS.make(name), x, relative)
    gate = lambda g, x: (g.density(0.3 * x), g.cumulative(0.3 * x))
    release = "charge" if KERNELS[name].compact else "surrogate"
    lawful(gate, Gate(name, 0.4, 1.5, release=release), x, relative)
