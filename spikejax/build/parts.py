"""The parts of a configuration that stand by themselves: task, adjoint, noise, loss, optimiser."""

import functools
from typing import Any

import jax
import optax
from pydantic import BaseModel

from .. import losses, penalties, tasks
from ..adjoints import AbstractAdjoint, Autodiff, Checkpointed, Costate
from ..config import Config
from ..noise import Noise
from ..parameters import field_name
from ..training import make_evaluate, scale_by_tensor_adam, scale_groups


def batch_key(config: Config) -> jax.Array:
    """The key of all randomness in training."""
    return jax.random.split(jax.random.key(config.seed))[1]


def build_task(config: Config) -> tasks.AbstractTask:
    """The task."""
    return task_at_step(config.task, config.dt, config.seed)


def task_at_step(table: BaseModel, dt: float, seed: int) -> tasks.AbstractTask:
    """The task of a table of the configuration at a time step (ms)."""
    options = table.model_dump(exclude={"kind"})
    if table.kind in ("braille", "spoken_digits"):
        recordings = tasks.braille if table.kind == "braille" else tasks.spoken_digits
        return recordings(dt, seed=seed, **options)
    return (tasks.PredictiveCoding if table.kind == "predictive_coding" else tasks.DelayedXOR)(
        dt=dt, **options
    )


def build_adjoint(config: Config) -> AbstractAdjoint:
    """The adjoint."""
    kind, damping = config.adjoint.kind, build_damping(config)
    if kind == "checkpointed":
        return Checkpointed(config.adjoint.chunk, inner=Autodiff(**damping))
    return Costate(**damping) if kind == "costate" else Autodiff(**damping)


def build_damping(config: Config) -> dict[str, float | None]:
    """Damping and clipping of the adjoint."""
    return {"damping": config.adjoint.damping, "clip": config.adjoint.clip}


def build_noise(config: Config) -> Noise:
    """What is random within a trial."""
    return Noise(**config.noise.model_dump())


def build_loss(config: Config) -> losses.AbstractLoss:
    """The loss, with its regularisers if it has any."""
    return _loss(config.loss)


def _loss(c) -> losses.AbstractLoss:
    main = {
        "squared_error": losses.SquaredError,
        "response": lambda: losses.ResponseError(margin=c.margin),
        "cross_entropy": lambda: losses.CrossEntropy(windows=c.windows, smoothing=c.smoothing),
    }[c.kind]()
    extra = [
        ("rate_band", c.rate_weight, {"low": c.rate_low, "high": c.rate_high}),
        ("log_rate", c.log_rate_weight, {"target": c.log_rate}),
        ("activity", c.activity_weight, {}),
        ("low_voltage", c.voltage_weight, {"low": c.voltage_low}),
        ("whole_charge", c.partial_weight, {}),
    ]
    parts = [
        penalties.PENALTIES.make(kind, weight=weight, **fields) for kind, weight, fields in extra if weight
    ]
    return losses.Sum((main, *parts)) if parts else main


def build_optimiser(config: Config) -> optax.GradientTransformation:
    """Adam with clipping, decoupled weight decay and rates by group, at a learning rate of 1 (the schedule
    comes on top)."""
    t = config.training
    parts = [optax.clip_by_global_norm(t.clip)] if t.clip else []
    parts.append(optax.scale_by_adam(*t.betas) if t.moments == "element" else scale_by_tensor_adam(*t.betas))
    parts += [
        optax.add_decayed_weights(t.weight_decay, mask=_weights_only),
        scale_groups(t.rates),
        optax.scale(-1.0),
    ]
    return optax.chain(*parts)


def _weights_only(params):
    return jax.tree_util.tree_map_with_path(lambda path, _: field_name(path) == "weight", params)


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


@functools.cache
def evaluator(loss: BaseModel, noise: BaseModel):
    """The evaluation for two tables of the configuration; the same one for all networks, so that it is
    compiled once."""
    return make_evaluate(_loss(loss), noise=Noise(**noise.model_dump()))
