"""Connections over space against loops in numpy, and what stands around connections: chains, dropout,
normalised weights, skips, populations of several axes. Every adjoint gives the same gradient through all of
them."""

import itertools
from functools import cache, partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spikejax import (
    LIF,
    Autodiff,
    Chain,
    Checkpointed,
    Convolution,
    Costate,
    Dense,
    Dropout,
    Events,
    Exponential,
    Gate,
    Layer,
    LinearReadout,
    Network,
    Noise,
    Pool,
    Signed,
    Skip,
    Unpool,
    simulate,
    trainable,
)
from spikejax.connections import AbstractConnection, ActivationShape, with_dropout
from spikejax.parameters import WeightNormalised, field_name, resolve, scaled

KEY = jax.random.key(0)
GATE, DT = Gate("raised_cosine", 0.4), 0.5


def by_loops(connection: Convolution, x: np.ndarray) -> np.ndarray:
    """A convolution, one output and one point of the kernel at a time."""
    weight, rank = np.asarray(resolve(connection.weight)), len(connection.stride)
    kinds = x.ndim - rank - 1
    channels = x.shape[kinds] // connection.groups
    padded = np.pad(x, ((0, 0),) * (kinds + 1) + connection.padding)
    out = np.zeros(connection.out_shape)
    for place in itertools.product(*map(range, out.shape)):
        first = place[0] // (out.shape[0] // connection.groups) * channels
        own = padded[(slice(None),) * kinds + (slice(first, first + channels),)]
        for point in itertools.product(*map(range, weight.shape[-rank:])):
            at = tuple(
                p * s + k * d
                for p, s, k, d in zip(place[1:], connection.stride, point, connection.dilation, strict=True)
            )
            out[place] += np.sum(weight[(place[0], ..., *point)] * own[(..., *at)])
    return out


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 9), {"kernel": 4, "padding": 2, "stride": 2}),
        ((4, 6, 5), {"kernel": (3, 2), "stride": (1, 2), "groups": 2, "padding": "valid"}),
        ((2, 7, 6), {"stride": 3, "dilation": 2}),
        (ActivationShape((2, 4, 6, 5)), {"groups": 2, "weight_norm": True, "norm": 2.0}),
        (ActivationShape((3, 2, 5)), {"scale": (1.0, 0.0, 2.0), "stride": 2}),
        ((2, 3, 4, 3), {"kernel": 2}),
    ],
)
def test_a_convolution_is_its_loops(shape, options):
    connection = Convolution.create(shape, channels=6, key=KEY, **options)
    x = np.asarray(jax.random.normal(KEY, (3, *shape)))
    expected = np.stack([by_loops(connection, now) for now in x])
    out, _ = connection.over_time(jnp.asarray(x))
    np.testing.assert_allclose(out, expected, atol=1e-12)
    np.testing.assert_allclose(connection(jnp.asarray(x[0])), expected[0], atol=1e-12)
    if options.get("padding", "same") == "same":
        strides = np.broadcast_to(options.get("stride", 1), len(connection.stride))
        rank = len(strides)
        assert connection.out_shape[1:] == tuple(
            -(-n // s) for n, s in zip(shape[-rank:], strides, strict=True)
        )


def test_initial_weights_go_by_the_inputs_of_a_point():
    """A stimulus of ones makes a current of standard deviation `scale`, away from the edge."""
    for shape, groups in (((8, 5, 5), 1), ((8, 5, 5), 4), (ActivationShape((1, 8, 5, 5)), 1)):
        made = Convolution.create(shape, channels=4000, groups=groups, scale=1.5, key=KEY)
        assert float(made(jnp.ones(shape))[:, 2, 2].std()) == pytest.approx(1.5, rel=0.05)
    norms = np.asarray(Convolution.create((2, 5), channels=3, norm=2.0, key=KEY).weight)
    np.testing.assert_allclose(np.sqrt((norms**2).sum((1, 2))), 2.0, rtol=1e-12)


@pytest.mark.parametrize("pad", [False, True])
def test_pools_are_their_loops(pad):
    x = np.asarray(jax.random.normal(KEY, (2, 3, 7, 5)))
    shape = ActivationShape(x.shape)
    pool = Pool.create(shape, window=(2, 3), pad=pad, weight=(1.1, 0.5))
    own = 1.1 * x[0] + 0.5 * x[1]
    size = (4, 2) if pad else (3, 1)
    expected = np.array(
        [
            [
                [each[2 * i : 2 * i + 2, 3 * j : 3 * j + 3].sum() for j in range(size[1])]
                for i in range(size[0])
            ]
            for each in own
        ]
    )
    np.testing.assert_allclose(pool(jnp.asarray(x)), expected, atol=1e-12)
    kept = Pool.create(shape, window=(2, 3), pad=pad, how="average", kinds="keep")
    assert isinstance(kept.out_shape, ActivationShape)
    summed = Pool.create((3, 7, 5), window=(2, 3), pad=pad)
    for kind in (0, 1):
        expected = summed(jnp.asarray(x[kind])) / 6
        np.testing.assert_allclose(kept(jnp.asarray(x))[kind], expected, atol=1e-12)
    back = Unpool.create((3, 4, 2), window=(2, 3), weight=0.5)
    y = np.asarray(jax.random.normal(KEY, (3, 4, 2)))
    np.testing.assert_allclose(back(jnp.asarray(y)), 0.5 * y.repeat(2, 1).repeat(3, 2), atol=1e-12)
    assert [pool.weighted, back.weighted] == [False, False]
    with pytest.raises(ValueError, match="`trainable` names 'weight'"):
        trainable(pool, ("weight",))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Convolution.create((700,), key=KEY, channels=2), r"an input of \(channels, \*space\)"),
        (lambda: Convolution.create((2, 5), key=KEY), "`channels` is not given"),
        (lambda: Convolution.create((2, 5), key=KEY, channels=2, kernel=(3, 3)), r"`kernel` is \[3, 3\]"),
        (lambda: Convolution.create((2, 5), key=KEY, channels=3, groups=2), "does not divide the 2 channels"),
        (lambda: Convolution.create((2, 5), key=KEY, channels=3, padding="full"), "`padding` is 'full'"),
        (lambda: Convolution.create((2, 5), key=KEY, channels=3, padding=-1), "`padding` is -1"),
        (lambda: Convolution.create((2, 5), (3, 4), key=KEY, channels=3), r"makes \(3, 5\): leave the size"),
        (
            lambda: Convolution.create((2, 5), key=KEY, channels=3, kernel=6, padding="valid"),
            r"a kernel of \(6,\) does not fit into a space of \(5,\)",
        ),
        (lambda: Pool.create((2, 5), window=6), r"a window of \(6,\) does not fit into a space of \(5,\)"),
        (lambda: Pool.create((2, 5), how="max"), "`how` is 'max', but must be one of sum, average"),
        (lambda: Unpool.create((2, 5), (2, 9)), r"makes \(2, 10\)"),
        (
            lambda: Chain((Pool.create((2, 6)), Pool.create((2, 6)))),
            r"`connections\[0\]` has outputs \(2, 3\), but `connections\[1\]` takes inputs \(2, 6\)",
        ),
        (lambda: Dropout(Dense(jnp.ones((2, 3)), (3,)), rate=1.0), "`rate` is 1, but must be finite and"),
        (lambda: Dense.create((3,), None, key=KEY), "`size` is not given"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(make, words):
    with pytest.raises(ValueError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


@cache
def everything() -> Network:
    """Every connection over space and every wrapper, feed-forward, in recurrence and as a skip, with two
    synaptic time constants."""
    k, synapse = jax.random.split(KEY, 6), Exponential((3.0, 8.0))
    conv = lambda **options: partial(Convolution.create, **options)
    first = Layer.create(
        (2, 5, 4), None, LIF(), synapse, feedforward=conv(channels=4, weight_norm=True, scale=2.0),
        recurrent=partial(Dropout.create, connection=conv(groups=2, scale=0.3), rate=0.3),
        bias=(1.5, 2.5), bias_per="channel", key=k[0],
    )  # fmt: skip
    chain = partial(
        Chain.create,
        connections=(partial(Pool.create, kinds="keep", how="average"),
                     conv(channels=3, kernel=2, padding="valid", weight_norm=True, scale=0.3)),
    )  # fmt: skip
    second = Layer.create(
        first.activation_shape, None, LIF(), synapse, recurrent=None, bias=(1.5, 2.5), key=k[1],
        feedforward=partial(Dropout.create, connection=chain, rate=0.3),
    )  # fmt: skip
    third = Layer.create(
        second.activation_shape, (2, 2), LIF(), synapse, bias=(1.5, 2.5), key=k[2],
        feedforward=partial(Dense.create, scale=0.2, weight_norm=True),
        recurrent=partial(Dense.create, scale=0.1, density=0.6, autapses=False, weight_norm=True),
        excitatory=0.5,
    )  # fmt: skip
    pool = Pool.create(first.activation_shape, weight=0.01)
    narrow = Convolution.create(pool.out_shape, channels=3, kernel=2, padding="valid", key=k[4])
    skips = (
        Skip(Chain((pool, narrow)), 0, 1),
        Skip(Dense.create((2, 5, 4), (2, 2), key=k[3]), -1, 2),
    )
    return Network((first, second, third), LinearReadout.create(third.activation_shape, 2, key=k[5]), skips)


STIMULUS = jax.random.uniform(jax.random.key(5), (18, 2, 5, 4))


def loss(network, x, adjoint, mask=None, key=None):
    out = simulate(with_dropout(network, key), x, gate=GATE, dt=DT, adjoint=adjoint, mask=mask)
    return jnp.mean(out.readout[:12] ** 2) + sum(jnp.sum(c**2) for c in out.counts)


@pytest.mark.nightly
@pytest.mark.parametrize("dropped", [True, False])
def test_every_adjoint_through_everything(dropped, relative):
    network, mask = everything(), jnp.arange(18) < 14
    key = jax.random.key(8) if dropped else None
    counts = jax.jit(lambda n: simulate(n, STIMULUS, gate=GATE, dt=DT).counts)(network)
    assert min(float(c.sum()) for c in counts) > 1
    grads = [
        jax.jit(jax.grad(lambda n, a=adjoint: loss(n, STIMULUS, a, mask, key)))(network)
        for adjoint in (Autodiff(), Checkpointed(5, inner=Costate()), *(() if dropped else (Costate(),)))
    ]
    for grad in grads[1:]:
        assert relative(grad, grads[0]) < 1e-12
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads[0]):
        if field_name(path) in ("weight", "bias") and "readout" not in str(path):
            assert np.any(leaf), path


def test_gradients_against_differences():
    network = everything()
    both = jax.jit(jax.value_and_grad(lambda n: loss(n, STIMULUS, Costate())))
    run, found = lambda n: both(n)[0], both(network)[1]
    for where in (
        lambda n: n.layers[0].feedforward.weight.raw,
        lambda n: n.layers[0].feedforward.weight.raw_gain,
        lambda n: n.layers[0].recurrent.connection.weight,
        lambda n: n.layers[0].bias,
        lambda n: n.layers[1].feedforward.connection.connections[1].weight.raw,
        lambda n: n.layers[2].recurrent.weight.raw.raw_gain,
        lambda n: n.skips[0].connection.connections[1].weight,
    ):
        index = jnp.argmax(jnp.abs(where(found)).reshape(-1))
        own = where(network)
        moved = lambda e, w=where, o=own, i=index: eqx.tree_at(
            w, network, o.reshape(-1).at[i].add(e).reshape(o.shape)
        )
        differences = [float(run(moved(e)) - run(moved(-e))) / (2 * e) for e in (1e-6, 1e-7, 1e-8)]
        exact = float(where(found).reshape(-1)[index])
        assert min(abs(exact - d) for d in differences) < 1e-5 * abs(exact)


@pytest.mark.nightly
def test_gradients_of_trials(relative):
    network, run = everything(), lambda n, x: loss(n, x, Costate())
    found = jax.jit(jax.grad(run))(network, STIMULUS)
    batch = jnp.stack([STIMULUS, STIMULUS[::-1]])
    each = jax.jit(jax.vmap(jax.grad(run), (None, 0)))(network, batch)
    assert relative(jax.tree.map(lambda g: g[0], each), found) < 1e-12
    summed = jax.jit(jax.grad(lambda n: jax.vmap(run, (None, 0))(n, batch).sum()))(network)
    assert relative(jax.tree.map(lambda g: g.sum(0), each), summed) < 1e-12


@pytest.mark.nightly
def test_events_are_the_array_that_they_stand_for(relative):
    network = everything()
    draws = np.random.default_rng(0)
    events = Events(draws.integers(0, 18, 30), draws.integers(0, 40, 30), steps=18, channels=(2, 5, 4))
    run = jax.jit(jax.value_and_grad(lambda n, x: loss(n, x, Costate(), key=KEY)))
    assert relative(run(network, events), run(network, events.dense())) < 1e-12


def test_dropout_is_of_a_whole_trial_and_of_training_only():
    dense = Dense.create(ActivationShape((2, 400)), (400,), key=KEY)
    one = Dropout(dense, rate=0.25)
    x = jnp.ones((5, 2, 400))
    np.testing.assert_array_equal(one.over_time(x)[0], dense.over_time(x)[0])
    assert with_dropout(one, None) is one
    drawn = with_dropout(one, jax.random.key(1))
    # Both time constants of a neuron, throughout; the mean stays.
    assert drawn.mask.shape == (400,)
    assert set(np.unique(drawn.mask)) == {0.0, 1 / 0.75}
    assert float((drawn.mask == 0).mean()) == pytest.approx(0.25, abs=0.08)
    np.testing.assert_allclose(
        drawn.over_time(x)[0], dense.over_time(x * drawn.mask)[0], rtol=1e-12, atol=1e-12
    )
    # Trials differ, and so do the connections of a network, its recurrence too.
    masks = jax.vmap(lambda k: with_dropout(everything(), k).layers[0].recurrent.mask)(
        jax.random.split(KEY, 2)
    )
    assert masks.shape == (2, 4, 5, 4)
    assert not np.array_equal(masks[0], masks[1])
    both = with_dropout(Chain((one, Dropout(Dense.create((400,), (400,), key=KEY), rate=0.25))), KEY)
    assert not np.array_equal(both.connections[0].mask, both.connections[1].mask)
    low = with_dropout(jax.tree.map(lambda w: w.astype(jnp.bfloat16), one), KEY)
    assert low.mask.dtype == jnp.bfloat16


def test_weight_normalisation():
    connection = Convolution.create((2, 6), channels=3, key=KEY)
    weight = connection.weight
    wrapped = WeightNormalised.of(weight, 1)
    np.testing.assert_allclose(wrapped.value, weight, rtol=1e-12)
    made = eqx.tree_at(lambda c: c.weight, connection, wrapped)
    # Scaling goes to the length, and the gradient in the direction is at right angles to it.
    np.testing.assert_allclose(scaled(made, ("weight",), 3.0).weight.value, 3 * weight, rtol=1e-12)
    np.testing.assert_array_equal(made.times(3.0).weight.raw, weight)
    grad = jax.grad(lambda w: jnp.sum(jnp.sin(3 * w.value)))(wrapped)
    np.testing.assert_allclose(jnp.sum(grad.raw * wrapped.raw, (1, 2)), 0.0, atol=1e-13)
    # Against the formula of Salimans & Kingma, eq. 3.
    outer = 3 * jnp.cos(3 * weight)
    length = jnp.sqrt(jnp.sum(weight**2, (1, 2)))
    along = jnp.sum(outer * weight, (1, 2)) / length
    np.testing.assert_allclose(grad.raw_gain, along, rtol=1e-12)
    expected = outer - (along / length)[:, None, None] * weight
    np.testing.assert_allclose(grad.raw, expected, rtol=1e-11, atol=1e-13)
    # Both leaves are the weight to whoever trains it; an output without inputs is 0 and stays so.
    names = trainable(made, ("weight",))
    assert (names.weight.raw, names.weight.raw_gain) == (True, True)
    none = WeightNormalised.of(jnp.zeros((2, 3)), 1)
    np.testing.assert_array_equal(none.value, 0.0)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(jax.grad(lambda w: jnp.sum(w.value))(none)))


