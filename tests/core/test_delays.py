"""Delays: their values against a plain loop, their gradients against differences and between all adjoints."""

import warnings
from functools import cache, partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import (
    LIF,
    Autodiff,
    Checkpointed,
    Costate,
    Events,
    Exponential,
    Gate,
    Layer,
    Network,
    simulate,
    trainable,
)
from spikejax.connections import ActivationShape, Delayed, DelayedSynapses, Dense
from spikejax.connections.shift import shifted
from spikejax.network import Skip
from spikejax.parameters import Within, resolve
from spikejax.readouts import LinearReadout

from ..by_day import by_day

KEY, DT = jax.random.key(0), 0.5
GATE = Gate("raised_cosine", 0.4)
KINDS = ("axon", "lines", "synapse")


def create(per, in_shape, out_shape, *, key=KEY, longest=3.2, shortest=0.0, initial=None, **more):
    kind = DelayedSynapses if per == "synapse" else Delayed
    if per == "lines":
        more["lines"] = 3
    initial = (shortest, longest) if initial is None else initial
    return kind.create(
        in_shape, out_shape, key=key, longest=longest, shortest=shortest, initial=initial, **more
    )


def by_loop(connection, x, past, dt, passed=0.0):
    """Output at every step, synapse by synapse; `past` are the inputs before, as many as are needed."""
    seen = np.concatenate([past, x])
    delay, out = resolve(connection.delay), connection.out_shape
    if isinstance(connection, DelayedSynapses):
        weight = np.asarray(connection.weight)[..., None] * np.ones(1)
        delay = np.broadcast_to(delay, connection.weight.shape)[..., None]
        wide = seen[:, None]
    else:
        weight = np.asarray(resolve(connection.connection.weight))
        wide = np.broadcast_to(delay, weight.shape[1:])
        delay = np.broadcast_to(wide, weight.shape)
        wide = (
            np.broadcast_to(seen[:, None], (len(seen), *weight.shape[1:]))
            if weight.ndim > 1 + x.ndim - 1
            else seen
        )
    weight, delay = weight.reshape(*out, -1), delay.reshape(*out, -1)
    wide = wide.reshape(len(seen), -1)
    result = np.zeros((len(x), *out))
    for t in range(len(x)):
        for i in np.ndindex(*out):
            for j in range(weight.shape[-1]):
                lag = (delay[(*i, j)] - passed) / dt
                k = int(np.floor(lag))
                f = lag - k
                now = len(past) + t
                late = (1 - f) * wide[now - k, j] + (f * wide[now - k - 1, j] if f else 0.0)
                result[(t, *i)] += weight[(*i, j)] * late
    return result


@pytest.mark.parametrize("per", KINDS)
@pytest.mark.parametrize("neurons", [True, False])
def test_values_are_those_of_a_loop(per, neurons, relative):
    in_shape = ActivationShape((2, 3)) if neurons else (2, 3)
    connection = create(per, in_shape, (4,))
    bound = connection.at(DT)
    memory = jax.tree.map(lambda m: jax.random.normal(KEY, m.shape), bound.init(float))
    past = jax.tree.leaves(memory)[0]
    assert past.shape == (7, 2, 3)  # 3.2 ms in steps of .5
    x = jax.random.normal(jax.random.key(1), (12, 2, 3))
    if neurons:
        # A synapse has one delay for all its time constants.
        assert {"axon": (3,), "lines": (3, 1, 1), "synapse": (4, 1, 3)}[per] == connection.delay.shape
    assert relative(bound.over_time(x, memory)[0], by_loop(connection, x, past, DT)) < 1e-13


