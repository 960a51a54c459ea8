"""How sharp the gate is at every update: schedules, plateaus of the loss, one value a layer."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import LIF, Exponential, Gate, Network, simulate
from spikejax.build import build, build_annealing, sharpness_schedule
from spikejax.config import ConfigError
from spikejax.config.load import check
from spikejax.training import Annealing, Plateau, train
from spikejax.training.log import read_metrics

from ..configs import PREDICTIVE, changed

CONFIG = changed(PREDICTIVE, training={"steps": 10, "evaluate_every": 5, "checkpoint_every": 4})


def with_gate(**gate):
    return check(changed(CONFIG, gate=gate))


def schedule(config) -> np.ndarray:
    return np.array([sharpness_schedule(config)(i) for i in range(config.training.steps)])


def test_linear_and_geometric_schedules():
    linear = schedule(with_gate(sharpness=1.0, sharpness_end=10.0, schedule="linear"))
    np.testing.assert_allclose(linear, np.linspace(1, 10, 10))
    geometric = schedule(with_gate(sharpness=1.0, sharpness_end=8.0))
    np.testing.assert_allclose(geometric, np.geomspace(1, 8, 10))
    # Up to update 3 the first sharpness, one update on the way, from update 5 the last: .3 and .6 of the
    # updates.
    held = schedule(with_gate(sharpness=1.0, sharpness_end=4.0, hold=0.3, anneal=0.6))
    np.testing.assert_allclose(held, [1, 1, 1, 1, 2, 4, 4, 4, 4, 4])
    assert np.all(schedule(with_gate(sharpness=3.0, schedule="constant")) == 3)


def test_a_schedule_with_a_value_for_every_layer():
    annealing = Annealing("geometric", *np.broadcast_arrays([1.0, 2.0], [4.0, 2.0], 0.0, [0.5, 1.0]))
    found = np.array([annealing.at(i, 9) for i in range(9)])
    assert found.shape == (9, 2)
    np.testing.assert_allclose(found[:, 1], 2)
    np.testing.assert_allclose(found[[0, 4, 8], 0], [1, 4, 4])


def test_the_plateau_schedule():
    plateau = Plateau(patience=2, tolerance=0.1, factor=2.0)
    annealing = Annealing("plateau", *np.broadcast_arrays(1.0, 5.0, 0.0, 1.0), plateau=plateau)
    assert [float(annealing.at(0, 10, level=k)) for k in range(4)] == [1, 2, 4, 5]


def test_the_loop_sharpens_on_plateaus_and_resumes(tmp_path):
    gate = {
        "sharpness_end": 3.0,
        "schedule": "plateau",
        "plateau": {"patience": 1, "tolerance": 0.9, "factor": 1.5},
    }
    # Windows of one update that never fall by 90 %: a rise every second update, and two stages that each
    # begin anew.
    run = build(
        check(
            changed(CONFIG, gate=gate) | {"stages": [{"training": {"steps": 7}}, {"training": {"steps": 3}}]}
        )
    )
    start = lambda: jax.tree.map(jnp.copy, run.state)  # training takes the buffers of the state it is given
    train(run.plan, start(), run.fixed, tmp_path, key=jax.random.key(0), progress=False)
    found = [m["sharpness"] for m in read_metrics(tmp_path / "metrics.jsonl")]
    np.testing.assert_allclose(found, [1, 1, 1.5, 1.5, 2.25, 2.25, 3, 1, 1, 1.5], rtol=1e-6)

    def dies(*inputs):
        if int(inputs[0].step) == 6:
            raise KeyboardInterrupt
        return run.plan.stages[0].update(*inputs)

    first = run.plan.stages[0]._replace(update=dies)
    again = tmp_path / "again"
    again.mkdir()
    with pytest.raises(KeyboardInterrupt):
        train(
            run.plan._replace(stages=(first, run.plan.stages[1])),
            start(),
            run.fixed,
            again,
            key=jax.random.key(0),
            progress=False,
        )
    # The last checkpoint is that of update 4, in the middle of a plateau.
    train(run.plan, start(), run.fixed, again, key=jax.random.key(0), progress=False, resume=True)
    assert read_metrics(again / "metrics.jsonl") == read_metrics(tmp_path / "metrics.jsonl")


def test_a_gate_for_every_layer():
    network = Network.dense(
        2, (4, 3), 1, neuron=LIF(), synapse=Exponential(5.0, rate_unit=1.0), key=jax.random.key(0)
    )
    network = eqx.tree_at(
        lambda n: [layer.bias for layer in n.layers], network, [jnp.full(4, 1.2), jnp.full(3, 1.1)]
    )
    x = jnp.ones((40, 2))
    run = lambda gate: simulate(network, x, gate=gate, dt=1.0, save="release")
    both = run(Gate(width=0.5, sharpness=jnp.array([1.0, 4.0])))
    first, second = run(Gate(width=0.5, sharpness=1.0)), run(Gate(width=0.5, sharpness=4.0))
    np.testing.assert_array_equal(both.layers[0].release, first.layers[0].release)
    assert not np.allclose(both.layers[1].release, first.layers[1].release)
    # The second layer alone, driven by the first layer of the network above.
    assert not np.allclose(both.layers[1].release, second.layers[1].release)
    equal = run(Gate(width=0.5, sharpness=jnp.array([4.0, 4.0])))
    np.testing.assert_array_equal(equal.layers[1].release, second.layers[1].release)
    with pytest.raises(
        ValueError, match="`sharpness` has 3 values, one a layer, but the network has 2 layers"
    ):
        run(Gate(width=0.5, sharpness=jnp.ones(3)))


def test_layers_are_trained_with_gates_of_their_own(tmp_path):
    layer = CONFIG["network"]["layers"][0]
    gate = {"sharpness": [1.0, 2.0], "sharpness_end": [4.0, 2.0]}
    run = build(check(changed(CONFIG, network={"layers": [layer, layer]}, gate=gate)))
    train(run.plan, run.state, run.fixed, tmp_path, key=jax.random.key(0), progress=False)
    found = np.array([m["sharpness"] for m in read_metrics(tmp_path / "metrics.jsonl")])
    np.testing.assert_allclose(found, np.stack([np.geomspace(1, 4, 10), np.full(10, 2.0)], axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ({"schedule": "constant", "sharpness_end": 2.0}, "leave out sharpness_end"),
        ({"schedule": "plateau"}, "sharpens up to sharpness_end"),
        ({"schedule": "plateau", "sharpness": 4.0, "sharpness_end": 2.0}, "must not be below sharpness"),
        ({"schedule": "plateau", "sharpness_end": 2.0, "mixture": [0.1, 0.1]}, "schedule plateau has none"),
        ({"schedule": "steps"}, "constant"),
        ({"hold": 0.5, "anneal": 0.5}, "hold must be below anneal"),
        ({"sharpness": [1.0, 2.0], "hold": [0.1]}, "must be equally long"),
        ({"sharpness": [1.0, 2.0]}, "lists of 2 values, but the network 1 layers"),
        ({"sharpness": []}, "gate.sharpness"),
        ({"plateau": {"factor": 1.0}}, "gate.plateau.factor"),
    ],
)
def test_schedules_that_make_no_sense_are_named(gate, message):
    with pytest.raises(ConfigError, match=message):
        with_gate(**gate)


def test_annealing_of_a_configuration_without_an_end_is_constant():
    assert build_annealing(with_gate(sharpness=2.0)).kind == "constant"