def test_absent_synapses_are_no_part_of_a_length():
    made = Dense.create((5,), (5,), key=KEY, density=0.5, autapses=False, weight_norm=True)
    signed = made.signed(jnp.array([1.0, 1.0, -1.0, 1.0, 0.0]))
    for one in (made, signed):
        present = np.asarray(resolve(one.weight)) != 0
        params, fixed = eqx.partition(one, trainable(one, ("weight",)))
        optimiser = optax.adamw(0.05)
        state = optimiser.init(params)
        for _ in range(5):
            grads = jax.grad(lambda p, f=fixed: jnp.sum((eqx.combine(p, f)(jnp.arange(5.0)) - 1) ** 2))(
                params
            )
            updates, state = optimiser.update(grads, state, params)
            params = optax.apply_updates(params, updates)
        after = eqx.combine(params, fixed)
        value = np.asarray(resolve(after.weight))
        np.testing.assert_array_equal(value != 0, present)
        inner = after.weight.raw
        np.testing.assert_array_equal(np.asarray(inner.raw)[~present], 0.0)
        lengths = np.linalg.norm(value, axis=1)
        np.testing.assert_allclose(lengths, np.where(present.any(1), np.abs(inner.raw_gain), 0.0), rtol=1e-12)
    assert isinstance(signed.weight, Signed)
    assert (np.sign(value)[:, :4] * np.array([1, 1, -1, 1]) >= 0).all()