@pytest.mark.parametrize("delay", [0.0, 1.0, 1.3, 3.0])
@pytest.mark.parametrize("interpolation", ["linear", "truncated"])
def test_whole_steps_and_the_ends_of_the_range(delay, interpolation):
    """At a whole number of steps both are a shift; the derivative there is that of a longer delay, or at the
    end of the range of a shorter one."""
    inner = Dense(jnp.eye(1), (1,))
    late = lambda d: Delayed(inner, (1,), delay=d, longest=3.0, interpolation=interpolation).at(DT)
    x = jax.random.normal(KEY, (20, 1))
    whole, part = divmod(delay / DT, 1)
    whole, part = int(whole), part if interpolation == "linear" else 0.0
    at = lambda k: np.concatenate([np.zeros(k), x[: 20 - k, 0]]) if k else np.asarray(x[:, 0])
    expected = (1 - part) * at(whole) + part * at(whole + 1)
    run = lambda d: late(d).over_time(x)[0][:, 0]
    np.testing.assert_allclose(run(jnp.array([delay])), expected, atol=1e-14)
    _, slope = jax.jvp(run, (jnp.array([delay]),), (jnp.ones(1),))
    if delay == 3.0:
        whole -= 1
    np.testing.assert_allclose(slope, (at(whole + 1) - at(whole)) / DT, atol=1e-13)


@cache
def layered(per, *, recurrent=True, skips=False, interpolation="linear"):
    keys = jax.random.split(jax.random.key(3), 7)
    more = {"interpolation": interpolation}
    if per != "synapse":
        more["connection"] = partial(Dense.create, scale=2.0)
    else:
        more["scale"] = 2.0
    forward = partial(create, per, **more)
    back = partial(create, per, shortest=DT, **more)
    layers, shape = [], (3,)
    for i in (0, 1):
        layers.append(
            Layer.create(
                shape, 4, LIF(), Exponential((3.0, 8.0)), feedforward=forward,
                recurrent=back if recurrent else None, bias=(0.9, 1.4), key=keys[i],
            )
        )  # fmt: skip
        shape = layers[-1].activation_shape
    readout = LinearReadout(forward(shape, (2,), key=keys[4]), jnp.zeros(2))
    over = (Skip(forward((3,), (4,), key=keys[5]), -1, 1),) if skips else ()
    return Network(tuple(layers), readout, over)


STIMULUS = jax.random.uniform(jax.random.key(5), (30, 3))


def loss(network, x, adjoint, mask=None):
    out = simulate(network, x, gate=GATE, dt=DT, adjoint=adjoint, mask=mask)
    return jnp.mean(out.readout[:20] ** 2) + sum(jnp.sum(c**2) for c in out.counts)


ADJOINTS = {"costate": Costate(), "checkpointed": Checkpointed(7, inner=Costate())}
BY_DAY = ("synapse", True, ("costate",))


@pytest.mark.parametrize(
    ("per", "masked", "adjoints"),
    by_day(
        [
            ("axon", True, (*ADJOINTS,)),
            ("lines", True, ("costate",)),
            BY_DAY,
            ("axon", False, (*ADJOINTS,)),
            *((per, masked, (*ADJOINTS,)) for per in KINDS[1:] for masked in (True, False)),
        ],
        [BY_DAY],
    ),
)
def test_adjoints_agree(per, masked, adjoints, relative):
    network, mask = layered(per, skips=True), jnp.arange(30) < 21 if masked else None
    grads = [
        eqx.filter_jit(eqx.filter_grad(lambda n, a=adjoint: loss(n, STIMULUS, a, mask)))(network)
        for adjoint in (Autodiff(), *(ADJOINTS[name] for name in adjoints))
    ]
    for grad in grads[1:]:
        assert relative(grad, grads[0]) < 1e-12
    delays = eqx.filter(grads[0], trainable(network, ("delay",)))
    sizes = [float(jnp.abs(d).min()) for d in jax.tree.leaves(delays)]
    assert len(sizes) == 6
    assert max(sizes) > 0


