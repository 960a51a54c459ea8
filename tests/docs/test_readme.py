"""What the README shows works as shown."""

import re

import jax
import jax.numpy as jnp
import pytest

import spikejax

from ..places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
TRAINING = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
PRINTED = "print(check_neuron(AdaptingIF()))"


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def test_first_lines():
    namespace = {}
    exec(compile(blocks(README)[0], "README.md", "exec"), namespace)
    loss, network = namespace["loss"], namespace["network"]
    by_release = {"charge": namespace["gradient"]} | {
        release: jax.grad(loss)(network, release) for release in ("surrogate", "hard", "graded")
    }
    for gradient in by_release.values():
        weights = gradient.layers[0].feedforward.weight
        assert jnp.all(jnp.isfinite(weights))
        assert jnp.any(weights != 0)


@pytest.mark.nightly
@pytest.mark.parametrize(("updates", "least"), [(6, 0.03), (60, 0.2)])
def test_training_script(updates, least, capsys):
    (script,) = blocks(TRAINING)
    assert script.count("range(60)") == 1
    namespace = {}
    exec(compile(script.replace("range(60)", f"range({updates})"), "training.md", "exec"), namespace)
    assert float(namespace["metrics"]["loss"]) < 3.35  # of a guess: log 27 = 3.30
    assert float(capsys.readouterr().out) > least  # chance is 0.04


@pytest.fixture(scope="module")
def neuron():
    source = blocks(README)[1]
    assert PRINTED in source
    namespace = {}
    exec(compile(source.replace(PRINTED, ""), "README.md", "exec"), namespace)
    return namespace["AdaptingIF"]()


@pytest.mark.nightly
def test_the_new_neuron_passes_its_check(neuron):
    assert spikejax.check_neuron(neuron).passed


def test_new_neuron(neuron):
    synapse = spikejax.Exponential(5.0, rate_unit=0.02)
    network = spikejax.Network.dense(
        2, (5,), 1, neuron=neuron, synapse=synapse, key=jax.random.key(0), bias=(1.3, 1.9)
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
    assert len(README.splitlines()) <= 150
    assert "spikejax train configs/braille.toml" in README
    assert len(re.findall(r"<!-- test command -->\n```sh\n.*pytest.*\n```\n", README)) == 1
