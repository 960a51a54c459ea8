"""The problem that the training steps and loops are tested on."""

import jax
import jax.numpy as jnp
import pytest

from spikejax import LIF, Exponential, Gate, Network
from spikejax.tasks import Trial


@pytest.fixture(scope="module")
def problem():
    keys = jax.random.split(jax.random.key(0), 3)
    network = Network.dense(
        4,
        (6,),
        3,
        neuron=LIF(tau_mem=10.0),
        synapse=Exponential((5.0,), 0.02),
        key=keys[0],
        input_scale=4.0,
        bias=(0.8, 1.3),
        recurrent_scale=0.5,
    )
    x = (jax.random.uniform(keys[1], (8, 20, 4)) < 0.3).astype(float)
    return network, Trial(x, jnp.arange(8) % 3), Gate("raised_cosine", 0.5)