@pytest.mark.parametrize("per", by_day(KINDS, ["lines"]))
def test_gradients_of_delays_are_those_of_differences(per):
    network = layered(per, skips=True)
    both = eqx.filter_jit(eqx.filter_value_and_grad(lambda n: loss(n, STIMULUS, Costate())))
    run, grad = lambda n: both(n)[0], both(network)[1]
    for where in (
        lambda n: n.layers[0].feedforward.delay.raw,
        lambda n: n.layers[0].recurrent.delay.raw,
        lambda n: n.layers[1].feedforward.delay.raw,
        lambda n: n.skips[0].connection.delay.raw,
        lambda n: n.readout.connection.delay.raw,
    ):
        index = jnp.argmax(jnp.abs(where(grad)).reshape(-1))
        shape = where(network).shape
        moved = lambda e: eqx.tree_at(
            where, network, where(network).reshape(-1).at[index].add(e).reshape(shape)
        )
        found = float(where(grad).reshape(-1)[index])
        differences = [float(run(moved(e)) - run(moved(-e))) / (2 * e) for e in (1e-6, 1e-7, 1e-8)]
        assert min(abs(found - difference) for difference in differences) < 1e-5 * abs(found)


def test_the_truncated_delay_has_the_gradient_of_a_difference(relative):
    """The shift by whole steps, and ``-sum_t g(t) (y(t) - y(t - 1))/dt``, y the shifted signal."""
    inner, delay = Dense(jax.random.normal(KEY, (4, 3)), (3,)), jnp.array([0.2, 1.3, 2.6])
    late = lambda d: Delayed(inner, (3,), delay=d, longest=3.0, interpolation="truncated").at(DT)
    x = jax.random.normal(KEY, (20, 3))
    y = shifted(x, jnp.floor(delay / DT).astype(int))
    assert relative(late(delay).over_time(x)[0], y @ inner.weight.T) < 1e-13
    g = jax.random.normal(jax.random.key(7), (20, 4))
    by_delay = jax.grad(lambda d: jnp.sum(g * late(d).over_time(x)[0]))(delay)
    before = jnp.concatenate([jnp.zeros((1, 3)), y[:-1]])
    assert relative(by_delay, -jnp.sum((g @ inner.weight) * (y - before), axis=0) / DT) < 1e-13


@pytest.mark.parametrize("per", KINDS)
@pytest.mark.parametrize("interpolation", by_day(["linear", "truncated"], ["linear"]))
def test_events_are_delayed_as_the_array_is(per, interpolation, relative):
    keys = jax.random.split(KEY, 3)
    draw = lambda key, high: jax.random.randint(key, (40,), 0, high)
    events = Events(
        jnp.sort(draw(keys[0], 15)),
        draw(keys[1], 6),
        jax.random.normal(keys[2], (40,)),
        steps=15,
        channels=(2, 3),
    )
    made = create(per, (2, 3), (4,), interpolation=interpolation)

    def run(connection, x):
        y, memory = connection.at(DT).over_time(x, None)
        return jnp.sum(y**2) + jnp.sum(jax.tree.leaves(memory)[0] ** 3), (y, memory)

    # Of the connection and, in the list and in the array, of the stimulus.
    gradient = eqx.filter_jit(eqx.filter_grad(lambda both: run(*both), has_aux=True))
    ((by_list, late), found), ((by_array, expected), array) = (
        (lambda g: ((g[0][0], g[1]), g[0][1]))(gradient((made, x))) for x in (events, events.dense())
    )
    assert relative((by_list, late), (by_array, expected)) < 1e-12
    found, by_array = found.value, array
    np.testing.assert_allclose(found, by_array.reshape(15, -1)[events.step, events.channel], rtol=1e-9)
    # What a stretch before left behind.
    again = eqx.filter_jit(lambda x, memory: made.at(DT).over_time(x, memory))
    assert relative(*(again(x, late[1]) for x in (events, events.dense()))) < 1e-12


@pytest.mark.nightly
def test_events_through_a_network_with_delays(relative):
    network = layered("axon", skips=True)
    events = Events([2, 2, 9, 20], [0, 2, 1, 1], steps=30, channels=3)
    run = lambda n, x: loss(n, x, Costate())
    gradient = eqx.filter_jit(eqx.filter_grad(run))
    assert relative(*(gradient(network, x) for x in (events, events.dense()))) < 1e-12
    step = eqx.filter_jit(lambda x, state: simulate(network, x, gate=GATE, dt=DT, state=state))
    first = step(events, None)
    assert relative(first.state, step(events.dense(), None).state) < 1e-12
    assert relative(step(events, first.state).readout, step(events.dense(), first.state).readout) < 1e-12


