"""A whole configuration: every stage of its training, with what judges them."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh
from pydantic import BaseModel

from .. import losses, tasks
from ..config import Config, ConfigError
from ..gates import Gate
from ..network import Network
from ..parameters import trainable
from ..simulate import check_step
from ..simulators import ClockDriven
from ..training import Plan, Rollback, Stage, TrainState, fit_readout, make_train_step, start
from ..training.optimisers import check_groups
from .network import build_network
from .parts import (
    batch_key,
    build_adjoint,
    build_loss,
    build_noise,
    build_optimiser,
    evaluator,
    step_settings,
    task_at_step,
)
from .schedules import build_annealing, build_gate, learning_rate_schedule, sharpness_schedule

TaskAt = Callable[[BaseModel, float], tasks.AbstractTask]
"""The task that a table of the configuration describes, at a time step (ms)."""


class Run(NamedTuple):
    """Everything that a configuration describes."""

    task: tasks.AbstractTask
    network: Network
    """With its initial parameters."""
    gate: Gate
    """At the start of training."""
    final_gate: Gate
    """At the end of training."""
    loss: losses.AbstractLoss
    plan: Plan
    state: TrainState
    fixed: Network
    """The network without its trained parameters: ``equinox.combine(state.params, fixed)``."""


def build(config: Config, mesh: Mesh | None = None) -> Run:
    """The objects of a configuration.

    **Arguments:** `mesh`: the devices that batches are cut over in training; see `spikejax.distributed`.

    **Raises:** `ConfigError` where values that are valid by themselves do not fit together.
    """
    try:
        return _build(config, mesh)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _build(config: Config, mesh: Mesh | None) -> Run:
    key_network, _ = jax.random.split(jax.random.key(config.seed))
    # One task for all stages that do not change it, and for the judge: recordings are encoded once.
    task_at = functools.cache(lambda table, dt: task_at_step(table, dt, config.seed))
    task = task_at(config.task, config.dt)
    _check_loss(config, task)
    outputs = task.outputs * (config.loss.windows if config.loss.kind == "cross_entropy" else 1)
    model = build_network(config, task.channels, outputs, key_network)
    params, fixed = eqx.partition(model, trainable(model, config.training.trainable))
    check_groups(params, config.training.rates)
    optimiser = build_optimiser(config)
    parts = [config.stage(i) for i in range(len(config.stages))] or [config]
    stages = tuple(_stage(part, task_at, model, fixed, optimiser, mesh) for part in parts)
    gate, final = build_gate(parts[0])[0], build_gate(parts[-1])[1]

    def restart(params, step: int) -> TrainState:
        return start(params, optimiser, average=config.training.averaging > 0, step=step)

    training = config.training
    plan = Plan(
        stages=stages,
        evaluate=_judge(config, task_at, gate, final),
        restart=restart,
        evaluate_every=training.evaluate_every,
        checkpoint_every=training.checkpoint_every,
        score=training.score or ("accuracy" if config.loss.kind == "cross_entropy" else "loss"),
        rollback=None if training.rollback is None else Rollback(**training.rollback.model_dump()),
        gradient_limit=training.gradient_limit,
    )
    return Run(task, model, gate, final, build_loss(config), plan, restart(params, 0), fixed)


def _check_loss(config: Config, task: tasks.AbstractTask) -> None:
    for i, layer in enumerate(config.network.layers):
        tau = layer.synapse.tau_syn
        if config.loss.activity_weight and max(tau) != tau[-1]:
            raise ConfigError(
                f"loss.activity_weight is of the last time constant: list network.layers.{i}.synapse.tau_syn slowest last"
            )
    expected = {
        "braille": "cross_entropy",
        "predictive_coding": "squared_error",
        "delayed_xor": "response",
        "spoken_digits": "cross_entropy",
    }[config.task.kind]
    if config.loss.kind != expected:
        raise ConfigError(
            f"loss.kind is {config.loss.kind}, but the targets of the task {config.task.kind} go with {expected}"
        )
    if config.training.score in ("accuracy", "error") and (config.training.score == "accuracy") != bool(
        task.labels
    ):
        raise ConfigError(
            f"training.score is {config.training.score}, which the task {config.task.kind} does not report: use loss"
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
            f"{at_once} is {training.batch // training.accumulate}, which {mesh.size} devices cannot share equally: "
            f"make it a multiple of {mesh.size}"
        )
    gate, adjoint = build_gate(config)[0], build_adjoint(config)
    for one in build_gate(config):
        check_step(model, one, config.dt)
    steps = (config.dt, config.dt / 2) if training.finer else (config.dt,)

    def choose(step: int) -> int:
        return int(np.random.default_rng((config.seed, 2, step)).random() < training.finer)

    return Stage(
        tasks=tuple(task_at(config.task, dt) for dt in steps),
        simulators=tuple(ClockDriven(gate, dt, adjoint) for dt in steps),
        update=make_train_step(fixed, **step_settings(config) | {"optimiser": optimiser, "mesh": mesh}),
        sharpness_at=sharpness_schedule(config),
        learning_rate_at=learning_rate_schedule(config),
        steps=training.steps,
        batch=training.batch,
        choose=choose,
        plateau=build_annealing(config).plateau,
    )


def _judge(config: Config, task_at: TaskAt, first: Gate, final: Gate):
    """How held-out trials judge a network: the mean of the metrics over the gates that ``training.judge``
    names, and over the time steps that training uses."""
    steps = (config.dt, config.dt / 2) if config.training.finer else (config.dt,)
    gates = {
        "smooth": (final,),
        "hard": (final.hard(),),
        "both": (final, final.hard()),
        "all": (first, final, final.hard()),
    }
    judges = []
    for dt in steps:
        held = task_at(config.task, dt).parts("validation")
        if not any(len(part.stimulus) for part in held):
            raise ConfigError(
                f"task.validation of {config.task.validation:g} holds out no trial: use a larger fraction"
            )
        evaluate = evaluator(config.loss, config.noise)
        judges += [(evaluate, held, ClockDriven(gate, dt)) for gate in gates[config.training.judge]]

    def judge(network: Network) -> dict[str, float]:
        each = [evaluate(network, held, simulator).metrics for evaluate, held, simulator in judges]
        return {name: sum(m[name] for m in each) / len(each) for name in each[0]}

    return judge


def initial_state(config: Config, run: Run) -> TrainState:
    """The state to start training from: the initial parameters, with the readout solved for if the
    configuration asks for it."""
    return solve_readout(config, run) if config.network.readout.init == "ridge" else run.state


def solve_readout(config: Config, run: Run) -> TrainState:
    """The state to start training from with ``network.readout.init = "ridge"``; see
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

    network = fit_readout(run.network, trials(), target, ridge=readout.ridge, noise=build_noise(config))
    params, _ = eqx.partition(network, trainable(network, config.training.trainable))
    return run.plan.restart(params, 0)
