"""Every loop against the scan, forwards and backwards; and one that is made here."""

import jax
import jax.numpy as jnp
import pytest

from spikejax import LIF, Costate, Exponential, Gate, Network, Refractory, simulate
from spikejax.loops import LOOPS, AbstractLoop, Scan, Trajectory, forward_step
from spikejax.state import Record

from ..by_day import by_day

STIMULUS = jax.random.uniform(jax.random.key(5), (7, 3)) * 3


class Unrolled(AbstractLoop):
    """The time loop written out, and its derivative by autodiff: another loop is one class."""

    def forward(self, cell, recurrent, drive, carry, mask, save):
        rows = []
        for t in range(len(drive)):
            new, release, current = forward_step(
                cell, recurrent, carry, drive[t], None if mask is None else mask[t]
            )
            rest = Record(
                release=release if "release" in save else None, v=new.state.neuron.v if "v" in save else None
            )
            rows.append((carry.state.neuron, carry.state[2:4], new.state.activation, current, rest))
            carry = new
        return Trajectory(carry, *jax.tree.map(lambda *x: jnp.stack(x), *rows))

    def backward(self, cell, recurrent, history, cotangents, damping):
        return Scan().backward(cell, recurrent, history, cotangents, damping)


@pytest.mark.parametrize("loop", by_day([*LOOPS, Unrolled()], [Unrolled()]), ids=str)
@pytest.mark.parametrize("masked", by_day([False, True], [True]))
def test_like_the_scan(loop, masked, relative):
    neuron = Refractory(LIF(), tau_ref=1.2)
    network = Network.dense(
        3,
        (4, 4),
        2,
        neuron=neuron,
        synapse=Exponential((3.0, 8.0)),
        key=jax.random.key(0),
        bias=(1.0, 2.0),
        recurrent_scale=0.5,
    )
    mask = jnp.arange(7) < 5 if masked else None

    def loss(network, adjoint):
        out = simulate(
            network, STIMULUS, gate=Gate(width=0.4), dt=0.5, adjoint=adjoint, mask=mask, save=("v", "release")
        )
        return jnp.sum(out.readout**2) + jnp.sum(out.layers[0].release ** 2) + jnp.sum(out.layers[1].v)

    both = [
        jax.jit(jax.value_and_grad(loss))(network, Costate(damping=0.05, loop=one)) for one in (loop, Scan())
    ]
    assert relative(*both) < 1e-12