def test_a_recording_goes_on_where_it_was_cut(relative):
    network = layered("axon", skips=True)
    run = eqx.filter_jit(lambda x, state=None: simulate(network, x, gate=GATE, dt=DT, state=state))
    whole, first = run(STIMULUS), run(STIMULUS[:11])
    second = run(STIMULUS[11:], first.state)
    assert relative(jnp.concatenate([first.readout, second.readout]), whole.readout) < 1e-12
    assert relative(second.state, whole.state) < 1e-12
    # The state that a loop over chunks begins with has the shape of all that follow.
    begun = network.init(dt=DT)
    assert jax.tree.structure(begun) == jax.tree.structure(whole.state)
    assert relative(run(STIMULUS, begun).state, whole.state) < 1e-12
    assert relative(run(STIMULUS, network.init()).state, whole.state) < 1e-12


@pytest.mark.nightly
def test_a_padded_trial_remembers_its_own_end(relative):
    network, short = layered("synapse", skips=True), 19
    padded, mask = STIMULUS.at[short:].set(37.0), jnp.arange(30) < short
    long = simulate(network, padded, gate=GATE, dt=DT, mask=mask)
    assert relative(long.state, simulate(network, STIMULUS[:short], gate=GATE, dt=DT).state) < 1e-12


def test_kinds_of_delays_are_the_same_where_they_can_be(relative):
    """One delay an axon is a synapse's, and lines are, written out."""
    axon = create("axon", (3,), (4,), shortest=0.3)
    synapse = DelayedSynapses(axon.connection.weight, (3,), delay=resolve(axon.delay)[None], longest=3.2)
    lines = create("lines", (3,), (4,), shortest=0.3)
    wide = resolve(lines.connection.weight)
    whole = DelayedSynapses(
        wide.sum(1), (3,), delay=jnp.sum((wide != 0) * resolve(lines.delay)[None], axis=1), longest=3.2
    )
    x = jax.random.normal(KEY, (15, 3))
    for one, other in ((axon, synapse), (lines, whole)):
        assert relative(one.at(DT).over_time(x)[0], other.at(DT).over_time(x)[0]) < 1e-13
        assert relative(one.at(DT, DT / 2).over_time(x)[0], other.at(DT, DT / 2).over_time(x)[0]) < 1e-13


def test_a_mask_of_the_weights_stays(relative):
    sparse = partial(Dense.create, density=0.5)
    for lines in (None, 2):
        made = Delayed.create(
            ActivationShape((2, 6)), (5,), key=KEY, longest=2.0, connection=sparse, lines=lines
        )
        weight = np.asarray(resolve(made.connection.weight))
        present = (weight if lines is None else weight.sum(1)) != 0
        assert np.array_equal(present[:, 0], present[:, 1])
        assert 0.2 < present.mean() < 0.8


