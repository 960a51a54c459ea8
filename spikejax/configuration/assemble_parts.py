"""The parts of a configuration that stand by themselves: task, gate, adjoint, noise, loss, optimiser."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Float

from ..adjoints import AbstractAdjoint
from ..component import components, declarations
from ..errors import ConfigError
from ..gates import Gate
from ..losses import AbstractLoss, Sum
from ..noise import Noise
from ..parameters import field_name
from ..simulators import AbstractSimulator, ClockDriven
from ..tasks import AbstractTask
from ..training import Annealing, make_evaluate, scale_by_slayer_nadam, scale_by_tensor_adam, scale_groups
from .assemble_network import build_neuron, build_synapse
from .making import at, make
from .schema import Config
from .tables import Table


def batch_key(config: Config) -> jax.Array:
    """The key of all randomness in training."""
    return jax.random.split(jax.random.key(config.seed))[1]


def build_task(config: Config) -> AbstractTask:
    """The task."""
    return task_at_step(config.task, config.dt, config.seed)


def task_at_step(table: Table, dt: float, seed: int) -> AbstractTask:
    """The task of a table of the configuration at a time step (ms)."""
    assert isinstance(table.component, type)
    known = {field.name for field in dataclasses.fields(table.component)}
    context: dict[str, Any] = {name: value for name, value in (("dt", dt), ("seed", seed)) if name in known}
    return make(table, "task", **context)


def build_annealing(config: Config) -> Annealing:
    """The schedule of the sharpness over a stage."""
    return make(config.gate, "gate", component=Annealing)


def build_gate(config: Config) -> tuple[Gate, Gate]:
    """The gate at the start and at the end of training."""
    annealing = build_annealing(config)
    gate = make(config.gate, "gate", sharpness=annealing.start)
    return gate, gate.sharpen(annealing.end)


def build_adjoint(config: Config) -> AbstractAdjoint:
    """The adjoint."""
    return make(config.adjoint, "adjoint")


def build_damping(config: Config) -> dict[str, Any]:
    """Damping and clip of the adjoint, or of the one within it."""
    for one in components(build_adjoint(config)):
        if {"damping", "clip"} <= declarations(type(one)).keys():
            return {name: getattr(one, name) for name in ("damping", "clip")}
    return {"damping": None, "clip": None}


def build_noise(config: Config) -> Noise:
    """What is random within a trial."""
    return make(config.noise, "noise")


def build_loss(config: Config) -> AbstractLoss:
    """The loss, with the penalties that have a weight."""
    return _loss(config.loss, config.penalties)


def _loss(loss: Table, penalties: Table) -> AbstractLoss:
    main = make(loss, "loss")
    named = {name: getattr(penalties, name) for name in type(penalties).model_fields}
    parts = [
        make(table, f"penalties.{name}")
        for name, table in named.items()
        if table is not None and getattr(table, "weight", True)
    ]
    return Sum((main, *parts)) if parts else main


def build_simulator(
    config: Config,
    *,
    gate: Gate | None = None,
    dt: float | None = None,
    adjoint: AbstractAdjoint | None = None,
) -> AbstractSimulator:
    """What simulates a network.

    **Arguments:** `gate`: default that at the start of training; `dt`: a time step (ms) in the place of the
    configuration's; `adjoint`: one in the place of the configuration's.

    **Raises:** `ConfigError` for a gate or an adjoint of a simulator that has none.
    """
    simulator = make(config.simulator, "simulator")
    if not isinstance(simulator, ClockDriven):
        # The file that a run keeps has every key.
        for name in ("gate", "adjoint"):
            if getattr(config, name).model_dump() != getattr(Config(), name).model_dump():
                raise ConfigError(
                    f"{name}: the simulator {config.simulator.kind} has none: leave out the table, or set "
                    "simulator to clock_driven"
                )
    return simulator.clocked(
        build_gate(config)[0] if gate is None else gate,
        config.dt if dt is None else dt,
        build_adjoint(config) if adjoint is None else adjoint,
    )


def build_optimiser(config: Config) -> optax.GradientTransformation:
    """Adam, or another of its kind, with clipping, decoupled weight decay and rates by group, at a learning
    rate of 1 (the schedule comes on top)."""
    t = config.training
    parts = [optax.clip_by_global_norm(t.clip)] if t.clip else []
    adam = optax.scale_by_adam if t.moments == "element" else scale_by_tensor_adam
    kinds = {"adam": adam, "amsgrad": optax.scale_by_amsgrad, "slayer_nadam": scale_by_slayer_nadam}
    parts.append(kinds[t.optimiser](*t.betas))
    parts += [
        optax.add_decayed_weights(t.weight_decay, mask=_weights_only),
        scale_groups(t.learning_rate_scale),
        optax.scale(-1.0),
    ]
    return optax.chain(*parts)


def _weights_only(params):
    return jax.tree_util.tree_map_with_path(lambda path, _: field_name(path) == "weight", params)


def sharpness_schedule(config: Config) -> Callable[..., Float[np.ndarray, "*layers"]]:
    """The sharpness of the gate at a step of a stage, and at the number of plateaus of the loss so far: the
    annealed one, or a mixture up to that."""
    annealing, steps = build_annealing(config), config.training.steps

    def sharpness_at(step: int, level: int = 0) -> Float[np.ndarray, "*layers"]:
        draw = np.random.default_rng((config.seed, 1, step)).random()
        return annealing.at(step, steps, level=level, stretch=annealing.stretch(draw))

    return sharpness_at


def learning_rate_schedule(config: Config) -> Callable[[int], float]:
    """The learning rate at a step of a stage: linear warm-up, cosine decay."""
    t = config.training
    warm = round(t.warmup * t.steps)
    rate = optax.cosine_decay_schedule(t.learning_rate, max(t.steps - warm, 1), t.final)
    if warm:
        rate = optax.join_schedules([optax.linear_schedule(0.0, t.learning_rate, warm), rate], [warm])
    return lambda step: float(np.asarray(rate(step)))


def step_settings(config: Config) -> dict[str, Any]:
    """The arguments of a train step that are not arrays: what a program is compiled for."""
    training = config.training
    return {
        "loss": build_loss(config),
        "optimiser": build_optimiser(config),
        "accumulate": training.accumulate,
        "noise": build_noise(config),
        "averaging": training.averaging,
    }


def evaluator(config: Config):
    """The evaluation by the loss and the noise of a configuration; the same one for all networks, so that it
    is compiled once."""
    return _evaluator(config.loss, config.penalties, config.noise)


@functools.cache
def _evaluator(loss: Table, penalties: Table, noise: Table):
    return make_evaluate(_loss(loss, penalties), noise=make(noise, "noise"), warn=False)


def try_parts(config: Config) -> None:
    """Make whatever is quick to make and reads no file, for the errors of the classes.

    **Raises:** `ConfigError` naming the table.
    """
    task, (gate, _), loss = build_task(config), build_gate(config), build_loss(config)
    at("gate", gate.check_layers, len(config.network.layers))
    build_simulator(config)
    build_noise(config)
    at("loss", loss.check, task)
    for i, layer in enumerate(config.network.layers):
        for end in (0, 1):
            build_neuron(layer.neuron, f"network.layers.{i}.neuron", end=end)
        build_synapse(layer.synapse, f"network.layers.{i}.synapse")


__all__ = [
    "batch_key",
    "build_adjoint",
    "build_annealing",
    "build_damping",
    "build_gate",
    "build_loss",
    "build_noise",
    "build_optimiser",
    "build_simulator",
    "build_task",
    "evaluator",
    "learning_rate_schedule",
    "sharpness_schedule",
    "step_settings",
    "task_at_step",
    "try_parts",
]
