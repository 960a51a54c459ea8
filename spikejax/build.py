"""The only place where a configuration becomes objects."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from . import losses, network, tasks
from .adjoints import AbstractAdjoint, Autodiff, Checkpointed, Costate, Leash
from .config import Config, ConfigError
from .config.schema import Layer as LayerConfig
from .gates import Gate
from .metrics import leaf_name
from .network import Network
from .neurons import NEURONS
from .parameters import positive, trainable
from .simulate import check_step
from .synapses import Exponential
from .training import Plan, TrainState, make_evaluate, make_train_step, start


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


def build(config: Config) -> Run:
    """The objects of a configuration.

    **Raises:** `ConfigError` where values that are valid by themselves do not fit together.
    """
    try:
        return _build(config)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _build(config: Config) -> Run:
    key_network, _ = jax.random.split(jax.random.key(config.seed))
    task = build_task(config)
    if task.labels and config.loss.kind != "cross_entropy":
        raise ConfigError(f"loss.kind is {config.loss.kind}, but the targets of the task are classes: use cross_entropy")
    loss = build_loss(config)
    outputs = task.outputs * (config.loss.windows if config.loss.kind == "cross_entropy" else 1)
    model = build_network(config, task.channels, outputs, key_network)
    gate, final = build_gate(config)
    check_step(model, gate, config.dt)
    check_step(model, final, config.dt)
    if config.training.batch > len(task.targets["train"]):
        raise ConfigError(f"training.batch is {config.training.batch}, but the task has {len(task.targets['train'])} training trials")
    params, fixed = eqx.partition(model, trainable(model, config.training.trainable))
    optimiser = build_optimiser(config)
    step = make_train_step(fixed, loss, optimiser, dt=config.dt, adjoint=build_adjoint(config), accumulate=config.training.accumulate)
    evaluate = make_evaluate(loss, dt=config.dt)
    held = task.split("validation")
    if len(held.stimulus) == 0:
        raise ConfigError(f"task.validation of {config.task.validation:g} holds out no trial: use a larger fraction")
    training = config.training
    plan = Plan(
        task=task,
        step=step,
        evaluate=lambda network, gate: evaluate(network, held, gate),
        gate_at=schedule(config, gate),
        judge_gate=final.hard() if training.judge == "hard" else final,
        steps=training.steps,
        batch=training.batch,
        evaluate_every=training.evaluate_every,
        checkpoint_every=training.checkpoint_every,
        score="accuracy" if config.loss.kind == "cross_entropy" else "loss",
        gradient_limit=training.gradient_limit,
    )
    return Run(task, model, gate, final, loss, plan, start(params, optimiser), fixed)


def batch_key(config: Config) -> jax.Array:
    """The key of all randomness in training."""
    return jax.random.split(jax.random.key(config.seed))[1]


def build_task(config: Config) -> tasks.AbstractTask:
    """The task."""
    t = config.task
    return tasks.braille(
        config.dt,
        thresholds=t.thresholds,
        clock=t.clock,
        validation=t.validation,
        drop=t.drop,
        shift=t.shift,
        folder=t.folder,
        seed=config.seed,
    )


def build_network(config: Config, channels: int, outputs: int, key: jax.Array) -> Network:
    """The network, with positive parametrisation of whatever time constants are trained."""
    keys = jax.random.split(key, len(config.network.layers) + 1)
    shape: tuple[int, ...] = (channels,)
    layers = []
    for layer, k in zip(config.network.layers, keys, strict=False):
        layers.append(_layer(layer, shape, k))
        shape = (len(layer.synapse.tau_syn), layer.size)
    readout = config.network.readout
    if readout.kind == "leaky":
        out = network.LeakyReadout.dense(shape, outputs, scale=readout.scale, tau_out=readout.tau_out, key=keys[-1])
    else:
        out = network.LinearReadout.dense(shape, outputs, scale=readout.scale, key=keys[-1])
    taus = [name for name in config.training.trainable if name.startswith("tau_")]
    return positive(Network(tuple(layers), out), taus)


def _layer(layer: LayerConfig, shape: tuple[int, ...], key: jax.Array) -> network.Layer:
    n = layer.neuron
    size = (layer.size,)
    # One value per neuron, so that each can be trained.
    fields = {"tau_mem": jnp.full(size, n.tau_mem)}
    if n.kind != "theta":
        fields |= {"v_th": jnp.full(size, n.v_th), "v_reset": jnp.full(size, n.v_reset), "reset": n.reset}
    if n.v_init is not None:
        fields["v_init"] = jnp.full(size, n.v_init)
    return network.Layer.dense(
        shape,
        layer.size,
        NEURONS[n.kind](**fields),
        Exponential(layer.synapse.tau_syn, layer.synapse.rate_unit),
        recurrent=layer.recurrent,
        autapses=layer.autapses,
        input_scale=layer.input_scale,
        recurrent_scale=layer.recurrent_scale,
        bias=layer.bias,
        key=key,
    )


def build_gate(config: Config) -> tuple[Gate, Gate]:
    """The gate at the start and at the end of training."""
    g = config.gate
    gate = Gate(g.kernel, g.width, g.sharpness, release=g.release, detach_reset=g.detach_reset)
    return gate, gate.sharpen(g.sharpness_end or g.sharpness)


def schedule(config: Config, gate: Gate):
    """The gate at a step: sharpness growing geometrically over the first part of training, then constant."""
    g = config.gate
    ratio = (g.sharpness_end or g.sharpness) / g.sharpness
    until = max(g.anneal * config.training.steps - 1, 1)

    def gate_at(step) -> Gate:
        part = jnp.minimum(step / until, 1.0)
        return gate.sharpen(g.sharpness * ratio**part)

    return gate_at


def build_adjoint(config: Config) -> AbstractAdjoint:
    """The adjoint."""
    a = config.adjoint
    leash = Leash(damping=a.damping or None, clip=a.clip)
    if a.kind == "checkpointed":
        return Checkpointed(a.chunk, inner=Autodiff(leash))
    return Costate(leash) if a.kind == "costate" else Autodiff(leash)


def build_loss(config: Config) -> losses.AbstractLoss:
    """The loss, with its regulariser if it has one."""
    c = config.loss
    loss = losses.SquaredError() if c.kind == "squared_error" else build_cross_entropy(config)
    if c.rate_weight == 0:
        return loss
    return losses.Sum((loss, losses.RateBand(c.rate_weight, c.rate_low, c.rate_high)))


def build_cross_entropy(config: Config) -> losses.CrossEntropy:
    """The classifier's loss, and with it the way its logits are read out."""
    return losses.CrossEntropy(config.loss.windows, config.loss.smoothing)


def build_optimiser(config: Config) -> optax.GradientTransformation:
    """Adam with clipping, decoupled weight decay, linear warm-up and cosine decay."""
    t = config.training
    warm = round(t.warmup * t.steps)
    rate = optax.cosine_decay_schedule(t.learning_rate, max(t.steps - warm, 1), t.final)
    if warm:
        rate = optax.join_schedules([optax.linear_schedule(0.0, t.learning_rate, warm), rate], [warm])
    parts = [optax.clip_by_global_norm(t.clip)] if t.clip else []
    parts.append(optax.adamw(rate, *t.betas, weight_decay=t.weight_decay, mask=_weights_only))
    return optax.chain(*parts)


def _weights_only(params):
    return jax.tree_util.tree_map_with_path(lambda path, _: leaf_name(path).endswith("weight"), params)