def test_delays_stay_in_their_range():
    low, high = 1.0, 3.0
    within = Within.of(jnp.array([1.0, 2.2, 3.0]), low, high)
    np.testing.assert_allclose(within.value, [1.0, 2.2, 3.0])
    moved = eqx.tree_at(lambda w: w.raw, within, jnp.array([0.5, 3.7, -20.25]))
    np.testing.assert_allclose(moved.value, [1.5, 2.3, 2.25])
    slopes = jax.grad(lambda raw: jnp.sum(eqx.tree_at(lambda w: w.raw, within, raw).value))(
        jnp.array([1.0, 0.5, 3.0, 3.7])
    )
    np.testing.assert_allclose(slopes, [1.0, -1.0, 1.0, -1.0])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: create("axon", (3,), (4,), initial=(2.0, 4.0)), r"`initial` is \[2.0, 4.0\] ms"),
        (lambda: create("axon", (3,), (4,), shortest=4.0), "`shortest` is 4 ms, but must be below `longest`"),
        (
            lambda: create("synapse", (3,), (4,), longest=-1.0),
            "`longest` is -1 ms, but must be finite and above",
        ),
        (
            lambda: Delayed(
                Dense(jnp.eye(3), (3,)), (3,), delay=jnp.ones(3), longest=2.0, interpolation="cubic"
            ),
            "`interpolation` is 'cubic'",
        ),
        (
            lambda: Delayed(Dense(jnp.eye(3), (3,)), (3,), delay=jnp.ones(2), longest=2.0),
            r"`delay` of shape \(2,\) and inputs of \(3,\) give nothing together",
        ),
        (
            lambda: DelayedSynapses(jnp.eye(3), (3,), delay=jnp.ones((2, 3)), longest=2.0),
            r"`delay` has shape \(2, 3\), which does not broadcast",
        ),
        (
            lambda: Delayed(Dense(jnp.eye(3), (3,)), (3,), delay=jnp.full(3, 2.5), longest=2.0).at(DT),
            "a delay of 2.5 ms is longer than `longest`, 2 ms",
        ),
        (
            lambda: Delayed(Dense(jnp.eye(3), (3,)), (3,), delay=jnp.full(3, 0.2), longest=2.0).at(DT, DT),
            "a delay of 0.2 ms is shorter than the 0.5 ms that a recurrent connection takes",
        ),
        (
            lambda: jax.jit(lambda dt: create("axon", (3,), (4,)).at(dt))(0.5),
            "needs a time step that is known",
        ),
        (lambda: create("axon", (3,), (4,)).step(jnp.ones(3)), "the time step is not known"),
        (lambda: Within.of(jnp.array([0.5]), 1.0, 3.0), "between 1 and 3 starts at 0.5"),
        (lambda: Skip(Dense(jnp.eye(3), (3,)), 1, 1), "`target` is layer 1, which does not come after"),
    ],
)
def test_what_cannot_be(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_a_delay_as_long_as_the_trial_is_said():
    network = layered("axon")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        simulate(network, STIMULUS[:6], gate=GATE, dt=DT)
    said = " has delays of up to 3.2 ms, and the trial has 3 ms: what takes so long does not arrive in it"
    named = [str(one.message).removesuffix(said) for one in found if "delays" in str(one.message)]
    assert named == [f"layers[{i}].{where}" for where in ("feedforward", "recurrent") for i in (0, 1)]
    simulate(network, STIMULUS[:7], gate=GATE, dt=DT)


def test_shifts(relative):
    """The primitive under every transformation."""
    x, k = jax.random.normal(KEY, (4, 7, 3)), jnp.array([[0, 1, 2], [3, 0, 9], [1, 1, -2], [0, 0, 7]])
    plain = lambda x, k: jnp.array(
        [[x[t - k[j], j] if 0 <= t - k[j] < 7 else 0.0 for j in range(3)] for t in range(7)]
    )
    one = lambda x, k: jnp.sum(shifted(x, k) ** 3)
    by_hand = lambda x, k: shifted(3 * shifted(x, k) ** 2, -k)
    assert relative(shifted(x[0], k[2]), plain(x[0], k[2])) == 0
    assert (
        relative(jax.vmap(shifted)(x, k), jnp.stack([plain(*both) for both in zip(x, k, strict=True)])) == 0
    )
    every = jnp.stack([jnp.stack([plain(a, b) for a in x]) for b in k])
    assert relative(jax.vmap(jax.vmap(shifted, (0, None)), (None, 0))(x, k), every) == 0
    assert relative(jax.vmap(jax.vmap(shifted, (None, 0)), (0, None))(x, k), every.swapaxes(0, 1)) == 0
    assert (
        relative(
            jax.jit(jax.vmap(jax.grad(one)))(x, k), jnp.stack([by_hand(*b) for b in zip(x, k, strict=True)])
        )
        < 1e-14
    )
    shared = jax.grad(lambda x: jnp.sum(jax.vmap(one, (None, 0))(x, k)))(x[0])
    assert relative(shared, sum(by_hand(x[0], b) for b in k)) < 1e-14
    hessian = jax.hessian(lambda x: one(x, k[1]))(x[0])
    assert (
        relative(hessian.reshape(21, 21), jnp.diag(6 * (shifted(jnp.ones((7, 3)), -k[1]) * x[0]).reshape(-1)))
        < 1e-13
    )
