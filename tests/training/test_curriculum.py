"""Stages, rollback, averaging, rates by group, and a readout that is solved for."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spikejax import ClockDriven, Dense, Masked, Noise, simulate, trainable
from spikejax.configuration import build, check, dump, initial_state, sharpness_schedule
from spikejax.errors import ConfigError
from spikejax.losses import CrossEntropy
from spikejax.parameters import resolve
from spikejax.training import (
    Rollback,
    Stage,
    fit_readout,
    make_evaluate,
    make_train_step,
    scale_by_tensor_adam,
    scale_groups,
    start,
    train,
)
from spikejax.training.log import read_metrics

from ..command_line import killed_and_resumed
from ..configs import XOR, changed
from .stepping import DT, plan_for, stepper


def test_stages_follow_each_other(problem, tmp_path):
    _network, trials, gate = problem
    seen, simulator = [], ClockDriven(gate, DT)

    class Task:
        def __init__(self, name):
            self.name = name

        def batch(self, key, step, size):
            seen.append((self.name, step, size))
            return jax.tree.map(lambda x: x[:size], trials)

    plan, state, fixed = plan_for(problem)
    step = plan.stages[0].update
    one = Stage(
        tasks=(Task("a"), Task("fine")),
        simulators=(simulator, simulator),
        update=step,
        sharpness_at=lambda i, level: np.asarray(1.0),
        learning_rate_at=lambda i: 1.0,
        steps=3,
        batch=8,
        choose=lambda i: int(i == 1),
    )
    two = one._replace(
        tasks=(Task("b"),),
        simulators=(simulator,),
        sharpness_at=lambda i, level: np.asarray(2.0 + i),
        learning_rate_at=lambda i: 0.1 * i,
        steps=2,
        batch=4,
        choose=lambda i: 0,
    )
    train(plan._replace(stages=(one, two)), state, fixed, tmp_path, key=jax.random.key(0), progress=False)
    assert seen == [("a", 0, 8), ("fine", 1, 8), ("a", 2, 8), ("b", 3, 4), ("b", 4, 4)]
    metrics = read_metrics(tmp_path / "metrics.jsonl")
    assert [m["sharpness"] for m in metrics] == [1.0, 1.0, 1.0, 2.0, 3.0]
    assert np.allclose([m["learning_rate"] for m in metrics], [1.0, 1.0, 1.0, 0.0, 0.1])


def test_a_factor_of_the_learning_rate_scales_the_update(problem):
    network, trials, gate = problem
    step, state, _ = stepper(network, optax.sgd(0.1))
    before = jax.device_get(state.params)
    whole = jax.device_get(step(state, trials, ClockDriven(gate, DT))[0].params)
    step, state, _ = stepper(network, optax.sgd(0.1))
    half = jax.device_get(step(state, trials, ClockDriven(gate, DT), 0.5)[0].params)
    for a, b, c in zip(*map(jax.tree.leaves, (before, whole, half)), strict=True):
        np.testing.assert_allclose(c - a, 0.5 * (b - a), rtol=1e-9, atol=1e-15)


def test_rollback_returns_to_the_best(problem, tmp_path):
    _network, _trials, _gate = problem
    plan, state, fixed = plan_for(problem)
    scores = iter([1.0, 3.0, 2.0, 2.0, 2.0, 2.0])
    kept = []

    def evaluate(network):
        kept.append(jax.device_get(eqx.filter(network, trainable(network))))
        return {"loss": -next(scores)}

    restarted = []

    def restart(params, at):
        restarted.append((jax.device_get(params), at))
        return start(params, optax.adam(1e-2), step=at)

    plan = plan._replace(
        stages=(plan.stages[0]._replace(steps=12),),
        evaluate=evaluate,
        restart=restart,
        score="loss",
        rollback=Rollback(tolerance=0.5, patience=2, factor=0.25),
    )
    _, best = train(plan, state, fixed, tmp_path, key=jax.random.key(0), progress=False)
    assert [at for _, at in restarted] == [
        8,
        12,
    ]  # two bad evaluations after the best one at step 4, and two more
    for a, b in zip(jax.tree.leaves(restarted[0][0]), jax.tree.leaves(kept[1]), strict=True):
        assert np.array_equal(a, b)
    rates = [m["learning_rate"] for m in read_metrics(tmp_path / "metrics.jsonl")]
    assert np.allclose(rates, [1.0] * 8 + [0.25] * 4)
    for a, b in zip(
        jax.tree.leaves(eqx.filter(best, trainable(best))), jax.tree.leaves(kept[1]), strict=True
    ):
        assert np.array_equal(a, b)


def test_rollback_survives_a_gradient_that_is_not_finite(problem, tmp_path):
    _network, trials, _gate = problem

    class Task:
        def batch(self, key, step, size):
            return trials._replace(
                stimulus=trials.stimulus.at[0, 3, 1].set(jnp.where(step == 3, jnp.nan, 0.0))
            )

    plan, state, fixed = plan_for(
        problem, task=Task(), rollback=Rollback(tolerance=0.5, patience=2, factor=0.5)
    )
    train(plan, state, fixed, tmp_path, key=jax.random.key(0), progress=False)
    metrics = read_metrics(tmp_path / "metrics.jsonl")
    assert [m["rollback"] for m in metrics] == [False, False, False, True, False, False]
    assert metrics[-1]["finite"]


def test_averaging(problem):
    network, trials, gate = problem
    params, fixed = eqx.partition(network, trainable(network))
    optimiser = optax.sgd(0.1)
    step = make_train_step(fixed, CrossEntropy(), optimiser, averaging=0.75)
    state = start(params, optimiser, average=True)
    average = jax.device_get(state.params)
    for _ in range(3):
        state, _ = step(state, trials, ClockDriven(gate, DT))
        average = jax.tree.map(lambda a, p: 0.75 * a + 0.25 * np.asarray(p), average, state.params)
    for a, b in zip(jax.tree.leaves(average), jax.tree.leaves(state.evaluated), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert not np.allclose(jax.tree.leaves(state.evaluated)[0], jax.tree.leaves(state.params)[0])


def test_tensor_adam_has_one_second_moment():
    gradients = [
        {"a": jnp.array([1.0, 3.0]), "b": jnp.array([0.1])},
        {"a": jnp.array([2.0, -1.0]), "b": jnp.array([-0.2])},
    ]
    optimiser = scale_by_tensor_adam(0.8, 0.9, eps=0.0)
    state = optimiser.init(gradients[0])
    for g in gradients:
        update, state = optimiser.update(g, state)
    mean = (0.2 * 0.8 * np.array([1.0, 3.0]) + 0.2 * np.array([2.0, -1.0])) / (1 - 0.8**2)
    square = (0.1 * 0.9 * 5.0 + 0.1 * 2.5) / (1 - 0.9**2)
    np.testing.assert_allclose(update["a"], mean / np.sqrt(square), rtol=1e-12)
    # One number in a tensor: the same as Adam.
    adam = optax.scale_by_adam(0.8, 0.9, eps=0.0)
    state = adam.init(gradients[0])
    for g in gradients:
        expected, state = adam.update(g, state)
    np.testing.assert_allclose(update["b"], expected["b"], rtol=1e-12)


def test_rates_by_group(problem):
    network = problem[0]
    params = eqx.filter(network, trainable(network))
    ones = jax.tree.map(jnp.ones_like, params)
    scaled, _ = scale_groups({"recurrent": 0.5, "bias": 2.0, "readout": 3.0, "readout.bias": 4.0}).update(
        ones, optax.EmptyState()
    )
    assert jnp.all(scaled.layers[0].recurrent.weight == 0.5)
    assert jnp.all(scaled.layers[0].feedforward.weight == 1.0)
    assert jnp.all(scaled.layers[0].bias == 2.0)
    assert jnp.all(scaled.readout.connection.weight == 3.0)
    assert jnp.all(scaled.readout.bias == 4.0)
    with pytest.raises(ConfigError, match=r"training\.learning_rate_scale: 'recurent' is no part"):
        build(check(changed(XOR, training={"learning_rate_scale": {"recurent": 1.0}})))


def test_masked_synapses_stay_absent(problem):
    network, trials, gate = problem
    own = network.layers[0].recurrent
    mask = ~jnp.eye(6, dtype=bool)[:, None, :]
    network = eqx.tree_at(lambda n: n.layers[0].recurrent, network, own.masked(mask))
    plain = eqx.tree_at(lambda n: n.layers[0].recurrent, network, Dense(own.weight * mask, own.in_shape))
    x = trials.stimulus[0]
    a, b = (simulate(n, x, gate=gate, dt=DT).readout for n in (network, plain))
    assert np.array_equal(a, b)
    step, state, fixed = stepper(network, optax.adam(0.1))
    for _ in range(3):
        state, _ = step(state, trials, ClockDriven(gate, DT))
    trained = eqx.combine(state.params, fixed).layers[0].recurrent.weight
    assert isinstance(trained, Masked)
    value = np.asarray(resolve(trained))
    assert np.all(value[~np.broadcast_to(mask, value.shape)] == 0)
    assert not np.allclose(value, np.asarray(own.weight * mask))


def test_ridge_readout_is_the_least_squares_solution(problem):
    network, trials, gate = problem
    target = jax.random.normal(jax.random.key(3), (8, 20, 3))
    weight = jnp.linspace(0.1, 1.0, 20)
    batch = trials._replace(target=target)
    fitted = fit_readout(
        network, [(batch, ClockDriven(gate, DT))], lambda trial: (trial.target, weight), ridge=1e-14
    )
    s = np.asarray(
        jax.vmap(lambda x: simulate(network, x, gate=gate, dt=DT, save="activation").layers[0].activation)(
            trials.stimulus
        )
    )
    features = np.concatenate([s.reshape(160, -1), np.ones((160, 1))], axis=1)
    root = np.sqrt(np.tile(weight, 8))[:, None]
    expected = np.linalg.lstsq(root * features, root * np.asarray(target).reshape(160, 3), rcond=None)[0]
    found = np.concatenate(
        [np.asarray(fitted.readout.connection.weight).reshape(3, -1).T, np.asarray(fitted.readout.bias)[None]]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    only = eqx.tree_at(
        lambda n: n.readout.connection, network, network.readout.connection.masked(jnp.arange(6) < 4)
    )
    masked = fit_readout(
        only, [(batch, ClockDriven(gate, DT))], lambda trial: (trial.target, weight), ridge=1e-14
    )
    expected = np.linalg.lstsq(
        root * features[:, [0, 1, 2, 3, 6]], root * np.asarray(target).reshape(160, 3), rcond=None
    )[0]
    found = np.asarray(resolve(masked.readout.connection.weight)).reshape(3, -1).T
    np.testing.assert_allclose(found[:4], expected[:4], rtol=1e-4, atol=1e-6)
    assert np.all(found[4:] == 0)


@pytest.mark.nightly
def test_ridge_readout_of_a_configuration_lowers_the_loss():
    config = check(XOR)
    run = build(config)
    state = initial_state(config, run)
    evaluate = make_evaluate(run.loss)
    trials = run.task.split("validation")
    before, after = (
        evaluate(n, trials, ClockDriven(run.gate, config.dt)).metrics["loss"]
        for n in (run.network, eqx.combine(state.params, run.fixed))
    )
    assert after < before


def test_mixture_of_sharpness():
    gate = {"sharpness": 1.0, "sharpness_end": 16.0, "anneal": 1e-3, "mixture": [0.25, 0.25]}
    config = check(changed(XOR, gate=gate, training={"steps": 2000}))
    drawn = np.array([float(sharpness_schedule(config)(i)) for i in range(1, 2000)])
    assert 0.2 < np.mean(drawn == 1.0) < 0.3
    assert 0.2 < np.mean(np.isclose(drawn, 16.0)) < 0.3
    between = np.log(drawn[(drawn > 1.0) & (drawn < 15.999)]) / np.log(16.0)
    assert abs(between.mean() - 0.5) < 0.03
    assert abs(between.std() - 12**-0.5) < 0.03
    again = [float(sharpness_schedule(config)(i)) for i in range(1, 20)]
    assert np.array_equal(again, drawn[:19])


def test_stages_are_checked():
    config = check(
        changed(
            XOR,
            stages=[
                {"training": {"steps": 3}},
                {"task": {"buckets": [60.0], "odds": [1.0]}, "gate": {"sharpness": 2.0}},
            ],
        )
    )
    assert config.stage(0).training.steps == 3
    assert config.stage(0).training.batch == 12
    assert config.stage(1).task.buckets == (60.0,)
    run = build(config)
    assert run.plan.steps == 7
    assert float(run.final_gate.sharpness) == 2.0
    assert run.plan.number_at(2) == (0, 2)
    assert run.plan.number_at(3) == (1, 0)
    for stage, message in (
        ({"network": {"layers": []}}, r"stages\.0\.network: a stage can change"),
        ({"training": {"averaging": 0.5}}, r"stages\.0\.training\.averaging"),
        ({"gate": {"width": -1.0}}, r"stages\.0: gate\.width"),
        ({"task": {"bucket": [1.0]}}, r"stages\.0: unknown key task\.bucket"),
        ({"task": {"kind": "braille"}}, r"stages\.0\.task\.kind: the same for all stages"),
        ({"loss": {"kind": "squared_error"}}, r"stages\.0\.loss\.kind: the same for all stages"),
    ):
        with pytest.raises(ConfigError, match=message):
            check(changed(XOR, stages=[stage]))


def test_values_that_do_not_go_together_are_named():
    layer = XOR["network"]["layers"][0]
    for tables, message in (
        ({"gate": {"mixture": [0.5, 0.5]}}, "set `sharpness_end`"),
        ({"gate": {"sharpness_end": 2.0, "mixture": [0.8, 0.8]}}, "at most 1"),
        (
            {"network": {"layers": [layer | {"recurrent": {"self_excitation": [0.9, 0.3]}}]}},
            r"must be \[low, high\]",
        ),
        ({"network": {"layers": [layer | {"recurrent": {"scale": [0.1]}}]}}, "there are 1 scales of weights"),
        (
            {
                "network": {
                    "layers": [layer | {"recurrent": {"autapses": False, "self_excitation": [0.1, 0.2]}}]
                }
            },
            "`self_excitation` needs all synapses",
        ),
        (
            {"network": {"layers": [layer | {"feedforward": {"scale": [1.0, 2.0, 3.0]}}]}},
            "3 scales of weights",
        ),
        (
            {
                "network": {"layers": [layer | {"synapse": {"tau_syn": [20.0, 5.0]}}]},
                "penalties": {"activity": {"weight": 1.0}},
            },
            "slowest last",
        ),
        ({"training": XOR["training"] | {"trainable": ["weight"]}}, "must name both"),
        ({"task": {"odds": [0.0, 0.0]}}, "all 0"),
        (
            {"loss": {"kind": "cross_entropy"}},
            "unknown key loss.margin: response, timed_count have it, but known here: kind, windows",
        ),
        ({"training": XOR["training"] | {"score": "error"}}, "training.score is error"),
    ):
        with pytest.raises(ConfigError, match=message):
            build(check(changed(XOR, **tables)))
    with pytest.raises(
        ConfigError, match=r"loss: CrossEntropy compares a readout with a class, but .* a response"
    ):
        check(XOR | {"loss": "cross_entropy"})


def test_finer_updates_see_the_same_task_at_half_the_step():
    config = check(changed(XOR, training={"half_step_fraction": 0.4}))
    stage = build(config).plan.stages[0]
    assert [task.dt for task in stage.tasks] == [2.0, 1.0]
    assert [simulator.dt for simulator in stage.simulators] == [2.0, 1.0]
    picks = np.array([stage.choose(i) for i in range(1000)])
    assert 0.35 < picks.mean() < 0.45


@pytest.mark.slow
def test_a_curriculum_resumes_bit_identically(tmp_path):
    # Every part of it: stages, mixtures, updates at dt/2, an average, a solved readout, and rollbacks (at any
    # worse evaluation).
    training = {
        "steps": 20, "averaging": 0.9, "half_step_fraction": 0.3, "learning_rate": 0.02,
        "evaluate_every": 4, "checkpoint_every": 4,
        "select_by": "all", "rollback": {"patience": 1, "tolerance": 0.0, "factor": 0.8},
    }  # fmt: skip
    gate = {"width": 1.0, "sharpness_end": 4.0, "mixture": [0.3, 0.3]}
    stages = [{}, {"gate": {"sharpness": 2.0}, "adjoint": {"damping": 0.02}}]
    config = check(changed(XOR, gate=gate, training=training, stages=stages))
    killed_and_resumed(tmp_path, dump(config))
    assert any(m["rollback"] for m in read_metrics(tmp_path / "whole" / "metrics.jsonl"))


def test_noise_of_the_initial_state(problem):
    network, trials, gate = problem
    neuron = network.layers[0].neuron
    assert float(neuron.init((3,)).v[0]) == float(neuron.v_init)
    v = np.asarray(neuron.init((20000,), key=jax.random.key(0), noise=0.1).v)
    assert abs(v.std() - 0.1) < 0.003
    keys = jax.random.split(jax.random.key(5), 8)
    quiet, noisy = (
        make_evaluate(CrossEntropy(), noise=Noise(noise))(
            network, trials._replace(key=keys), ClockDriven(gate, DT)
        )
        for noise in (0.0, 0.2)
    )
    assert quiet.metrics["loss"] != noisy.metrics["loss"]
