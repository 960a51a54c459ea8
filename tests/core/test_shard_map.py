"""`simulate` inside `jax.shard_map`, with its checks of what varies over the devices: as on one device."""

import subprocess
import sys

import pytest

from ..command_line import environment

PROGRAM = """
import sys
from functools import partial
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec as P
from spikejax import (
    Autodiff, Checkpointed, Costate, DoubleExponential, Gate, Layer, LeakyReadout, LIF, Network, Noise,
    Refractory, simulate,
)
from spikejax.connections import Delayed, DelayedSynapses
from spikejax.neurons import NEURONS
neuron = Refractory(LIF()) if sys.argv[1] == "refractory" else NEURONS.make(sys.argv[1])
layer = Layer.create(
    (2,), 3, neuron, DoubleExponential(tau_rise=2.0, tau_syn=10.0), bias=(1.4, 2.2), key=jax.random.key(0),
    feedforward=partial(Delayed.create, longest=3.0),
    recurrent=partial(DelayedSynapses.create, longest=3.0, shortest=1.0, scale=0.1),
)
network = Network((layer,), LeakyReadout.create((1, 3), 1, key=jax.random.key(1)))
stimuli, keys = jax.random.uniform(jax.random.key(2), (4, 8, 2)), jax.random.split(jax.random.key(3), 4)
mesh = Mesh(np.array(jax.devices()), ("trials",))
assert mesh.size == 2

def loss(network, stimuli, keys, adjoint):
    run = lambda x, key: simulate(
        network, x, gate=Gate(), dt=1.0, adjoint=adjoint, mask=jnp.arange(8) < 7, key=key,
        noise=Noise(0.1, 0.2, 4.0),
    )
    out = jax.vmap(run)(stimuli, keys)
    return jnp.sum(out.readout**2) + sum(jnp.sum(c) for c in out.counts), out.readout

def grad(network, stimuli, keys, adjoint):
    # The weights are on all devices, the trials cut: their gradient is the sum over all trials.
    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(network, stimuli, keys, adjoint)

def shared(adjoint):
    def local(network, stimuli, keys):
        (value, readout), (weights, inputs) = grad(network, stimuli, keys, adjoint)
        return (jax.lax.psum(value, "trials"), readout), (weights, inputs)
    cut = P("trials")
    return jax.jit(
        jax.shard_map(local, mesh=mesh, in_specs=(P(), cut, cut), out_specs=((P(), cut), (P(), cut)))
    )(network, stimuli, keys)

expected = jax.jit(lambda: grad(network, stimuli, keys, Autodiff()))()
assert float(jnp.abs(expected[1][0].layers[0].recurrent.weight).max()) > 0
for adjoint in [Autodiff(), Costate(), Checkpointed(4, inner=Costate()), Checkpointed(3)][: int(sys.argv[2])]:
    for a, b in zip(jax.tree.leaves(shared(adjoint)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-9, atol=1e-11, err_msg=str(adjoint))
print("the same")
"""


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("neuron", "adjoints"),
    [("lif", 3), *((name, 4) for name in ("refractory", "theta", "alif", "glif"))],
)
def test_trials_cut_over_devices(neuron, adjoints):
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, neuron, str(adjoints)],
        env=environment(devices=2),
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "the same", run.stderr[-2000:]
