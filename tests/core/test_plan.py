"""How a trial is cut into chunks: the plan, and that no gradient depends on it."""

import jax
import jax.numpy as jnp
import pytest

from spikejax import (
    LIF,
    Autodiff,
    Checkpointed,
    Costate,
    Events,
    Exponential,
    Gate,
    LeakyReadout,
    Network,
    explain_plan,
    simulate,
)
from spikejax.adjoints.chunks import over_chunks, side_by_side
from spikejax.adjoints.plan import CACHE, KEPT, LONG, SERIES, Work, plan_of
from spikejax.cell import Cell

from ..by_day import by_day

STEPS = 11
KEYS = jax.random.split(jax.random.key(3), 3)
STIMULI = jax.random.uniform(KEYS[0], (2, STEPS, 3), maxval=3.0)
EVENTS = Events(
    jnp.arange(STEPS), jnp.arange(STEPS) % 3, jnp.full(STEPS, 4.0), steps=STEPS, channels=3, ordered=True
)


def network():
    made = Network.dense(
        3, (4, 4), 2, neuron=LIF(), synapse=Exponential((3.0, 8.0), 0.1), key=KEYS[1], recurrent_scale=0.5,
        bias=(0.8, 1.4),
    )  # fmt: skip
    readout = LeakyReadout.create(made.layers[-1].activation_shape, 2, key=KEYS[2])
    return Network(made.layers, readout)


def loss(network, stimulus, adjoint, mask=None):
    out = simulate(
        network, stimulus, gate=Gate(width=0.4), dt=0.5, adjoint=adjoint, mask=mask,
        save=("activation", "v", "current", "release"),
    )  # fmt: skip
    shown = jax.tree.leaves((out.readout, out.counts, out.layers, out.state))
    return sum(jnp.sum(jnp.sin(x)) for x in shown)


@pytest.mark.parametrize("masked", by_day([False, True], [True]))
# With and without a shorter last chunk.
@pytest.mark.parametrize("chunk", by_day([4, STEPS], [4]))
def test_no_gradient_depends_on_the_chunks(masked, chunk, relative):
    mask = jnp.arange(STEPS) < 8 if masked else None

    def gradient(adjoint):
        def total(network, x):
            return jnp.sum(jax.vmap(lambda x: loss(network, x, adjoint, mask))(x))

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(network(), STIMULI)

    expected = gradient(Autodiff())
    assert relative(gradient(Costate(chunk=chunk)), expected) < 1e-12


@pytest.mark.nightly
def test_chunks_of_events(relative):
    gradient = lambda adjoint: jax.jit(jax.value_and_grad(loss), static_argnums=2)(network(), EVENTS, adjoint)
    assert relative(gradient(Costate(chunk=3)), gradient(Autodiff())) < 1e-12


def _advance(carry, x):
    x, y, _ = x

    def step(c, x):
        c = jnp.sin(c + x[0] * jnp.linspace(0.3, 1, 4) + x[1])
        return c, c

    return jax.lax.scan(step, carry, (x, y))


def _total(carry, x, y, chunk):
    xs = (x, y, jnp.arange(len(x)) < 4)
    carry, ys = over_chunks(_advance, carry, xs, chunk) if chunk else _advance(carry, xs)
    return jnp.sum(ys**2) + carry.sum()


@pytest.mark.parametrize("chunk", by_day([5, 23], [23]))
def test_a_window_has_every_derivative(chunk, relative):
    keys = jax.random.split(jax.random.key(0), 3)
    carry, x = jax.random.normal(keys[0], (3, 4)), jax.random.normal(keys[1], (3, 23, 4))
    y = jax.random.normal(keys[2], (23, 4))
    batch = lambda chunk: lambda c, x, y: jnp.sum(jax.vmap(lambda c, x: _total(c, x, y, chunk))(c, x))
    one = lambda chunk: lambda x: _total(carry[0], x, y, chunk)

    def every(chunk):
        whole = jax.grad(batch(chunk), argnums=(0, 1, 2))(carry, x, y)
        each = jax.vmap(jax.grad(lambda c, x: _total(c, x, y, chunk), argnums=(0, 1)))(carry, x)
        return whole, each, jax.jvp(one(chunk), (x[0],), (x[1],)), jax.hessian(one(chunk))(x[0])

    assert relative(every(chunk), every(None)) < 1e-12


def test_trials_side_by_side_are_counted():
    seen = []

    def look(x):
        seen.append(side_by_side((x, jnp.ones(3))))
        return x.sum()

    look(jnp.ones(2))
    jax.vmap(jax.vmap(look))(jnp.ones((3, 4, 2)))
    jax.vmap(jax.grad(look))(jnp.ones((5, 2)))
    assert seen == [1, 12, 5]


def test_the_series_of_a_chunk_fit_in_the_cache():
    small = Work(steps=100, batch=1, given=3, moving=20, itemsize=4)
    assert plan_of(small, platform="cpu").chunks == 1
    wide = Work(steps=100, batch=128, given=700, moving=1000, itemsize=4)
    plan = plan_of(wide, platform="cpu")
    a_step = wide.batch * wide.itemsize * (wide.given + SERIES * wide.moving)
    assert 100 % plan.chunk == 0
    assert plan.chunk == 4 or plan.chunk * a_step <= CACHE
    assert plan.keep_products
    long = wide._replace(steps=1 + SERIES * KEPT // (wide.kept // wide.steps))
    assert not plan_of(long, platform="cpu").keep_products
    assert plan_of(wide, platform="gpu").chunks == 1
    assert plan_of(wide, chunk=30, platform="gpu").chunks == 4
    assert plan_of(wide, chunk=1000, platform="cpu").chunks == 1


def test_a_long_step_is_not_computed_twice():
    work = Work(steps=100, batch=128, given=100, moving=1000, itemsize=4)
    made = network()
    carries = made.init().layers

    def operations(gate, neuron):
        layer = made.layers[0]
        cell = Cell(neuron, layer.synapse, gate, 0.5)
        return lambda: cell.operations(cell.start(carries[0]))

    short = operations(Gate("fast_sigmoid", release="surrogate"), LIF(reset="subtract"))
    assert short() < LONG < operations(Gate(), LIF())()
    assert plan_of(work, None, short, "cpu").chunks > 1
    assert plan_of(work, None, operations(Gate(), LIF()), "cpu").chunks == 1
    # Unless its series need much of the memory.
    huge = work._replace(steps=1000)
    assert plan_of(huge, None, operations(Gate(), LIF()), "cpu").chunks > 1


def test_what_is_planned_is_said():
    said = explain_plan(network(), STIMULI[0], gate=Gate(width=0.4), dt=0.5, batch=100_000)
    assert said.startswith("100000 x 11 steps")
    assert "run again on the way back" in said
    asked = explain_plan(network(), EVENTS, gate=Gate(width=0.4), dt=0.5, adjoint=Costate(chunk=6))
    assert "2 chunks of 6 steps" in asked
    assert "in one go" in explain_plan(
        network(), STIMULI[0], gate=Gate(width=0.4), dt=0.5, adjoint=Autodiff()
    )


def test_checkpointed_says_the_square_root():
    carry, xs = jnp.zeros(3), jnp.zeros((90, 2))
    assert Checkpointed().plan(carry, xs).chunk == 10
    assert Checkpointed(7).plan(carry, xs).chunk == 7
