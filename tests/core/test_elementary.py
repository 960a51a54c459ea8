"""Elementary functions against NumPy's, and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax.elementary import angle, circle, log1p, once, quarter_sine, quotient


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 3e-7), (jnp.float64, 1e-15)])
def test_values(dtype, tolerance):
    z = np.linspace(-np.pi / 2, np.pi / 2, 1001)
    assert np.abs(np.asarray(quarter_sine(jnp.asarray(z, dtype)), float) - np.sin(z)).max() < tolerance
    v = np.linspace(-1.5, 1.5, 1537)  # with the folds at quarters
    for found, expected in zip(
        circle(jnp.asarray(v, dtype)), (np.cos(2 * np.pi * v), np.sin(2 * np.pi * v)), strict=True
    ):
        assert np.abs(np.asarray(found, float) - expected).max() < 4 * tolerance
    turn = np.linspace(-np.pi, np.pi, 1025)
    for size in (1e-3, 1.0, 50.0):
        y, x = size * np.sin(turn), size * np.cos(turn)
        found = np.asarray(angle(jnp.asarray(y, dtype), jnp.asarray(x, dtype)), float)
        difference = np.abs(found - np.arctan2(y, x))
        assert np.minimum(difference, 2 * np.pi - difference).max() < 4 * tolerance
    assert angle(jnp.zeros((), dtype), jnp.zeros((), dtype)) == 0


def test_derivatives():
    v = jnp.linspace(-1.2, 1.3, 301)
    for k, (sign, other) in enumerate(((-1, 1), (1, 0))):
        first = jax.vmap(jax.grad(lambda x, k=k: circle(x)[k]))(v)
        np.testing.assert_allclose(first, sign * 2 * np.pi * circle(v)[other], rtol=1e-12, atol=1e-12)
        second = jax.vmap(jax.grad(jax.grad(lambda x, k=k: circle(x)[k])))(v)
        np.testing.assert_allclose(second, -4 * np.pi**2 * circle(v)[k], rtol=1e-12, atol=1e-11)
    y, x = jax.random.normal(jax.random.key(0), (2, 200))
    for argument in (0, 1):
        found = jax.vmap(jax.grad(angle, argument))(y, x)
        np.testing.assert_allclose(found, jax.vmap(jax.grad(jnp.arctan2, argument))(y, x), rtol=1e-12)
    assert all(np.isfinite(jax.grad(angle, (0, 1))(jnp.zeros(()), jnp.zeros(()))))


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 5e-7), (jnp.float64, 1e-15)])
def test_logarithm_near_one(dtype, tolerance):
    x = np.concatenate([np.geomspace(1e-30, 1e30, 3001), [0.0, -1e-5, -0.5, -0.999]]).astype(dtype)
    # Compiled, where the rounding error that it counts on could be simplified away.
    found, slope = jax.jit(jax.vmap(jax.value_and_grad(log1p)))(jnp.asarray(x))
    np.testing.assert_allclose(np.asarray(found, float), np.log1p(x.astype(float)), rtol=tolerance)
    np.testing.assert_allclose(np.asarray(slope, float), 1 / (1 + x.astype(float)), rtol=tolerance)
    assert jnp.isinf(log1p(jnp.asarray(jnp.inf, dtype)))


def test_quotient():
    a, b = jax.random.normal(jax.random.key(0), (2, 50)) + 3
    np.testing.assert_allclose(quotient(a, b), a / b, rtol=1e-15)
    for argument in (0, 1):
        own = jax.vmap(jax.hessian(quotient, argument))(a, b)
        np.testing.assert_allclose(own, jax.vmap(jax.hessian(jnp.divide, argument))(a, b), rtol=1e-12)


def test_what_is_computed_once_is_what_it_was():
    x = {"a": jnp.array([1.5, -2.0, 0.0, 1e300]), "n": jnp.arange(3), "none": None}
    found = once(x)
    assert all((a == b).all() for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(x), strict=True))
    assert once(jnp.float32(0.1)) == jnp.float32(0.1)
    value, push = jax.jvp(lambda a: once({"a": a, "n": jnp.arange(2)})["a"] ** 3, (2.0,), (1.0,))
    assert (value, push) == (8.0, 12.0)
    assert jax.hessian(lambda a: once(a) ** 3)(2.0) == 12.0


@pytest.mark.optimised
def test_the_compiler_computes_it_once():
    def several(x, keep):
        y = x
        for k in range(40):
            y = y * (x + k)
        y = keep(y)
        return y + 1, y * x, y - x

    def operations(function):
        compiled = jax.jit(function).lower(jnp.ones(4096, jnp.float32)).compile()
        return compiled.cost_analysis()["flops"] / 4096

    one_of_three = 80 + 6
    assert operations(lambda x: several(x, once)) < 1.3 * one_of_three
    assert operations(lambda x: several(x, lambda y: y)) > 2 * one_of_three, "no longer of use"
