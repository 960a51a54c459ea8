"""What is said of a loss or gradient that is not finite: the first quantity that was not, and where."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from spikejax import LIF, ClockDriven, Exponential, Gate, Network
from spikejax.configuration import check
from spikejax.jobs.train import train_run
from spikejax.losses import CrossEntropy
from spikejax.tasks import Trial
from spikejax.training import TrainingStopped
from spikejax.training.finite import Objective, first_not_finite

from ..configs import PREDICTIVE, changed

DT = 0.5
OBJECTIVE = Objective(CrossEntropy())


@pytest.fixture(scope="module")
def network():
    keys = jax.random.key(0)
    return Network.dense(
        3,
        (5, 4),
        2,
        neuron=LIF(tau_mem=10.0),
        synapse=Exponential((5.0,)),
        key=keys,
        bias=(0.8, 1.3),
        recurrent_scale=0.5,
    )


def trials(**changes):
    x = jnp.ones((3, 12, 3))
    for (trial, step), value in changes.get("at", {}).items():
        x = x.at[trial, step, 0].set(value)
    return Trial(x, changes.get("target", jnp.zeros(3, int)))


def found(network, batch, objective=OBJECTIVE):
    return first_not_finite(network, batch, ClockDriven(Gate("raised_cosine", 0.5), DT), objective)


def test_the_first_step_of_the_first_trial_that_is_not_finite(network):
    # As an input: itself. Too large a one: the current of the layer that it enters, at that step.
    assert found(network, trials(at={(1, 7): jnp.nan})) == "the stimulus of the trials"
    assert found(network, trials(at={(1, 7): jnp.inf, (2, 9): jnp.inf})) == (
        "the input current of layer 0 from step 7 (4 ms) of trial 1 of the batch on"
    )
    assert found(network, trials()) is None


def _layer(network, number, **changes):
    layers = list(network.layers)
    layers[number] = dataclasses.replace(layers[number], **changes)
    return eqx.tree_at(lambda n: n.layers, network, tuple(layers))


def test_the_layer_and_what_of_it(network):
    big = jnp.full_like(network.layers[1].bias, jnp.inf)
    assert found(_layer(network, 1, bias=big), trials()).startswith(
        "the input current of layer 1 from step 0"
    )
    weight = network.readout.connection.weight
    bad = eqx.tree_at(lambda n: n.readout.connection.weight, network, jnp.full_like(weight, jnp.inf))
    assert found(bad, trials()).startswith("the readout from step ")
    nan = eqx.tree_at(lambda n: n.readout.bias, network, network.readout.bias.at[1].set(jnp.nan))
    assert found(nan, trials()) == "the parameter readout.bias"


def test_a_loss_that_is_not_finite_though_the_readout_is(network):
    class Broken(CrossEntropy):
        def __call__(self, solution, trial):
            value, scalars = super().__call__(solution, trial)
            return value / (trial.target * 0.0), scalars

    said = found(network, trials(target=jnp.asarray([1, 1, 1])), Objective(Broken()))
    assert said == "the readout is finite, but the loss of trial 0 of the batch"


@pytest.mark.nightly
def test_a_training_says_it(tmp_path):
    layer = PREDICTIVE["network"]["layers"][0] | {"feedforward": {"scale": 1e306}}
    config = check(changed(PREDICTIVE, network={"layers": [layer]}))
    said = "stopped at step 1: the readout is finite, but the loss of trial 0 of the batch is not finite"
    with pytest.raises(TrainingStopped, match=said):
        train_run(config, tmp_path / "run", progress=False, figures=False)
