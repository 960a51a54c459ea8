"""Silent, saturated and runaway populations are said, and new networks are none of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spikejax import (
    LIF,
    ActivityWarning,
    ClockDriven,
    Exponential,
    Gate,
    Network,
    simulate,
    trainable,
)
from spikejax.activity import activity, complaints, saturated_fraction, silent_fraction
from spikejax.gates import RELEASES
from spikejax.losses import CrossEntropy
from spikejax.neurons import NEURONS
from spikejax.tasks import Trial
from spikejax.training import gradient, make_evaluate, make_train_step, start

from ..by_day import by_day

KEY = jax.random.key(0)


def network(neuron, **options) -> Network:
    return Network.dense(40, (50, 50), 3, neuron=neuron, synapse=Exponential(10.0), key=KEY, **options)


def stimuli() -> dict[str, jax.Array]:
    draws = jax.random.uniform(jax.random.key(1), (300, 40))
    spikes = jnp.where(draws < 0.02, 1.0, 0.0)
    return {"ones": jnp.ones((300, 40)), "spikes": spikes, "rates": spikes / 0.02, "uniform": draws}


@pytest.mark.filterwarnings("error::spikejax.ActivityWarning")
@pytest.mark.parametrize("stimulus", by_day(stimuli(), ["spikes"]))
@pytest.mark.parametrize("name", ["lif", "nif", "theta", "alif", "izhikevich"])
def test_new_networks_are_alive(name, stimulus):
    solution = simulate(network(NEURONS.make(name)), stimuli()[stimulus], gate=Gate(), dt=1.0)
    for count in solution.counts:
        rate = 1e3 * float(jnp.mean(count)) / 300
        assert 0.2 < rate < 900
        assert float(jnp.mean(count > 0.5)) > 0.05


@pytest.mark.parametrize("name", [name for name in NEURONS if NEURONS.make(name).rheobase() != 0])
def test_rheobase_is_the_least_current_that_makes_spikes(name):
    neuron = NEURONS.make(name)
    rheobase = neuron.rheobase()

    def spikes(factor: float) -> float:
        # Slowly up, and held.
        current = factor * rheobase * jnp.minimum(jnp.linspace(0, 2, 8000), 1.0)
        step = lambda state, x: (lambda end, path: (end, path.count))(*neuron.travel(state, x[None], 0.25))
        return float(jnp.sum(jax.lax.scan(step, neuron.init((1,)), current)[1]))

    assert spikes(0.9) == 0
    assert spikes(1.1) > 0


def test_biases_are_drawn_around_the_rheobase():
    for neuron, most in ((LIF(), 1.2), (LIF(v_th=3.0), 3.6), (NEURONS.make("eif"), 1.2 * 546.0)):
        bias = np.asarray(network(neuron).layers[0].bias)
        assert bias.min() >= 0
        assert 0.9 * most < bias.max() <= most
    assert not np.any(np.asarray(network(LIF(), bias=(0.0, 0.0)).layers[0].bias))


def test_a_silent_population_is_said():
    with pytest.warns(ActivityWarning, match="100% of the neurons of layer 0 are silent: give more bias"):
        simulate(network(LIF(), bias=(0.0, 0.0)), jnp.zeros((20, 40)), gate=Gate(), dt=1.0)


def test_a_runaway_population_is_said():
    wild = network(LIF(), recurrent_scale=3.0)
    with pytest.warns(
        ActivityWarning, match=r"layer 0 runs away, with a mean rate of .* Hz: .*recurrent_scale"
    ):
        simulate(wild, jnp.ones((200, 40)), gate=Gate(), dt=1.0)


@pytest.mark.filterwarnings("error::spikejax.ActivityWarning")
def test_few_neurons_may_be_silent_and_what_is_traced_is_not_known():
    small = Network.dense(2, (3,), 1, neuron=LIF(), synapse=Exponential(10.0), key=KEY, bias=(0.0, 0.0))
    simulate(small, jnp.zeros((20, 2)), gate=Gate(), dt=1.0)
    quiet = network(LIF(), bias=(0.0, 0.0))
    jax.jit(lambda x: simulate(quiet, x, gate=Gate(), dt=1.0).readout)(jnp.zeros((20, 40)))


def test_complaints_name_each_population_once():
    metrics = {"rate/0": 3e4, "saturated/0": 0.9, "silent/0": 0.0, "silent/1": 0.8, "saturated/1": 0.2}
    found = complaints(metrics)
    assert set(found) == {"rate/0", "silent/1"}
    assert "calibrate" in found["silent/1"]
    assert not complaints({"rate/0": 20.0, "silent/0": 0.4, "saturated/0": 0.0})


def test_fractions():
    counts = (jnp.array([[0.0, 10.0, 600.0], [0.0, 10.0, 600.0]]),)
    found = activity(counts, jnp.array([1000.0, 1000.0]), 1.0)
    assert float(found["rate/0"]) == pytest.approx((0 + 10 + 600) / 3)
    assert float(found["silent/0"]) == pytest.approx(1 / 3)
    assert float(found["saturated/0"]) == pytest.approx(1 / 3)
    assert float(silent_fraction(jnp.array([0.0, 1.0]))) == 0.5
    assert float(saturated_fraction(jnp.array([10.0, 900.0]), 1.0)) == 0.5


@pytest.mark.parametrize("loop", by_day(["train", "evaluate"], ["evaluate"]))
def test_training_and_evaluation_say_it_too(loop):
    quiet = network(LIF(), bias=(0.0, 0.0))
    trials = Trial(jnp.zeros((4, 20, 40)), jnp.zeros(4, int))
    loss, simulator = CrossEntropy(), ClockDriven(Gate(), 1.0)
    if loop == "evaluate":
        with pytest.warns(ActivityWarning, match="layer 1 are silent"):
            make_evaluate(loss)(quiet, trials, simulator)
        return
    params, fixed = eqx.partition(quiet, trainable(quiet))
    step, state = make_train_step(fixed, loss, optax.sgd(0.0)), start(params, optax.sgd(0.0))
    state, _ = step(state, trials, simulator)
    with pytest.warns(ActivityWarning, match="layer 0 are silent"):  # of the first
        state, _ = step(state, trials, simulator)
    silent = make_train_step(fixed, loss, optax.sgd(0.0), warn=False)
    for _ in range(3):
        state, _ = silent(state, trials, simulator)


def test_one_word_brings_a_gradient_of_the_same_size():
    """Of hidden weights and biases, by every release with what it brings, in a recurrent network."""
    given = Network.dense(
        40,
        (50,),
        3,
        neuron=LIF(tau_mem=50.0),
        synapse=Exponential((20.0, 50.0)),
        recurrent_scale=0.5,
        key=KEY,
    )
    params, fixed = eqx.partition(given, trainable(given))
    trials, loss = Trial(stimuli()["rates"][None], jnp.zeros(1, int)), CrossEntropy()
    norms = {}
    for release in RELEASES:
        simulator = ClockDriven(Gate(release=release), 2.0)
        _, metrics = jax.jit(lambda p, s: gradient(p, fixed, trials, s, loss=loss))(params, simulator)
        norms[release] = float(metrics["gradient/layers.0.recurrent.weight"])
    assert all(np.isfinite(list(norms.values())))
    assert max(norms.values()) < 100 * min(norms.values())
