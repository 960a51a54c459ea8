"""From a configuration to objects: every stage of its training, and how it is evaluated."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh

from ..adjoints import Costate
from ..errors import ConfigError, input_errors
from ..gates import Gate
from ..losses import AbstractLoss
from ..network import Network
from ..parameters import trainable
from ..readouts import LinearReadout
from ..simulators import AbstractSimulator, ClockDriven
from ..tasks import AbstractTask
from ..training import Calibration, Plan, Stage, TrainState, fit_readout, make_train_step, start
from ..training.finite import Objective
from ..training.optimisers import check_groups
from .assemble_network import build_network
from .assemble_parts import (
    batch_key,
    build_annealing,
    build_gate,
    build_loss,
    build_noise,
    build_optimiser,
    build_simulator,
    evaluator,
    learning_rate_schedule,
    sharpness_schedule,
    step_settings,
    task_at_step,
)
from .making import at, make
from .schema import Config
from .tables import Table

TaskAt = Callable[[Table, float], AbstractTask]
"""The task that a table of the configuration describes, at a time step (ms)."""


class Run(NamedTuple):
    """Everything that a configuration describes."""

    task: AbstractTask
    network: Network
    """With its initial parameters."""
    gate: Gate
    """At the start of training."""
    final_gate: Gate
    """At the end of training."""
    simulator: AbstractSimulator
    """At the end of training, with the exact gradient."""
    loss: AbstractLoss
    plan: Plan
    state: TrainState
    fixed: Network
    """The network without its trained parameters: ``equinox.combine(state.params, fixed)``."""


def build(config: Config, mesh: Mesh | None = None) -> Run:
    """The objects of a configuration.

    **Arguments:** `mesh`: the devices that batches are cut over in training; see `spikejax.distributed`.

    **Raises:** `ConfigError` where values that are valid by themselves do not fit together.
    """
    with input_errors():
        return _build(config, mesh)


def _build(config: Config, mesh: Mesh | None) -> Run:
    key_network, _ = jax.random.split(jax.random.key(config.seed))
    # One task for all stages that do not change it, and for evaluation: recordings are encoded once.
    task_at = functools.cache(lambda table, dt: task_at_step(table, dt, config.seed))
    task, loss = at("task", task_at, config.task, config.dt), build_loss(config)
    at("loss", loss.check, task)
    model = build_network(config, task.channels, loss.outputs(task), key_network)
    at("network", loss.check_network, model)
    _check_score(config, loss)
    _check_ridge(config, task, model)
    if config.network.calibrate is not None and not {"weight", "bias"} <= set(config.training.trainable):
        raise ConfigError(
            "network.calibrate scales weight and bias: training.trainable must name both, or leave it out"
        )
    params, fixed = eqx.partition(model, trainable(model, config.training.trainable))
    at("training.learning_rate_scale", check_groups, params, config.training.learning_rate_scale)
    optimiser = build_optimiser(config)
    parts = config.parts
    stages = tuple(_stage(part, task_at, model, fixed, optimiser, mesh) for part in parts)
    gate, final = build_gate(parts[0])[0], build_gate(parts[-1])[1]

    def restart(params, step: int) -> TrainState:
        return start(params, optimiser, average=config.training.averaging > 0, step=step)

    training = config.training
    score = training.score or loss.score
    plan = Plan(
        stages=stages,
        evaluate=_evaluation(config, task_at, gate, final),
        restart=restart,
        evaluate_every=training.evaluate_every,
        checkpoint_every=training.checkpoint_every,
        score=score,
        maximise=loss.maximised(score),
        rollback=None if training.rollback is None else make(training.rollback, "training.rollback"),
        gradient_limit=training.gradient_limit,
    )
    simulator = build_simulator(parts[-1], gate=final, adjoint=Costate())
    return Run(task, model, gate, final, simulator, loss, plan, restart(params, 0), fixed)


def _check_score(config: Config, loss: AbstractLoss) -> None:
    known = ("loss", *loss.reports)
    if config.training.score not in (None, *known):
        raise ConfigError(
            f"training.score is {config.training.score}, which the loss {config.loss.kind} does not report: "
            f"use {' or '.join(known)}"
        )


def _check_ridge(config: Config, task: AbstractTask, model: Network) -> None:
    if config.network.readout.init != "ridge":
        return
    if not isinstance(build_simulator(config), ClockDriven):
        raise ConfigError(
            "network.readout.init is ridge, but an event-driven simulation has no readout over time: leave "
            "it out"
        )
    if not isinstance(model.readout, LinearReadout) or task.target != "response":
        raise ConfigError(
            "network.readout.init is ridge, which needs a linear readout and a task whose target is a "
            f"response, not a {type(model.readout).__name__} and a {task.target}"
        )
    if not {"weight", "bias"} <= set(config.training.trainable):
        raise ConfigError(
            "network.readout.init is ridge, which solves for weight and bias: training.trainable must name "
            "both"
        )


def _stage(
    config: Config, task_at: TaskAt, model: Network, fixed: Network, optimiser, mesh: Mesh | None
) -> Stage:
    """One stage of training; `config` is the whole configuration as that stage sees it."""
    training, task = config.training, task_at(config.task, config.dt)
    if task.trials is not None and training.batch > task.trials:
        raise ConfigError(
            f"training.batch is {training.batch}, but the task has {task.trials} training trials"
        )
    if mesh is not None and training.batch % (training.accumulate * mesh.size):
        at_once = "training.batch / training.accumulate" if training.accumulate > 1 else "training.batch"
        raise ConfigError(
            f"{at_once} is {training.batch // training.accumulate}, which {mesh.size} devices cannot share "
            f"equally: make it a multiple of {mesh.size}"
        )
    for gate in build_gate(config):
        build_simulator(config, gate=gate).check(model)
    steps = (config.dt, config.dt / 2) if training.half_step_fraction else (config.dt,)

    def choose(step: int) -> int:
        return int(np.random.default_rng((config.seed, 2, step)).random() < training.half_step_fraction)

    return Stage(
        tasks=tuple(task_at(config.task, dt) for dt in steps),
        simulators=tuple(build_simulator(config, dt=dt) for dt in steps),
        update=make_train_step(
            fixed, **(step_settings(config) | {"optimiser": optimiser, "mesh": mesh, "warn": False})
        ),
        sharpness_at=sharpness_schedule(config),
        learning_rate_at=learning_rate_schedule(config),
        steps=training.steps,
        batch=training.batch,
        objective=Objective(build_loss(config), build_noise(config)),
        choose=choose,
        plateau=build_annealing(config).plateau,
    )


def _evaluation(config: Config, task_at: TaskAt, first: Gate, final: Gate):
    """How a network is evaluated on held-out trials: the mean of the metrics over the simulators that
    ``training.select_by`` names, and over the time steps that training uses."""
    steps = (config.dt, config.dt / 2) if config.training.half_step_fraction else (config.dt,)
    settings = []
    for dt in steps:
        # Nothing is differentiated here.
        begin, end = (
            build_simulator(part, gate=gate, dt=dt, adjoint=Costate())
            for part, gate in ((config.parts[0], first), (config.parts[-1], final))
        )
        chosen = {
            "smooth": (end,),
            "hard": (end.hard(),),
            "both": (end, end.hard()),
            "all": (begin, end, end.hard()),
        }
        held = task_at(config.task, dt).parts("validation")
        if not any(len(part.stimulus) for part in held):
            raise ConfigError(_no_trial(config))
        evaluate = evaluator(config)
        settings += [(evaluate, held, one) for one in chosen[config.training.select_by]]

    def metrics(network: Network) -> dict[str, float]:
        each = [evaluate(network, held, simulator).metrics for evaluate, held, simulator in settings]
        return {name: sum(m[name] for m in each) / len(each) for name in each[0]}

    return metrics


def initial_state(config: Config, run: Run) -> TrainState:
    """The state to start training from: the initial parameters, calibrated and with the readout solved for
    where the configuration asks for it."""
    ridge = config.network.readout.init == "ridge"
    if config.network.calibrate is None and not ridge:
        return run.state
    network = calibrated(config, run)
    if ridge:
        network = with_readout(config, run, network)
    params, _ = eqx.partition(network, trainable(network, config.training.trainable))
    return run.plan.restart(params, 0)


def calibrated(config: Config, run: Run) -> Network:
    """The initial network, with its layers at the rate that ``[network.calibrate]`` asks for, if it does."""
    if config.network.calibrate is None:
        return run.network
    wish: Calibration = make(config.network.calibrate, "network.calibrate")
    trials = run.task.batch(jax.random.fold_in(batch_key(config), 2), 0, wish.trials)
    simulator = build_simulator(config.parts[0], adjoint=Costate())
    return at("network.calibrate", wish, run.network, trials, simulator, noise=build_noise(config))


def with_readout(config: Config, run: Run, network: Network) -> Network:
    """The network with the readout of ``network.readout.init = "ridge"``; see
    `spikejax.training.fit_readout`."""
    readout, key, stage = config.network.readout, jax.random.fold_in(batch_key(config), 1), run.plan.stages[0]
    # In turn at the first and the last sharpness of the gate, and at every time step that training uses.
    gates, steps = (run.gate, run.final_gate), [config.dt / 2**k for k in range(len(stage.tasks))]

    def trials():
        for i in range(readout.batches):
            k = (i // 2) % len(steps)
            yield stage.tasks[k].batch(key, i, config.training.batch), ClockDriven(gates[i % 2], steps[k])

    def target(trial):
        return trial.target.signal, trial.target.weight

    return fit_readout(network, trials(), target, ridge=readout.ridge, noise=build_noise(config))


def _no_trial(config: Config) -> str:
    name = next((name for name in ("validation", "held_out") if name in type(config.task).model_fields), None)
    where = "task" if name is None else f"task.{name} of {getattr(config.task, name)}"
    return f"{where} holds out no trial: hold out more"


__all__ = ["Run", "build", "calibrated", "initial_state", "with_readout"]
