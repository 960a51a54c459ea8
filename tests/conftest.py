"""Float64 and run-time checks of every annotation, both set before the package is imported."""

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
install_import_hook("spikejax", "beartype.beartype")


def _quick_options() -> dict:
    """Compiler options that compile several times faster; what is computed is the same to rounding."""
    options = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda x: x + 1, compiler_options=options)(0.0)
    except Exception:  # another backend, or a version of XLA without them
        return {}
    return options


QUICK = _quick_options()


def _relative(found, expected) -> float:
    found, expected = jax.tree.leaves(found), jax.tree.leaves(expected)
    assert [x.shape for x in found] == [x.shape for x in expected]
    pairs = [(abs(a - b).max(), abs(b).max()) for a, b in zip(found, expected, strict=True) if b.size]
    floor = 1e-3 * max(float(size) for _, size in pairs)
    return max(float(error) / max(float(size), floor) for error, size in pairs)


@pytest.fixture(scope="session")
def quick_jit():
    """`jax.jit` for small problems, where compiling is most of the time."""
    return lambda function: jax.jit(function, compiler_options=QUICK)


@pytest.fixture(scope="session")
def relative():
    """Largest difference between two pytrees, relative to the largest entry of each expected leaf (with a
    floor of 1e-3 of the tree's)."""
    return _relative


@pytest.fixture
def quick_compiles():
    """For tests of whole programs that compile by themselves: JAX compiles with hardly any optimisation."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
