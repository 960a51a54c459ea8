"""One training step: simulate a batch, differentiate, update. Pure and jitted."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PyTree

from ..adjoints import AbstractAdjoint
from ..gates import Gate
from ..losses import AbstractLoss
from ..metrics import group_norms, rates, saturated_fraction, silent_fraction
from ..network import Network
from ..noise import Noise
from ..parameters import as_parameter
from ..simulate import simulate
from ..tasks import Trial
from .distributed import AXIS, replicate, share

CROWDED = 1.5
"""Spikes of a neuron in one step above which the step counts as too long: the reset of an LIF neuron is exact
for one."""


class TrainState(NamedTuple):
    """Everything that training changes."""

    params: PyTree
    """The trained part of the network (`equinox.partition` by `trainable`)."""
    opt_state: PyTree
    step: Int[Array, ""]
    """Updates made so far."""
    average: PyTree = None
    """Running average of the parameters, if one is kept."""

    @property
    def judged(self) -> PyTree:
        """The parameters that count: the average if there is one."""
        return self.params if self.average is None else self.average


def start(
    params: PyTree, optimiser: optax.GradientTransformation, *, average: bool = False, step: int = 0
) -> TrainState:
    """The state before the first update. It holds a copy of `params`: a train step reuses the memory of the
    state it is given.

    **Arguments:** `average`: keep a running average of the parameters; `step`: number of updates made before.
    """
    params = jax.tree.map(jnp.copy, params)
    kept = jax.tree.map(jnp.copy, params) if average else None
    return TrainState(params, optimiser.init(params), jnp.asarray(step, jnp.int32), kept)


def update(
    inputs: tuple[Network, AbstractAdjoint | None, Trial, Gate, Float[Array, ""]],
    state: TrainState,
    *,
    loss: AbstractLoss,
    optimiser: optax.GradientTransformation,
    dt: float,
    accumulate: int = 1,
    noise: Noise | None = None,
    averaging: float = 0.0,
    mesh: Mesh | None = None,
) -> tuple[TrainState, dict[str, Array]]:
    """One update: pure, not jitted; `make_train_step` and `make_group_step` compile it.

    **Arguments:** `inputs`: the part of the network that is not trained, the adjoint, a batch of trials, the
    gate, and the factor of the update: the arrays that may differ between networks that are trained together;
    the others as in `make_train_step`.
    """
    fixed, adjoint, trials, gate, rate = inputs

    def objective(params, trials: Trial):
        network = eqx.combine(params, fixed)

        def run(trial):
            solution = simulate(
                network,
                trial.stimulus,
                gate=gate,
                dt=dt,
                adjoint=adjoint,
                mask=trial.mask,
                save=loss.series,
                **randomness(trial, noise),
            )
            value, scalars = loss(solution, trial, dt)
            return value, (scalars, solution.counts)

        values, aux = jax.vmap(run)(trials)
        return jnp.mean(values), aux

    gradient = eqx.filter_value_and_grad(objective, has_aux=True)
    if accumulate == 1:
        (value, (scalars, counts)), grads = gradient(state.params, trials)
    else:
        parts = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), trials)
        if mesh is not None:
            # Each part over all devices, and not each device a part.
            parts = eqx.filter_shard(parts, NamedSharding(mesh, PartitionSpec(None, AXIS)))
        (value, aux), grads = jax.lax.map(lambda part: gradient(state.params, part), parts)
        value, grads = jax.tree.map(lambda x: jnp.mean(x, axis=0), (value, grads))
        scalars, counts = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), aux)
    norm = optax.tree.norm(grads)
    finite = jnp.isfinite(value) & jnp.isfinite(norm)
    updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, jax.tree.map(lambda u: rate * u, updates))
    average = None
    if state.average is not None:
        average = jax.tree.map(lambda a, p: averaging * a + (1 - averaging) * p, state.average, params)
    new = TrainState(params, opt_state, state.step + 1, average)
    kept = state._replace(step=state.step + 1)
    state = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, kept)
    metrics = {"loss": value, "gradient": norm, "finite": finite}
    metrics |= {name: jnp.mean(x) for name, x in scalars.items() if name != "label"}
    metrics |= {f"gradient/{name}": x for name, x in group_norms(grads).items()}
    metrics |= activity(counts, durations(trials, dt), dt)
    return state, metrics


def make_train_step(
    fixed: Network,
    loss: AbstractLoss,
    optimiser: optax.GradientTransformation,
    *,
    dt: float,
    adjoint: AbstractAdjoint | None = None,
    accumulate: int = 1,
    noise: Noise | None = None,
    averaging: float = 0.0,
    mesh: Mesh | None = None,
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """A jitted ``step(state, trials, gate, rate=1.0) -> (state, metrics)``.

    The gate and the `rate`, a factor of the update, are arguments: annealing them recompiles nothing. An
    update with a loss or gradient that is not finite is not made: the parameters stay, and
    ``metrics["finite"]`` is False.

    **Arguments:**

    - `fixed`: the part of the network that is not trained (None at the trained leaves).
    - `optimiser`: any optax transformation; clipping and schedules belong in it.
    - `dt`: ms. `adjoint`: default `Costate()`.
    - `accumulate`: number of equal parts the batch is run in, one after the other; the gradient is their
      mean.
    - `noise`: what is random within a trial, drawn with its key; a trial without a key has none.
    - `averaging`: decay per update of the running average of the parameters, if the state keeps one.
    - `mesh`: devices that the trials of a batch are cut over (`spikejax.training.distributed`); the state is then on
      all of them. The update is that of one device to rounding.

    **Metrics:** `loss`; what the loss reports; `gradient` (norm before the optimiser) and
    ``gradient/<parameter>``; `rate` (Hz), `silent` and `saturated` (fractions) per layer; `finite`.
    """
    settings = {
        "loss": loss,
        "optimiser": optimiser,
        "dt": dt,
        "accumulate": accumulate,
        "noise": noise,
        "averaging": averaging,
    }
    settings["mesh"] = mesh

    @eqx.filter_jit(donate="all-except-first")
    def step(inputs, state: TrainState):
        found = update((fixed, adjoint, *inputs), state, **settings)
        return found if mesh is None else eqx.filter_shard(found, NamedSharding(mesh, PartitionSpec()))

    def train_step(state: TrainState, trials: Trial, gate: Gate, rate: float | Float[Array, ""] = 1.0):
        size = trials.stimulus.shape[0]
        if size % accumulate:
            raise ValueError(
                f"a batch of {size} trials cannot be cut into `accumulate` = {accumulate} equal parts"
            )
        if mesh is not None:
            if size // accumulate % mesh.size:
                raise ValueError(
                    f"{size // accumulate} trials at a time cannot be cut into equal parts for {mesh.size} devices"
                )
            state, trials = replicate(state, mesh), share(trials, mesh)
        return step((trials, gate, as_parameter(rate)), state)

    return train_step


def make_group_step(
    mesh: Mesh | None = None, **settings
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """A jitted step of several networks that are trained side by side, each as by `make_train_step`, as one
    vmapped program: ``step((fixed, adjoint, gate, rate, which), batches, states) -> (states, metrics)``.

    Every array has one more axis in front, the networks', but those of `batches`: there it is that of
    different batches, of which network i is given number ``which[i]``.

    **Arguments:** those of `update`; `mesh`: the devices that the networks are cut over, if they are. They
    have nothing to tell each other.
    """

    @eqx.filter_jit(donate="all-except-first")
    def step(inputs, states: TrainState):
        (fixed, adjoint, gate, rate, which), batches = inputs

        def one(fixed, adjoint, gate, rate, which, state):
            trials = jax.tree.map(lambda x: x[which], batches)
            return update((fixed, adjoint, trials, gate, rate), state, **settings)

        states, metrics = eqx.filter_vmap(one)(fixed, adjoint, gate, rate, which, states)
        if mesh is not None:
            states = eqx.filter_shard(states, NamedSharding(mesh, PartitionSpec(AXIS)))
            metrics = eqx.filter_shard(metrics, NamedSharding(mesh, PartitionSpec()))
        return states, metrics

    return lambda networks, batches, states: step((networks, batches), states)


def randomness(trial: Trial, noise: Noise | None) -> dict:
    """Arguments of `simulate` for the noise of a trial."""
    return {} if noise is None or noise.silent or trial.key is None else {"key": trial.key, "noise": noise}


def durations(trials: Trial, dt: float) -> Float[Array, " trials"]:
    """Length of each trial of a batch, ms."""
    size, steps = trials.stimulus.shape[:2]
    if trials.mask is None:
        return jnp.full(size, steps * dt)
    return trials.mask.sum(axis=-1) * dt


def activity(counts: tuple[Array, "..."], duration: Float[Array, " trials"], dt: float) -> dict[str, Array]:
    """Mean rate (Hz) and fraction of silent and saturated neurons of each layer, from the counts of a
    batch."""
    metrics = {}
    for i, count in enumerate(counts):
        rate = rates(count, duration)
        metrics[f"rate/{i}"] = jnp.mean(rate)
        metrics[f"silent/{i}"] = silent_fraction(rate)
        metrics[f"saturated/{i}"] = saturated_fraction(rate, dt)
    return metrics


class Evaluation(NamedTuple):
    """How a network does on fixed trials."""

    metrics: dict[str, float]
    """The loss and what it reports, averaged over trials; rates; `crowded`, the fraction of steps in which a
    neuron releases more than `CROWDED` spikes, where dt is too long for it."""
    labels: Int[Array, " trials"] | None
    """Predicted class of every trial, if the loss classifies."""
    counts: tuple[Float[Array, "trials *n"], ...]
    classes: Int[Array, " trials"] | None
    """True class of every trial, if it has one."""
    durations: Float[Array, " trials"]
    """Length of every trial, ms."""


def make_evaluate(
    loss: AbstractLoss, *, dt: float, at_once: int = 90, noise: Noise | None = None
) -> Callable[[Network, Trial | Iterable[Trial], Gate], Evaluation]:
    """A function ``evaluate(network, trials, gate) -> Evaluation``, jitted, that runs `at_once` trials
    together.

    Its `trials` are a batch, or parts of one (`spikejax.tasks.AbstractTask.parts`), each of which is let go
    before the next is made. `noise`: what is random within a trial, drawn with its key.
    """

    @eqx.filter_jit
    def run(network, trials, gate):
        def one(trial):
            save = {"release"} | loss.series
            solution = simulate(
                network,
                trial.stimulus,
                gate=gate,
                dt=dt,
                mask=trial.mask,
                save=save,
                **randomness(trial, noise),
            )
            value, scalars = loss(solution, trial, dt)
            release = [record.release.reshape(-1) for record in solution.layers if record.release is not None]
            crowded = jnp.mean(jnp.concatenate(release) > CROWDED)
            return {"loss": value, "crowded": crowded, **scalars}, solution.counts

        return jax.lax.map(one, trials, batch_size=min(at_once, trials.stimulus.shape[0]))

    def evaluate(network: Network, trials: Trial | Iterable[Trial], gate: Gate) -> Evaluation:
        parts = (trials,) if isinstance(trials, Trial) else trials
        found = [(*run(network, part, gate), part.label, durations(part, dt)) for part in parts]
        if not found:
            raise ValueError("there are no trials to evaluate on")
        scalars, counts, classes, length = jax.tree.map(lambda *x: jnp.concatenate(x), *found)
        labels = scalars.pop("label", None)
        metrics = {name: float(jnp.mean(x)) for name, x in scalars.items()}
        metrics |= {name: float(x) for name, x in activity(counts, length, dt).items()}
        return Evaluation(metrics, labels, counts, classes, length)

    return evaluate
