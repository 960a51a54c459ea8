"""What every connection owes: linearity, time, memory, and the same gradient by every adjoint."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import LIF, Autodiff, Checkpointed, Costate, Events, Exponential, Gate, Layer, Network, simulate
from spikejax.connections import (
    ActivationShape,
    Dense,
    Ports,
    fan_in,
)
from spikejax.parameters import resolve
from spikejax.readouts import LinearReadout

from ..by_day import by_day
from .every_connection import DT, EVERY, Echo, make

KEY = jax.random.key(0)
GATE = Gate("raised_cosine", 0.4)


def remembering(connection, key=KEY):
    """A memory with something in it."""
    return jax.tree.map(lambda m: jax.random.normal(key, m.shape), connection.init(jnp.zeros(()).dtype))


@pytest.mark.parametrize("name", EVERY)
def test_linear_in_input_and_memory(name, relative):
    connection = make(name, (2, 3), (4,))
    x = jax.random.normal(KEY, (7, 2, 3))
    memory = remembering(connection)
    none = jax.tree.map(jnp.zeros_like, memory)
    run = connection.over_time
    add = lambda a, b: jax.tree.map(jnp.add, a, b)
    assert relative(add(run(x, memory), run(2 * x, none)), run(3 * x, memory)) < 1e-13
    assert relative(run(x, none), run(x)) < 1e-13


@pytest.mark.parametrize("name", EVERY)
def test_over_time_is_step_by_step(name, relative):
    connection = make(name, (2, 3), (4,))
    x, start = jax.random.normal(KEY, (7, 2, 3)), remembering(connection)
    memory, expected, memories = start, [], []
    for now in x:
        y, memory = connection.step(now, memory)
        expected.append(y)
        memories.append(memory)
    expected = jnp.stack(expected)
    out, after = connection.over_time(x, start)
    assert relative((out, after), (expected, memory)) < 1e-13
    # In two stretches, the second of which remembers the first.
    first, middle = connection.over_time(x[:4], start)
    assert relative(jnp.concatenate([first, connection.over_time(x[4:], middle)[0]]), expected) < 1e-13
    # A trial that is over remembers its own end.
    out, end = connection.over_time(x, start, jnp.arange(7) < 5)
    assert relative((out[:5], end), (expected[:5], memories[4])) < 1e-13


@pytest.mark.parametrize("name", by_day(EVERY, ["dense", "sparse", "convolution", "delayed"]))
def test_events_are_the_array_that_they_stand_for(name, relative):
    connection = make(name, (2, 3), (4,))
    events = Events(
        [0, 3, 3, 3, 6, 0], [1, 0, 0, 5, 4, 2], [1.0, 2.0, 0.5, -1.0, 3.0, 0.0], steps=7, channels=(2, 3)
    )
    run = lambda c, e: c.over_time(e)[0]
    assert relative(run(connection, events), run(connection, events.dense())) < 1e-13
    square = lambda c, e: jnp.sum(run(c, e) ** 2)
    gradient = eqx.filter_grad(square)
    assert relative(gradient(connection, events), gradient(connection, events.dense())) < 1e-13
    by_value = jax.grad(lambda v: square(connection, eqx.tree_at(lambda e: e.value, events, v)))(events.value)
    by_array = jax.grad(lambda x: square(connection, x))(events.dense())
    np.testing.assert_allclose(by_value, by_array.reshape(7, -1)[events.step, events.channel], rtol=1e-12)


@pytest.mark.parametrize("name", [*EVERY, "ports"])
def test_events_are_never_a_whole_array(name, monkeypatch):
    """At most a chunk of two steps at a time is one, forward and back."""
    connection = (
        Ports((None, make("convolution", (2, 3), (4,)))) if name == "ports" else make(name, (2, 3), (4,))
    )
    monkeypatch.setattr("spikejax.connections.base.CELLS", 12)
    step = jnp.arange(0, 41, 4)
    events = Events(step, step % 6, steps=41, channels=(2, 3), path="loop")
    arrays, others = eqx.partition(connection, eqx.is_inexact_array)
    run = lambda arrays, e: jnp.sum(eqx.combine(arrays, others).over_time(e)[0] ** 2)
    wholes = ("[41,2,3]", "[41,6]", "[1,41,6]", "[41,1,2,3]")
    program = lambda x: str(jax.make_jaxpr(jax.value_and_grad(run))(arrays, x))
    assert any(whole in program(events.dense()) for whole in wholes)
    assert not any(whole in program(events) for whole in wholes)


def echoing(recurrent=True, depth=2):
    keys = jax.random.split(jax.random.key(3), 5)
    layers, shape = [], (3,)
    for i in range(depth):
        create = lambda *shapes, key: Echo.create(*shapes, key=key, scale=0.5)
        layers.append(
            Layer.create(
                shape, 4, LIF(), Exponential((3.0, 8.0)), feedforward=create,
                recurrent=create if recurrent else None, bias=(0.9, 1.4), key=keys[i],
            )
        )  # fmt: skip
        shape = layers[-1].activation_shape
    return Network(tuple(layers), LinearReadout.create(shape, 2, key=keys[4]))


STIMULUS = jax.random.uniform(jax.random.key(5), (30, 3))


def loss(network, x, adjoint, mask=None):
    out = simulate(network, x, gate=GATE, dt=DT, adjoint=adjoint, mask=mask, save="v")
    return jnp.mean(out.readout[:20] ** 2) + sum(jnp.sum(c**2) for c in out.counts)


@pytest.mark.nightly
@pytest.mark.parametrize("masked", [True, False])
def test_a_memory_under_every_adjoint(masked, relative):
    network = echoing()
    mask = jnp.arange(30) < 21 if masked else None
    grads = [
        jax.jit(jax.grad(lambda n, a=adjoint: loss(n, STIMULUS, a, mask)))(network)
        for adjoint in (Autodiff(), Costate(), Checkpointed(7), Checkpointed(7, inner=Costate()))
    ]
    for grad in grads[1:]:
        assert relative(grad, grads[0]) < 1e-11


@pytest.mark.parametrize(
    ("depth", "masked"),
    [(1, True), *(pytest.param(2, masked, marks=pytest.mark.nightly) for masked in (True, False))],
)
def test_a_memory_under_a_damped_costate(depth, masked, relative):
    network = echoing(depth=depth)
    mask = jnp.arange(30) < 21 if masked else None
    gradient = lambda adjoint: jax.jit(jax.grad(lambda n: loss(n, STIMULUS, adjoint, mask)))(network)
    one, other = (made(damping=0.1, clip=0.5) for made in (Autodiff, Costate))
    found, expected = gradient(one), gradient(other)
    assert relative(found, expected) < 1e-9  # clipping divides by norms that rounding moves
    assert relative(found, gradient(Costate())) > 1e-2


def test_a_memory_against_differences():
    network = echoing()
    both = jax.jit(jax.value_and_grad(lambda n: loss(n, STIMULUS, Costate())))
    run, grad = lambda n: both(n)[0], both(network)[1]
    for where in (lambda n: n.layers[0].recurrent.weight, lambda n: n.layers[1].feedforward.weight):
        index = jnp.argmax(jnp.abs(where(grad)).reshape(-1))
        moved = lambda e: eqx.tree_at(
            where, network, where(network).reshape(-1).at[index].add(e).reshape(where(network).shape)
        )
        differences = [float(run(moved(e)) - run(moved(-e))) / (2 * e) for e in (1e-7, 1e-8, 1e-9)]
        found = float(where(grad).reshape(-1)[index])
        assert min(abs(found - difference) for difference in differences) < 1e-5 * abs(found)


def test_a_recording_goes_on_where_it_was_cut(relative):
    network = echoing()
    run = lambda x, state=None: simulate(network, x, gate=GATE, dt=DT, state=state)
    whole, first = run(STIMULUS), run(STIMULUS[:11])
    second = run(STIMULUS[11:], first.state)
    assert relative(jnp.concatenate([first.readout, second.readout]), whole.readout) < 1e-12
    assert relative(second.state, whole.state) < 1e-12


def test_a_padded_trial_remembers_its_own_end(relative):
    network, short = echoing(), 19
    padded, mask = STIMULUS.at[short:].set(37.0), jnp.arange(30) < short
    long = simulate(network, padded, gate=GATE, dt=DT, mask=mask)
    assert relative(long.state, simulate(network, STIMULUS[:short], gate=GATE, dt=DT).state) < 1e-12


def test_events_through_a_network(relative):
    network = Network.dense(
        3, (5,), 2, neuron=LIF(), synapse=Exponential(5.0), key=KEY, bias=(0.8, 1.2), recurrent_scale=0.5
    )
    events = Events([2, 2, 9, 20], [0, 2, 1, 1], steps=25, channels=3)
    run = lambda n, x: jnp.sum(simulate(n, x, gate=GATE, dt=DT).readout ** 2)
    a, b = (jax.jit(jax.value_and_grad(run))(network, x) for x in (events, events.dense()))
    assert relative(a, b) < 1e-12
    # A batch: lists filled up with events of value 0.
    more = Events([[2, 9], [4, 0]], [[0, 1], [2, 0]], [[1.0, 1.0], [1.0, 0.0]], steps=25, channels=3)
    assert more.shape == (2, 25, 3)
    assert len(more) == 2
    dense = jax.vmap(lambda e: e.dense())(more)
    assert relative(jax.vmap(run, (None, 0))(network, more), jax.vmap(run, (None, 0))(network, dense)) < 1e-12


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (([0, 7], [0, 1]), r"`step` goes from 0 to 7, but must lie in 0 to 6"),
        (([0, 1], [0, 3]), r"`channel` goes from 0 to 3, but must lie in 0 to 2"),
        (([-1, 1], [0, 1]), r"`step` goes from -1 to 1"),
        (([0, 1], [0]), "the lists differ in shape"),
        (([0, 1], [0, 1], [1.0, float("nan")]), "not finite"),
    ],
)
def test_events_that_cannot_be(given, match):
    with pytest.raises(ValueError, match=match):
        Events(*given, steps=7, channels=3)


def test_bias_broadcasts(relative):
    network = Network.dense(
        3, (4,), 2, neuron=LIF(), synapse=Exponential(5.0), key=KEY, bias=(0.0, 0.0), recurrent_scale=0.5
    )
    with_bias = lambda b: eqx.tree_at(lambda n: n.layers[0].bias, network, b)
    run = lambda n: simulate(n, STIMULUS, gate=GATE, dt=DT).readout
    assert relative(run(with_bias(jnp.array([1.2]))), run(with_bias(jnp.full(4, 1.2)))) < 1e-13
    layer = network.layers[0]
    with pytest.raises(ValueError, match=r"`bias` has shape \(3,\), the layer's neurons \(4,\)"):
        Layer(layer.feedforward, layer.recurrent, jnp.zeros(3), layer.neuron, layer.synapse)


def test_ports_of_connections_with_memories(relative):
    echo, dense = make("echo", (2, 3), (4,)), make("dense", (2, 3), (4,))
    ports, x = Ports((None, echo, dense)), jax.random.normal(KEY, (7, 2, 3))
    memory = remembering(ports)
    out, after = ports.over_time(x, memory)
    apart = echo.over_time(x, memory[1])
    assert relative((out[:, 1], after[1]), apart) < 1e-13
    assert relative(out[:, 2], dense.over_time(x)[0]) < 1e-13
    assert not np.any(out[:, 0])
    stepped, _ = ports.step(x[0], memory)
    assert relative(stepped, out[0]) < 1e-13


def test_options_of_the_dense_connection():
    made = Dense.create((2, 6), (6,), key=KEY, density=0.5, autapses=False)
    absent = np.asarray(made.weight.value == 0)
    assert np.array_equal(absent[:, 0], absent[:, 1])
    assert absent[np.arange(6), 0, np.arange(6)].all()
    norms = jnp.linalg.norm(Dense.create((5,), (3,), key=KEY, norm=2.0).matrix, axis=1)
    np.testing.assert_allclose(norms, 2.0, rtol=1e-12)
    with pytest.raises(ValueError, match="`density` is 1.5"):
        Dense.create((6,), (6,), key=KEY, density=1.5)
    with pytest.raises(ValueError, match="2 scales of weights, but the first axis"):
        Dense.create((3,), (6,), key=KEY, scale=(1.0, 2.0))
    with pytest.raises(ValueError, match="does not end in the shape of the input"):
        Dense(jnp.zeros((3, 4)), in_shape=(5,))


def test_fan_in_counts_every_input():
    """The current of a stimulus of ones has the standard deviation `scale`, whatever the stimulus's axes; of
    an activation every synaptic time constant has."""
    for shape in ((784,), (28, 28), (4, 14, 14)):
        made = Dense.normal(shape, (3000,), 1.5, key=KEY)
        assert fan_in(shape) == 784
        assert float(made(jnp.ones(shape)).std()) == pytest.approx(1.5, rel=0.05)
    for shape in ((2, 30), (2, 5, 6)):
        of_neurons = ActivationShape(shape)
        assert of_neurons == shape
        assert fan_in(of_neurons) == 30
        made = Dense.normal(of_neurons, (3000,), (1.0, 2.0), key=KEY)
        for kind, scale in enumerate((1.0, 2.0)):
            current = made(jnp.zeros(shape).at[kind].set(1.0))
            assert float(current.std()) == pytest.approx(scale, rel=0.05)


def test_layers_say_what_their_axes_are():
    """Weights of a stack of layers, their recurrence and the readout go by the number of neurons."""
    keys, neuron, synapse = jax.random.split(KEY, 3), LIF(), Exponential((3.0, 8.0))
    first = Layer.create((20, 20), (8, 5), neuron, synapse, key=keys[0])
    second = Layer.create(first.activation_shape, 60, neuron, synapse, key=keys[1])
    readout = LinearReadout.create(second.activation_shape, 50, key=keys[2])
    sizes = {400: first.feedforward, 40: second.feedforward, 60: readout.connection}
    for size, connection in sizes.items():
        assert float(connection.weight.std()) * size**0.5 == pytest.approx(1.0, rel=0.06)
    assert float(first.recurrent.weight.std()) * 40**0.5 == pytest.approx(0.1, rel=0.06)
    same = LinearReadout.create((2, 60), 50, key=keys[2])
    np.testing.assert_array_equal(readout.connection.weight, same.connection.weight)
    # What a synapse's absence goes by, too.
    sparse = Dense.create((20, 20), (8,), key=KEY, density=0.5)
    there = np.asarray(resolve(sparse.weight) != 0)
    assert 0.4 < there.mean() < 0.6
    assert there.any(axis=1).mean() > 0.9
    assert not np.array_equal(there[:, 0], there[:, 1])
    kinds = Dense.create(ActivationShape((2, 20)), (8,), key=KEY, density=0.5)
    there = np.asarray(resolve(kinds.weight) != 0)
    assert np.array_equal(there[:, 0], there[:, 1])
