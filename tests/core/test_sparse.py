"""A sparse connection is the dense one of the same weights: values, gradients, networks; how it is drawn."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import LIF, Autodiff, Costate, Dense, Exponential, Gate, Layer, LinearReadout, Network, simulate
from spikejax.connections import ActivationShape, Sparse
from spikejax.parameters import Signed, resolve

KEY = jax.random.key(0)


def as_dense(sparse: Sparse) -> Dense:
    """The dense connection of the same weights, synapse by synapse."""
    *out, degree = sparse.source.shape
    kinds = sparse.in_shape[0] if isinstance(sparse.in_shape, ActivationShape) else 1
    inputs = int(np.prod(sparse.in_shape)) // kinds
    full = np.zeros((int(np.prod(out)), kinds, inputs))
    source = np.asarray(sparse.source).reshape(-1, degree)
    weight = np.asarray(resolve(sparse.weight)).reshape(len(full), degree, kinds)
    for i in range(len(full)):
        for k in range(degree):
            full[i, :, source[i, k]] += weight[i, k]
    return Dense(jnp.asarray(full.reshape(*out, *sparse.in_shape)), sparse.in_shape)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((2, 5), marks=pytest.mark.nightly),
        ActivationShape((2, 3, 4)),
        pytest.param(ActivationShape((1, 7)), marks=pytest.mark.nightly),
    ],
)
@pytest.mark.parametrize("path", ["auto", "rows", "loop", "scatter", "dense"])
def test_values_and_gradients_of_a_batch(shape, path, relative):
    sparse = Sparse.create(shape, (3, 2), density=0.4, path=path, key=KEY)
    dense, x = as_dense(sparse), jax.random.normal(KEY, (4, 6, *shape))
    signal = jax.random.normal(jax.random.key(1), (4, 6, 3, 2))

    def results(connection):
        value = lambda w, x, signal: jnp.sum(
            jnp.sin(eqx.tree_at(lambda c: c.weight, connection, w).over_time(x)[0]) * signal
        )
        several = lambda w: jnp.sum(jax.vmap(value, (None, 0, 0))(w, x, signal))
        each = jax.vmap(jax.grad(value, argnums=(0, 1)), (None, 0, 0))(connection.weight, x, signal)
        return jax.vmap(lambda x: connection.over_time(x)[0])(x), jax.grad(several)(connection.weight), each

    (y, w, (w_each, x_each)), (y_, w_, (w_each_, x_each_)) = results(sparse), results(dense)
    assert relative((y, x_each), (y_, x_each_)) < 1e-13
    kinds, sources = len(sparse.weight.reshape(-1)) // sparse.source.size, np.asarray(sparse.source)

    def there(full):
        """Of the dense weights those that the list has, in its order."""
        full = np.asarray(full).reshape(-1, 6, kinds, int(np.prod(shape)) // kinds)
        return np.stack(
            [[row[:, own].T for row, own in zip(m, sources.reshape(6, -1), strict=True)] for m in full]
        )

    assert relative(w.reshape(there(w_).shape), there(w_)) < 1e-13
    assert relative(w_each.reshape(there(w_each_).shape), there(w_each_)) < 1e-13


def network(connect):
    keys = jax.random.split(KEY, 3)
    layer = Layer.create(
        (8,),
        30,
        LIF(),
        Exponential((3.0, 9.0)),
        feedforward=partial(Sparse.create, density=0.5, scale=4.0),
        recurrent=partial(Sparse.create, density=0.2, autapses=False),
        bias=(0.8, 1.3),
        key=keys[0],
    )
    into, own = connect(layer.feedforward), connect(layer.recurrent)
    layer = eqx.tree_at(lambda one: (one.feedforward, one.recurrent), layer, (into, own))
    return Network((layer,), LinearReadout.create(layer.activation_shape, 2, key=keys[1]))


@pytest.mark.nightly
def test_a_network_under_every_adjoint(relative):
    x = jax.random.uniform(KEY, (3, 25, 8))

    def gradients(net, adjoint):
        run = partial(simulate, gate=Gate("raised_cosine", 0.4), dt=0.5, adjoint=adjoint)
        loss = lambda net: jnp.sum(jax.vmap(lambda x: run(net, x).readout)(x) ** 2)
        value, grad = eqx.filter_value_and_grad(loss)(net)
        return value, grad.layers[0].bias, grad.layers[0].recurrent.weight

    sparse, dense = network(lambda c: c), network(as_dense)
    value, bias, weight = gradients(sparse, Costate())
    assert relative((value, bias, weight), gradients(sparse, Autodiff())) < 1e-11
    expected = gradients(dense, Costate())
    assert relative((value, bias), expected[:2]) < 1e-11
    source = np.asarray(sparse.layers[0].recurrent.source)
    there = np.stack([np.asarray(expected[2])[i][:, source[i]].T for i in range(30)])
    assert relative(weight, there) < 1e-11


def test_how_it_is_drawn():
    one = Sparse.create(ActivationShape((2, 200)), (200,), density=0.05, autapses=False, scale=3.0, key=KEY)
    source = np.asarray(one.source)
    assert source.shape == (200, 10)
    assert one.weight.shape == (200, 10, 2)
    # No input twice, none itself, and all are chosen about as often.
    assert all(len(set(row)) == 10 for row in source)
    assert not (source == np.arange(200)[:, None]).any()
    assert (source.min(), source.max()) == (0, 199)
    assert np.bincount(source.ravel(), minlength=200).max() < 30
    assert float(jnp.std(one.weight)) == pytest.approx(3 / np.sqrt(10), rel=0.05)
    # Each channel of a stimulus has its own scale, and each synaptic time constant.
    channels = Sparse.create((3, 4), (50,), scale=(0.0, 1.0, 0.0), density=0.5, key=KEY)
    silent = (np.asarray(channels.source) // 4) != 1
    assert not np.asarray(channels.weight)[silent].any()
    assert np.asarray(channels.weight)[~silent].all()
    kinds = Sparse.create(ActivationShape((2, 9)), (5,), scale=(0.0, 1.0), key=KEY)
    assert not np.asarray(kinds.weight)[..., 0].any()
    normed = Sparse.create((30,), (5,), norm=2.0, density=0.3, key=KEY)
    np.testing.assert_allclose(jnp.linalg.norm(normed.weight, axis=1), 2.0, rtol=1e-12)


def test_signs_are_those_of_the_inputs():
    one = Sparse.create(ActivationShape((2, 6)), (4,), density=0.5, key=KEY)
    sign = jnp.array([1.0, 1.0, -1.0, -1.0, 0.0, 1.0])
    signed = one.signed(sign)
    assert isinstance(signed.weight, Signed)
    expected = sign[one.source][..., None] * jnp.abs(one.weight)
    np.testing.assert_array_equal(resolve(signed.weight), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sparse.create((4,), None, key=KEY), "`size` is not given"),
        (lambda: Sparse.create((4,), (3,), density=0.0, key=KEY), "`density` is 0, but must be .*above 0"),
        (lambda: Sparse.create((4,), (3,), autapses=False, key=KEY), "leave it out between others"),
        (lambda: Sparse.create((1,), (1,), autapses=False, key=KEY), "has no other to hear"),
        (lambda: Sparse.create((4,), (3,), scale=(1.0, 2.0), key=KEY), "2 scales"),
        (lambda: Sparse.create((4,), (3,), path="quick", key=KEY), "`path` is 'quick'"),
        (lambda: Sparse(jnp.ones((3, 2)), jnp.zeros((3, 1), jnp.int32), (4,)), r"give \(3, 1\)"),
        (lambda: Sparse(jnp.ones((3, 1)), jnp.full((3, 1), 4, jnp.int32), (4,)), "from 4 to 4, .* in 0 to 3"),
        (
            lambda: Sparse(jnp.ones((3, 1)), jnp.zeros((3, 1), jnp.int32), (4,), path="quick"),
            "`path` is 'quick'",
        ),
    ],
)
def test_bad_input_is_one_line(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
