"""The only place where a configuration becomes objects."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from pydantic import BaseModel

from . import losses, network, tasks
from .adjoints import AbstractAdjoint, Autodiff, Checkpointed, Costate, Leash
from .config import Config, ConfigError
from .config.schema import Layer as LayerConfig
from .connections import Dense
from .gates import Gate
from .network import Network
from .neurons import NEURONS, AbstractNeuron, Accommodating, HodgkinHuxley, Refractory
from .noise import Noise
from .parameters import as_parameter, field_name, positive, resolve, trainable
from .simulate import check_step
from .synapses import DoubleExponential, Exponential
from .training import (
    Annealing,
    Plan,
    Plateau,
    Rollback,
    Stage,
    TrainState,
    fit_readout,
    make_evaluate,
    make_train_step,
    scale_by_tensor_adam,
    scale_groups,
    start,
)
from .training.optimisers import check_groups

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
    task_at = functools.cache(lambda table, dt: _task(table, dt, config.seed))
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
            raise ConfigError(f"loss.activity_weight is of the last time constant: list network.layers.{i}.synapse.tau_syn slowest last")
    expected = {
        "braille": "cross_entropy",
        "predictive_coding": "squared_error",
        "delayed_xor": "response",
        "spoken_digits": "cross_entropy",
    }[config.task.kind]
    if config.loss.kind != expected:
        raise ConfigError(f"loss.kind is {config.loss.kind}, but the targets of the task {config.task.kind} go with {expected}")
    if config.training.score in ("accuracy", "error") and (config.training.score == "accuracy") != bool(task.labels):
        raise ConfigError(f"training.score is {config.training.score}, which the task {config.task.kind} does not report: use loss")


def _stage(config: Config, task_at: TaskAt, model: Network, fixed: Network, optimiser, mesh: Mesh | None) -> Stage:
    """One stage of training; `config` is the whole configuration as that stage sees it."""
    training, task = config.training, task_at(config.task, config.dt)
    tasks_at, updates = [], []
    if task.trials is not None and training.batch > task.trials:
        raise ConfigError(f"training.batch is {training.batch}, but the task has {task.trials} training trials")
    if mesh is not None and training.batch % (training.accumulate * mesh.size):
        at_once = "training.batch / training.accumulate" if training.accumulate > 1 else "training.batch"
        raise ConfigError(
            f"{at_once} is {training.batch // training.accumulate}, which {mesh.size} devices cannot share equally: "
            f"make it a multiple of {mesh.size}"
        )
    for gate in build_gate(config):
        check_step(model, gate, config.dt)
    for dt in (config.dt, config.dt / 2) if training.finer else (config.dt,):
        tasks_at.append(task_at(config.task, dt))
        settings = step_settings(config) | {"optimiser": optimiser, "dt": dt, "mesh": mesh}
        updates.append(make_train_step(fixed, adjoint=build_adjoint(config), **settings))

    def pick(step: int) -> int:
        return int(np.random.default_rng((config.seed, 2, step)).random() < training.finer)

    plateau, gate_at = build_annealing(config).plateau, gate_schedule(config)
    return Stage(tuple(tasks_at), tuple(updates), gate_at, rate_schedule(config), training.steps, training.batch, pick, plateau)


def step_settings(config: Config) -> dict[str, Any]:
    """The arguments of a train step that are not arrays: what a program is compiled for."""
    training = config.training
    return {
        "loss": build_loss(config),
        "optimiser": build_optimiser(config),
        "dt": config.dt,
        "accumulate": training.accumulate,
        "noise": build_noise(config),
        "averaging": training.averaging,
    }


@functools.cache
def evaluator(loss: BaseModel, noise: BaseModel, dt: float):
    """The evaluation for two tables of the configuration; the same one for all networks, so that it is compiled once."""
    return make_evaluate(_loss(loss), dt=dt, noise=Noise(**noise.model_dump()))


def _judge(config: Config, task_at: TaskAt, first: Gate, final: Gate):
    """How held-out trials judge a network: the mean of the metrics over the gates that ``training.judge`` names, and over the time
    steps that training uses."""
    steps = (config.dt, config.dt / 2) if config.training.finer else (config.dt,)
    gates = {"smooth": (final,), "hard": (final.hard(),), "both": (final, final.hard()), "all": (first, final, final.hard())}
    judges = []
    for dt in steps:
        held = task_at(config.task, dt).parts("validation")
        if not any(len(part.stimulus) for part in held):
            raise ConfigError(f"task.validation of {config.task.validation:g} holds out no trial: use a larger fraction")
        evaluate = evaluator(config.loss, config.noise, dt)
        judges += [(evaluate, held, gate) for gate in gates[config.training.judge]]

    def judge(network: Network) -> dict[str, float]:
        each = [evaluate(network, held, gate).metrics for evaluate, held, gate in judges]
        return {name: sum(m[name] for m in each) / len(each) for name in each[0]}

    return judge


def batch_key(config: Config) -> jax.Array:
    """The key of all randomness in training."""
    return jax.random.split(jax.random.key(config.seed))[1]


def build_task(config: Config) -> tasks.AbstractTask:
    """The task."""
    return _task(config.task, config.dt, config.seed)


def _task(table, dt: float, seed: int) -> tasks.AbstractTask:
    options = table.model_dump(exclude={"kind"})
    if table.kind in ("braille", "spoken_digits"):
        recordings = tasks.braille if table.kind == "braille" else tasks.spoken_digits
        return recordings(dt, seed=seed, **options)
    return (tasks.PredictiveCoding if table.kind == "predictive_coding" else tasks.DelayedXOR)(dt=dt, **options)


POSITIVE = ("C", "g_L", "g_Na", "g_K", "Delta_T")
"""Parameters of neurons that stay positive in training, as time constants do."""


def build_network(config: Config, channels: int, outputs: int, key: jax.Array) -> Network:
    """The network, with positive parametrisation of whatever time constants and conductances are trained."""
    keys = jax.random.split(key, len(config.network.layers) + 1)
    shape: tuple[int, ...] = (channels,)
    layers, sign = [], None
    for layer, k in zip(config.network.layers, keys, strict=False):
        layers.append(_layer(layer, shape, sign, k))
        sign = None if layer.excitatory is None else network.dale_signs(layer.size, layer.excitatory)
        shape = (len(layer.synapse.tau_syn), layer.size)
    readout = config.network.readout
    if readout.kind == "leaky":
        out = network.LeakyReadout.dense(shape, outputs, scale=readout.scale, tau_out=readout.tau_out, key=keys[-1])
    else:
        out = network.LinearReadout.dense(shape, outputs, scale=readout.scale, key=keys[-1])
    out = eqx.tree_at(lambda r: r.connection, out, _readout_connection(config, out.connection, layers[-1]))
    kept = [name for name in config.training.trainable if name.startswith("tau_") or name in POSITIVE]
    return positive(Network(tuple(layers), out), kept)


def _readout_connection(config: Config, connection: Dense, last: network.Layer) -> Dense:
    readout, slowest = config.network.readout, int(np.argmax(config.network.layers[-1].synapse.tau_syn))
    if readout.init == "transpose":
        if not isinstance(last.feedforward, Dense):
            raise ConfigError("network.readout.init is transpose, of input weights that are currents: leave out reversal in the last layer")
        weight = resolve(last.feedforward).weight
        if (weight.shape[1:], weight.shape[0]) != (connection.out_shape, last.shape[0]):
            raise ConfigError(
                f"network.readout.init is transpose, but the last layer has {weight.shape[1:]} inputs "
                f"and the readout {connection.out_shape} outputs"
            )
        transposed = jnp.zeros_like(connection.weight).at[:, slowest].set(readout.scale * weight.T)
        connection = Dense(weight=transposed, in_shape=connection.in_shape)
    elif readout.init == "ridge":
        if readout.kind != "linear" or config.loss.kind != "response":
            raise ConfigError("network.readout.init is ridge, which needs a linear readout and loss.kind response")
        if not {"weight", "bias"} <= set(config.training.trainable):
            raise ConfigError("network.readout.init is ridge, which solves for weight and bias: training.trainable must name both")
        connection = Dense(weight=jnp.zeros_like(connection.weight), in_shape=connection.in_shape)
    if readout.synapses == "slowest":
        kinds = len(config.network.layers[-1].synapse.tau_syn)
        connection = connection.masked((jnp.arange(kinds) == slowest)[:, None])
    return connection


def initial_state(config: Config, run: Run) -> TrainState:
    """The state to start training from: the initial parameters, with the readout solved for if the configuration asks for it."""
    return solve_readout(config, run) if config.network.readout.init == "ridge" else run.state


def solve_readout(config: Config, run: Run) -> TrainState:
    """The state to start training from with ``network.readout.init = "ridge"``; see `spikejax.training.fit_readout`."""
    readout, key, stage = config.network.readout, jax.random.fold_in(batch_key(config), 1), run.plan.stages[0]
    # In turn at the first and the last sharpness of the gate, and at every time step that training uses.
    gates, steps = (run.gate, run.final_gate), [config.dt / 2**k for k in range(len(stage.tasks))]

    def trials():
        for i in range(readout.batches):
            k = (i // 2) % len(steps)
            yield stage.tasks[k].batch(key, i, config.training.batch), gates[i % 2], steps[k]

    def target(trial):
        return trial.target.signal, trial.target.weight

    network = fit_readout(run.network, trials(), target, ridge=readout.ridge, noise=build_noise(config))
    params, _ = eqx.partition(network, trainable(network, config.training.trainable))
    return run.plan.restart(params, 0)


def _layer(layer: LayerConfig, shape: tuple[int, ...], input_sign, key: jax.Array) -> network.Layer:
    s = layer.synapse
    synapse = Exponential(s.tau_syn, s.rate_unit) if s.kind == "exponential" else DoubleExponential(s.tau_rise, s.tau_syn, s.rate_unit)
    return network.Layer.dense(
        shape,
        layer.size,
        _neuron(layer.neuron, layer.size, key),
        synapse,
        recurrent=layer.recurrent,
        autapses=layer.autapses,
        input_scale=layer.input_scale,
        input_norm=layer.input_norm,
        recurrent_scale=layer.recurrent_scale,
        self_excitation=layer.self_excitation,
        bias=layer.bias,
        density=layer.density,
        excitatory=layer.excitatory,
        input_sign=input_sign,
        reversal=layer.reversal,
        key=key,
    )


def _neuron(n, size: int, key: jax.Array) -> AbstractNeuron:
    """The neurons of a table, with one value per neuron, so that each can be trained."""
    fields = {}
    for name, value in n.model_dump(exclude={"kind", "tau_ref", "accommodation", "v_init"}, exclude_none=True).items():
        if isinstance(value, tuple):
            fields[name] = jnp.broadcast_to(as_parameter(value)[:, None], (len(value), size))
        else:
            fields[name] = jnp.full((size,), value) if isinstance(value, float) else value
    if isinstance(n.v_init, tuple):
        low, high = n.v_init
        fields["v_init"] = jax.random.uniform(jax.random.fold_in(key, 3), (size,), minval=low, maxval=high)
    elif n.v_init is not None:
        fields["v_init"] = jnp.full((size,), n.v_init)
    make = NEURONS[n.kind]
    if n.kind == "hodgkin_huxley" and fields.pop("kinetics") == "cortical":
        make = HodgkinHuxley.cortical
    neuron = make(**fields)
    if (own := getattr(n, "accommodation", None)) is not None:
        numbers = {"tau_accommodation": own.tau, "slope": own.slope, "v_half": own.v_half, "width": own.width}
        neuron = Accommodating(neuron, **{name: jnp.full((size,), x) for name, x in numbers.items()})
    if not getattr(n, "tau_ref", 0.0):
        return neuron
    return Refractory(neuron, tau_ref=jnp.full((size,), n.tau_ref))


def build_gate(config: Config) -> tuple[Gate, Gate]:
    """The gate at the start and at the end of training."""
    g, annealing = config.gate, build_annealing(config)
    gate = Gate(g.kernel, g.width, annealing.start, release=g.release, detach_reset=g.detach_reset)
    return gate, gate.sharpen(annealing.end)


def build_annealing(config: Config) -> Annealing:
    """The schedule of the sharpness over a stage."""
    g = config.gate
    end = g.sharpness if g.sharpness_end is None else g.sharpness_end
    kind = "constant" if g.sharpness_end is None else g.schedule
    values = np.broadcast_arrays(*(np.asarray(x, float) for x in (g.sharpness, end, g.hold, g.anneal)))
    return Annealing(kind, *values, plateau=Plateau(**g.plateau.model_dump()) if kind == "plateau" else None)


def gate_schedule(config: Config):
    """The gate at a step of a stage, and at the number of plateaus of the loss so far: the annealed one, or a mixture up to that."""
    g, (gate, _), annealing, steps = config.gate, build_gate(config), build_annealing(config), config.training.steps

    def gate_at(step: int, level: int = 0) -> Gate:
        stretch = 1.0
        if g.mixture is not None:
            first, last = g.mixture
            draw = np.random.default_rng((config.seed, 1, step)).random()
            stretch = min(max(draw - first, 0.0) / max(1 - first - last, 1e-9), 1.0)
        return gate.sharpen(annealing.at(step, steps, level=level, stretch=stretch))

    return gate_at


def rate_schedule(config: Config):
    """The learning rate at a step of a stage: linear warm-up, cosine decay."""
    t = config.training
    warm = round(t.warmup * t.steps)
    rate = optax.cosine_decay_schedule(t.learning_rate, max(t.steps - warm, 1), t.final)
    if warm:
        rate = optax.join_schedules([optax.linear_schedule(0.0, t.learning_rate, warm), rate], [warm])
    return lambda step: float(rate(step))


def build_adjoint(config: Config) -> AbstractAdjoint:
    """The adjoint."""
    kind, leash = config.adjoint.kind, build_leash(config)
    if kind == "checkpointed":
        return Checkpointed(config.adjoint.chunk, inner=Autodiff(leash))
    return Costate(leash) if kind == "costate" else Autodiff(leash)


def build_leash(config: Config) -> Leash:
    """Damping and clipping of the adjoint."""
    return Leash(damping=config.adjoint.damping or None, clip=config.adjoint.clip)


def build_noise(config: Config) -> Noise:
    """What is random within a trial."""
    return Noise(**config.noise.model_dump())


def build_loss(config: Config) -> losses.AbstractLoss:
    """The loss, with its regularisers if it has any."""
    return _loss(config.loss)


def _loss(c) -> losses.AbstractLoss:
    main = {
        "squared_error": losses.SquaredError,
        "response": lambda: losses.ResponseError(c.margin),
        "cross_entropy": lambda: losses.CrossEntropy(c.windows, c.smoothing),
    }[c.kind]()
    extra = [
        (c.rate_weight, lambda: losses.RateBand(c.rate_weight, c.rate_low, c.rate_high)),
        (c.log_rate_weight, lambda: losses.LogRate(c.log_rate_weight, c.log_rate)),
        (c.activity_weight, lambda: losses.ActivityCost(c.activity_weight)),
        (c.voltage_weight, lambda: losses.LowVoltage(c.voltage_weight, c.voltage_low)),
        (c.partial_weight, lambda: losses.WholeCharge(c.partial_weight)),
    ]
    parts = [make() for weight, make in extra if weight]
    return losses.Sum((main, *parts)) if parts else main


def build_optimiser(config: Config) -> optax.GradientTransformation:
    """Adam with clipping, decoupled weight decay and rates by group, at a learning rate of 1 (the schedule comes on top)."""
    t = config.training
    parts = [optax.clip_by_global_norm(t.clip)] if t.clip else []
    parts.append(optax.scale_by_adam(*t.betas) if t.moments == "element" else scale_by_tensor_adam(*t.betas))
    parts += [optax.add_decayed_weights(t.weight_decay, mask=_weights_only), scale_groups(t.rates), optax.scale(-1.0)]
    return optax.chain(*parts)


def _weights_only(params):
    return jax.tree_util.tree_map_with_path(lambda path, _: field_name(path) == "weight", params)
