"""The page on a neuron of one's own: its code runs and prints what the page shows."""

import contextlib
import io
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import Autodiff, Costate, Exponential, Gate, Layer, LinearReadout, Network, simulate

from ..places import ROOT

PAGE = (ROOT / "docs" / "your_neuron.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SHOWN = re.findall(r"<!-- output -->\n```\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def page():
    """What the page's code defines, and what each snippet prints."""
    namespace, printed = {}, []
    for snippet in SNIPPETS:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(snippet, "your_neuron.md", "exec"), namespace)
        printed.append(out.getvalue())
    return namespace, printed


def without_numbers(text: str) -> list[str]:
    """The lines of a table without what differs between machines."""
    return [" ".join(re.sub(r"-?\d[\d.e+-]*", "", line).split()) for line in text.strip().splitlines()]


@pytest.mark.nightly
def test_it_prints_what_is_shown(page):
    _, printed = page
    assert [without_numbers(text) for text in printed[2:]] == [without_numbers(text) for text in SHOWN]


@pytest.mark.nightly
def test_the_neuron_is_right(page):
    namespace, _ = page
    report = namespace["report"]
    assert report.passed, str(report)
    assert report["spikes"].measured >= 4


@pytest.mark.nightly
def test_the_network_has_a_gradient_in_the_neurons_own_parameter(page):
    namespace, _ = page
    assert float(namespace["counts"].max()) > 2
    assert float(abs(namespace["gradient"].layers[0].neuron.neuron.jump)) > 0


@pytest.mark.nightly
def test_conductances(page, relative):
    namespace, _ = page
    layer = Layer.dense(
        (2,), 4, namespace["AdaptingIF"](), Exponential(10.0), recurrent=False, input_scale=0.6,
        bias=(1.5, 2.0), reversal=(3.0, -0.5), key=jax.random.key(1),
    )  # fmt: skip
    network = Network((layer,), LinearReadout.create((1, 4), 1, key=jax.random.key(2)))

    def loss(network, adjoint):
        run = simulate(network, jnp.ones((80, 2)), gate=Gate(width=0.3), dt=0.5, adjoint=adjoint)
        return jnp.mean(run.readout**2), run.counts[0]

    found, expected = (jax.grad(loss, has_aux=True)(network, adjoint) for adjoint in (Costate(), Autodiff()))
    assert float(found[1].min()) > 1
    assert relative(found[0], expected[0]) < 1e-9


def test_an_adapting_neuron_slows_down(page):
    namespace, _ = page
    neuron = namespace["AdaptingIF"]()

    def step(state, _):
        end, path = neuron.travel(state, jnp.full(1, 2.5), 0.5)
        return end, path.count[0]

    count = jax.lax.scan(step, neuron.init((1,)), None, length=600)[1]
    intervals = np.diff(np.flatnonzero(np.asarray(count)))
    assert intervals[-1] > 1.3 * intervals[0]
