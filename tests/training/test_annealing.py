"""How sharp the gate is at every update: schedules, plateaus of the loss, one value a layer."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import LIF, Exponential, Gate, Network, simulate
from spikejax.configuration import build, check, sharpness_schedule
from spikejax.errors import ConfigError
from spikejax.training import Annealing, Plateau, train
from spikejax.training.annealing import SCHEDULES
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
    annealing = Annealing(sharpness=(1.0, 2.0), sharpness_end=(4.0, 2.0), anneal=(0.5, 1.0))
    found = np.array([annealing.at(i, 9) for i in range(9)])
    assert found.shape == (9, 2)
    np.testing.assert_allclose(found[:, 1], 2)
    np.testing.assert_allclose(found[[0, 4, 8], 0], [1, 4, 4])


def test_the_plateau_schedule():
    plateau = Plateau(patience=2, tolerance=0.1, factor=2.0)
    annealing = Annealing(sharpness_end=5.0, schedule=plateau)
    assert annealing.plateau is plateau
    assert [float(annealing.at(0, 10, level=k)) for k in range(4)] == [1, 2, 4, 5]


def test_the_loop_sharpens_on_plateaus_and_resumes(tmp_path):
    gate = {
        "sharpness_end": 3.0,
        "schedule": {"kind": "plateau", "patience": 1, "tolerance": 0.9, "factor": 1.5},
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
        2,
        (4, 3),
        1,
        neuron=LIF(),
        synapse=Exponential(5.0, rate_unit=1.0),
        key=jax.random.key(0),
        bias=(0.0, 0.0),
        recurrent_scale=0.5,
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
        ({"schedule": "constant", "sharpness_end": 2.0}, "leave out `sharpness_end`"),
        ({"schedule": "plateau"}, "sharpens up to `sharpness_end`"),
        ({"schedule": "plateau", "sharpness": 4.0, "sharpness_end": 2.0}, "must not be below `sharpness`"),
        (
            {"schedule": "plateau", "sharpness_end": 2.0, "mixture": [0.1, 0.1]},
            "a plateau `schedule` has none",
        ),
        ({"schedule": "steps"}, "gate.schedule: unknown schedule 'steps': choose from constant, linear"),
        ({"hold": 0.5, "anneal": 0.5}, "`hold` must be below `anneal`"),
        ({"sharpness": [1.0, 2.0], "hold": [0.1]}, "lists of 1 and 2 values"),
        ({"sharpness": [1.0, 2.0]}, "2 values, one a layer, but the network has 1 layer"),
        ({"sharpness": []}, "gate.sharpness has 0 entries"),
        ({"schedule": {"kind": "plateau", "factor": 1.0}}, "gate.schedule.factor is 1"),
    ],
)
def test_schedules_that_make_no_sense_are_named(gate, message):
    with pytest.raises(ConfigError, match=message):
        with_gate(**gate)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "liner"}, "did you mean 'linear'"),
        ({"sharpness": 0.0}, "`sharpness` is 0, but must be finite and above 0"),
        ({"anneal": 1.5}, "`anneal` is 1.5, but must be"),
        ({"mixture": (0.5, 0.5)}, "set `sharpness_end`"),
        ({"mixture": (0.7, 0.7), "sharpness_end": 2.0}, "sum is at most 1"),
    ],
)
def test_an_annealing_is_checked_in_python_too(options, message):
    with pytest.raises(ValueError, match=message):
        Annealing(**options)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_every_schedule_begins_and_ends_where_it_says(kind):
    end = {} if kind == "constant" else {"sharpness_end": 8.0}
    annealing = Annealing(sharpness=2.0, schedule=kind, hold=0.2, anneal=0.8, **end)
    for level in (0, 50):
        found = np.array([annealing.at(i, 20, level=level) for i in range(20)])
        assert np.all((found >= 2.0) & (found <= 8.0))
        assert np.all(np.diff(found) >= 0)
    assert annealing.at(0, 20) == 2.0
    assert annealing.at(19, 20, level=50) == (8.0 if end else 2.0)


def test_annealing_without_an_end_is_constant():
    assert [float(Annealing(sharpness=2.0).at(i, 10)) for i in (0, 5, 9)] == [2.0, 2.0, 2.0]
