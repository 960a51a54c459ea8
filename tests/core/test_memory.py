"""What each adjoint holds in memory, by XLA's own account of a compiled gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import LIF, Autodiff, Checkpointed, Costate, Exponential, Gate, Network, simulate


def temporaries(adjoint, steps: int) -> int:
    """Bytes of temporaries of one gradient of a network of 64 neurons with a spike-count loss."""
    network = Network.dense(
        3,
        (64,),
        2,
        neuron=LIF(),
        synapse=Exponential(5.0, 0.02),
        key=jax.random.key(0),
        bias=(0.0, 0.0),
        recurrent_scale=0.5,
    )

    def loss(network, x):
        return jnp.sum(simulate(network, x, gate=Gate(), dt=1.0, adjoint=adjoint).counts[0] ** 2)

    compiled = jax.jit(jax.grad(loss)).lower(network, jnp.zeros((steps, 3))).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.nightly
@pytest.mark.optimised
def test_memory_against_length():
    short, long = 256, 4096
    whole = Costate(chunk=long)
    growth = [temporaries(a, long) / temporaries(a, short) for a in (Autodiff(), whole)]
    # 16 times the steps, all of which are kept.
    assert min(growth) > 12
    assert temporaries(whole, long) < 0.7 * temporaries(Autodiff(), long)


LONGEST = [10_000, pytest.param(100_000, marks=pytest.mark.nightly)]


@pytest.mark.optimised
@pytest.mark.parametrize("longest", LONGEST)
@pytest.mark.parametrize(
    "inner", [pytest.param(Autodiff(), marks=pytest.mark.nightly), Costate()], ids=lambda a: type(a).__name__
)
def test_checkpointed_memory_is_a_square_root(inner, longest):
    lengths = [n for n in (100, 1000, 10_000, 100_000) if n <= longest]
    found = [temporaries(Checkpointed(inner=inner), n) for n in lengths]
    exponent = np.polyfit(np.log(lengths), np.log(found), 1)[0]
    # Below that of the square root by what does not grow at all, such as the gradient of the weights.
    assert 0.3 < exponent < 0.55, found


@pytest.mark.nightly
@pytest.mark.optimised
def test_chunks_of_the_costate_hold_the_states_between_them():
    assert temporaries(Costate(chunk=64), 4096) < 0.1 * temporaries(Costate(chunk=4096), 4096)


@pytest.mark.nightly
@pytest.mark.optimised
def test_chunks_within_chunks_hold_less():
    once, twice = (
        Checkpointed(64, inner=Costate()),
        Checkpointed(512, inner=Checkpointed(16, inner=Costate())),
    )
    assert temporaries(twice, 4096) < 0.7 * temporaries(once, 4096)
