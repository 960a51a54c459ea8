"""What the README shows works as shown."""

import re

import jax
import jax.numpy as jnp
import pytest

import spikejax

from ..places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def blocks():
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_script(blocks, capsys):
    exec(compile(blocks[0], "README.md", "exec"), {})
    assert float(capsys.readouterr().out) > 0.2  # chance is 0.04


def test_new_neuron(blocks):
    namespace = {}
    exec(compile(blocks[1], "README.md", "exec"), namespace)
    neuron = namespace["QuadraticIF"](tau_mem=8.0)
    synapse = spikejax.Exponential(5.0, rate_unit=0.02)
    network = spikejax.Network.dense(
        2,
        (5,),
        1,
        neuron=neuron,
        synapse=synapse,
        key=jax.random.key(0),
        bias=(0.3, 0.9),
        recurrent_scale=0.5,
    )
    gate = spikejax.Gate(width=0.3)

    def loss(network, adjoint):
        solution = spikejax.simulate(network, jnp.ones((60, 2)), gate=gate, dt=0.5, adjoint=adjoint)
        return jnp.mean(solution.readout**2), solution.counts[0]

    grads = []
    for adjoint in (spikejax.Autodiff(), spikejax.Costate()):
        (_, counts), grad = jax.value_and_grad(loss, has_aux=True)(network, adjoint)
        assert counts.max() > 1
        grads.append(grad)
    for a, b in zip(*map(jax.tree.leaves, grads), strict=True):
        assert jnp.allclose(a, b, rtol=1e-10, atol=1e-12 * float(jnp.abs(b).max()))


def test_commands_exist():
    assert "spikejax train configs/braille.toml" in README
    assert len(re.findall(r"<!-- test command -->\n```sh\n.*pytest.*\n```\n", README)) == 1
