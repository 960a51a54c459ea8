"""The hand-derived costate equations against the package's adjoints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import LIF, NIF, Autodiff, Costate, Exponential, Gate, LeakyReadout, Network, Theta, simulate
from spikejax.neurons import State
from spikejax.references.paper import gate_density, paper_gradient, prompt_derivatives

from ..by_day import by_day

GATE, DT = Gate("raised_cosine", 0.5), 0.5
NEURONS = {"nif": NIF(tau_mem=10.0), "lif": LIF(tau_mem=10.0), "theta": Theta(tau_mem=10.0)}


def make(neuron, sizes=(5,), **options):
    return Network.dense(
        3,
        sizes,
        2,
        neuron=neuron,
        synapse=Exponential((3.0, 10.0), 0.05),
        key=jax.random.key(0),
        **{"bias": (1.0, 1.5), "recurrent_scale": 0.5} | options,
    )


STIMULUS = 1.5 * jax.random.normal(jax.random.key(1), (40, 3)) + 0.5
TARGET = jax.random.normal(jax.random.key(2), (40, 2))


@pytest.mark.parametrize("name", by_day(NEURONS, ["nif"]))
def test_equals_the_adjoints(name, relative):
    network = make(NEURONS[name])

    def loss(network, adjoint):
        solution = simulate(network, STIMULUS, gate=GATE, dt=DT, adjoint=adjoint)
        return jnp.sum((solution.readout - TARGET) ** 2), solution

    solution = loss(network, None)[1]
    assert float(solution.counts[0].sum()) > 5
    by_hand = paper_gradient(network, STIMULUS, 2 * (solution.readout - TARGET), gate=GATE, dt=DT)
    for adjoint in (Costate(), Autodiff()):
        grad = jax.jit(jax.grad(lambda n, a=adjoint: loss(n, a)[0]))(network)
        (layer,) = grad.layers
        found = (layer.feedforward.weight, layer.recurrent.weight, layer.bias, grad.readout.connection.weight)
        assert relative(found, tuple(by_hand)) < 1e-12


@pytest.mark.parametrize("name", NEURONS)
def test_step_derivatives_are_those_of_the_neuron(name):
    # Difference quotients of the neuron's own step; currents from strong inhibition over 0 to a spike a few
    # steps.
    neuron = NEURONS[name]
    current, v = (
        x.ravel()
        for x in jnp.meshgrid(
            jnp.array([-3.0, -1e-4, 0.0, 1e-4, 0.7, 2.3, 3.0, 23.7]), jnp.linspace(0.02, 0.98, 9)
        )
    )
    step, *of_prompt = prompt_derivatives(neuron, GATE, v, current, 2 * DT)

    def by_neuron(v, current):
        end, path = neuron.travel(State(v), current, 2 * DT)
        height = end.v + path.count * (neuron.bounds()[1] - neuron.bounds()[0])
        return height, path.first, path.last, neuron.released(GATE, end, path).prompt

    assert float(neuron.travel(State(v), current, 2 * DT)[1].count.max()) >= (1 if name == "theta" else 2)
    e, expected = 1e-6, list(zip(*step, of_prompt, strict=True))
    for moved, found in zip(((e, 0), (0, e)), expected, strict=True):
        up, down = (by_neuron(v + s * moved[0], current + s * moved[1]) for s in (1, -1))
        spiked = neuron.travel(State(v), current, 2 * DT)[1].count > 0
        for name_, a, b, own in zip(("end", "first", "last", "prompt"), up, down, found, strict=True):
            where = spiked if name_ in ("first", "last") else jnp.ones_like(spiked)
            np.testing.assert_allclose(
                own[where], ((a - b) / (2 * e))[where], rtol=1e-6, atol=1e-7, err_msg=name_
            )


@pytest.mark.parametrize("name", NEURONS)
def test_gate_density_is_the_derivative_of_the_charge(name):
    neuron, v = NEURONS[name], jnp.linspace(0.01, 0.99, 50)
    np.testing.assert_allclose(
        gate_density(neuron, GATE, v),
        jax.vmap(jax.grad(lambda v: neuron.level(GATE, State(v)).charge))(v),
        atol=1e-12,
    )


def test_what_it_does_not_take():
    stimulus, cotangent = jnp.ones((4, 3)), jnp.ones((4, 2))
    call = lambda network, gate=GATE: paper_gradient(network, stimulus, cotangent, gate=gate, dt=DT)
    with pytest.raises(ValueError, match="one recurrent layer"):
        call(make(LIF(), sizes=(5, 4)))
    with pytest.raises(ValueError, match="one recurrent layer"):
        call(make(LIF(), recurrent=False))
    with pytest.raises(ValueError, match="reset='split', not 'subtract'"):
        call(make(LIF(reset="subtract")))
    with pytest.raises(ValueError, match="release='charge', not 'graded'"):
        call(make(LIF()), Gate(release="graded"))
    network = make(LIF())
    with pytest.raises(ValueError, match="LinearReadout, not a LeakyReadout"):
        call(Network(network.layers, LeakyReadout.create((2, 5), 2, key=jax.random.key(0))))