class Late(AbstractConnection):
    """A connection that is told how much time has passed."""

    in_shape: tuple[int, ...] = eqx.field(static=True)
    passed: float = eqx.field(static=True, default=0.0)

    @property
    def out_shape(self):
        return self.in_shape

    def at(self, dt, delay=0.0):
        return Late(self.in_shape, delay)

    def step(self, x, memory=None):
        return x, memory

    @classmethod
    def create(cls, in_shape, out_shape, *, key):
        return cls(in_shape)


def test_a_chain_counts_what_has_passed_once():
    late = Late((2, 2))
    chain = Dropout(Chain((Pool.create((2, 4)), late, late)), rate=0.5).at(0.5, 0.5).connection
    assert [one.passed for one in chain.connections[1:]] == [0.5, 0.0]


def test_populations_of_several_axes(relative):
    """The same network whatever the axes of its populations: flat, and in two."""
    k = jax.random.split(KEY, 3)
    options = {"bias": (0.9, 1.3), "excitatory": 0.5, "feedforward": partial(Dense.create, scale=0.5)}
    flat = Layer.create((3,), 12, LIF(), Exponential((3.0, 8.0)), key=k[0], **options)
    folded = Layer.create((3,), (3, 4), LIF(), Exponential((3.0, 8.0)), key=k[0], **options)
    networks = [
        Network((one,), LinearReadout.create(one.activation_shape, 2, key=k[1])) for one in (flat, folded)
    ]
    x, noise = jnp.ones((20, 3)), Noise(initial=0.1, current=0.2, tau=5.0)
    runs = [simulate(n, x, gate=GATE, dt=DT, key=k[2], noise=noise, save=("v", "current")) for n in networks]
    as_flat = jax.tree.map(lambda a, b: a.reshape(b.shape), runs[1], runs[0])
    assert relative(as_flat, runs[0]) < 1e-12
    shared = Layer.create((3,), (3, 4), LIF(v_th=jnp.linspace(1, 2, 4)), Exponential(5.0), bias_per="channel",
                          key=KEY)  # fmt: skip
    assert shared.bias.shape == (3, 1)
    with pytest.raises(ValueError, match="`bias_per` is 'layer'"):
        Layer.create((3,), (3, 4), LIF(), Exponential(5.0), bias_per="layer", key=KEY)


def test_skips_that_do_not_fit_are_said():
    network = everything()
    first, readout = network.layers[0], network.readout
    with pytest.raises(ValueError, match="`target` is layer 0, which does not come after"):
        Skip(network.skips[0].connection, 0, 0)
    with pytest.raises(ValueError, match=r"`skips\[0\]` leads to layer 3, but the last of 3"):
        Network(network.layers, readout, (Skip(network.skips[0].connection, 0, 3),))
    with pytest.raises(ValueError, match=r"takes inputs of shape \(2, 5, 4\), but layer 0 gives"):
        Network(network.layers, readout, (Skip(network.skips[1].connection, 0, 2),))
    with pytest.raises(ValueError, match=r"has outputs \(2, 2\), but the current of layer 1 is \(3, 1, 1\)"):
        Network(network.layers, readout, (Skip(network.skips[1].connection, -1, 1),))
    assert first.shape == (4, 5, 4)
