"""What each adjoint holds in memory, by XLA's own account of a compiled gradient."""

import jax
import jax.numpy as jnp
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


@pytest.mark.optimised
def test_memory_against_length():
    short, long = 256, 4096
    growth = {
        type(a).__name__: temporaries(a, long) / temporaries(a, short)
        for a in (Autodiff(), Costate(), Checkpointed())
    }
    # 16 times the steps: all of them kept, or about 4 times as many chunks of 4 times the length.
    assert growth["Autodiff"] > 12
    assert growth["Costate"] > 12
    assert growth["Checkpointed"] < 6
    assert temporaries(Costate(), long) < 0.7 * temporaries(Autodiff(), long)


@pytest.mark.optimised
def test_chunks_within_chunks_hold_less():
    once, twice = (
        Checkpointed(64, inner=Costate()),
        Checkpointed(512, inner=Checkpointed(16, inner=Costate())),
    )
    assert temporaries(twice, 4096) < 0.7 * temporaries(once, 4096)
