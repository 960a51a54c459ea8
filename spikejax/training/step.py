"""One training step: simulate a batch, differentiate, update. Pure and jitted."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from ..adjoints import AbstractAdjoint
from ..gates import Gate
from ..losses import AbstractLoss
from ..metrics import group_norms, rates, saturated_fraction, silent_fraction
from ..network import Network
from ..simulate import simulate
from ..tasks import Trial

CROWDED = 1.5
"""Spikes of a neuron in one step above which the step counts as too long: the reset of an LIF neuron is exact for one."""


class TrainState(NamedTuple):
    """Everything that training changes."""

    params: PyTree
    """The trained part of the network (`equinox.partition` by `trainable`)."""
    opt_state: PyTree
    step: Int[Array, ""]
    """Updates made so far."""


def start(params: PyTree, optimiser: optax.GradientTransformation) -> TrainState:
    """The state before the first update. It holds a copy of `params`: a train step reuses the memory of the state it is given."""
    params = jax.tree.map(jnp.copy, params)
    return TrainState(params, optimiser.init(params), jnp.zeros((), jnp.int32))


def make_train_step(
    fixed: Network,
    loss: AbstractLoss,
    optimiser: optax.GradientTransformation,
    *,
    dt: float,
    adjoint: AbstractAdjoint | None = None,
    accumulate: int = 1,
) -> Callable[[TrainState, Trial, Gate], tuple[TrainState, dict[str, Array]]]:
    """A jitted ``step(state, trials, gate) -> (state, metrics)``.

    The gate is an argument: annealing its sharpness recompiles nothing. An update with a loss or gradient that is not
    finite is not made: the parameters stay, and ``metrics["finite"]`` is False.

    **Arguments:**

    - `fixed`: the part of the network that is not trained (None at the trained leaves).
    - `optimiser`: any optax transformation; clipping and schedules belong in it.
    - `dt`: ms. `adjoint`: default `Costate()`.
    - `accumulate`: number of equal parts the batch is run in, one after the other; the gradient is their mean.

    **Metrics:** `loss`; what the loss reports; `gradient` (norm before the optimiser) and ``gradient/<parameter>``; `rate` (Hz),
    `silent` and `saturated` (fractions) per layer; `finite`.
    """

    def objective(params, trials: Trial, gate):
        network = eqx.combine(params, fixed)

        def run(trial):
            solution = simulate(network, trial.stimulus, gate=gate, dt=dt, adjoint=adjoint, mask=trial.mask)
            value, scalars = loss(solution, trial, dt)
            return value, (scalars, solution.counts)

        values, aux = jax.vmap(run)(trials)
        return jnp.mean(values), aux

    gradient = eqx.filter_value_and_grad(objective, has_aux=True)

    @eqx.filter_jit(donate="all-except-first")
    def step(trials_and_gate, state: TrainState):
        trials, gate = trials_and_gate
        if accumulate == 1:
            (value, (scalars, counts)), grads = gradient(state.params, trials, gate)
        else:
            parts = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), trials)
            (value, aux), grads = jax.lax.map(lambda part: gradient(state.params, part, gate), parts)
            value, grads = jax.tree.map(lambda x: jnp.mean(x, axis=0), (value, grads))
            scalars, counts = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), aux)
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
        new = TrainState(optax.apply_updates(state.params, updates), opt_state, state.step + 1)
        kept = state._replace(step=state.step + 1)
        state = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, kept)
        metrics = {"loss": value, "gradient": norm, "finite": finite}
        metrics |= {name: jnp.mean(x) for name, x in scalars.items() if name != "label"}
        metrics |= {f"gradient/{name}": x for name, x in group_norms(grads).items()}
        metrics |= activity(counts, durations(trials, dt), dt)
        return state, metrics

    def train_step(state: TrainState, trials: Trial, gate: Gate):
        size = trials.stimulus.shape[0]
        if size % accumulate:
            raise ValueError(f"a batch of {size} trials cannot be cut into `accumulate` = {accumulate} equal parts")
        return step((trials, gate), state)

    return train_step


def durations(trials: Trial, dt: float) -> Float[Array, " trials"]:
    """Length of each trial of a batch, ms."""
    size, steps = trials.stimulus.shape[:2]
    if trials.mask is None:
        return jnp.full(size, steps * dt)
    return trials.mask.sum(axis=-1) * dt


def activity(counts: tuple[Array, "..."], duration: Float[Array, " trials"], dt: float) -> dict[str, Array]:
    """Mean rate (Hz) and fraction of silent and saturated neurons of each layer, from the counts of a batch."""
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
    """The loss and what it reports, averaged over trials; rates; `crowded`, the fraction of steps in which a neuron releases more
    than `CROWDED` spikes, where dt is too long for it."""
    labels: Int[Array, " trials"] | None
    """Predicted class of every trial, if the loss classifies."""
    counts: tuple[Float[Array, "trials *n"], ...]


def make_evaluate(loss: AbstractLoss, *, dt: float, at_once: int = 90) -> Callable[[Network, Trial, Gate], Evaluation]:
    """A function ``evaluate(network, trials, gate) -> Evaluation``, jitted, that runs `at_once` trials together."""

    @eqx.filter_jit
    def run(network, trials, gate):
        def one(trial):
            solution = simulate(network, trial.stimulus, gate=gate, dt=dt, mask=trial.mask, save=("release",))
            value, scalars = loss(solution, trial, dt)
            release = [record.release.reshape(-1) for record in solution.layers if record.release is not None]
            crowded = jnp.mean(jnp.concatenate(release) > CROWDED)
            return {"loss": value, "crowded": crowded, **scalars}, solution.counts

        return jax.lax.map(one, trials, batch_size=min(at_once, trials.stimulus.shape[0]))

    def evaluate(network: Network, trials: Trial, gate: Gate) -> Evaluation:
        scalars, counts = run(network, trials, gate)
        labels = scalars.pop("label", None)
        metrics = {name: float(jnp.mean(x)) for name, x in scalars.items()}
        metrics |= {name: float(x) for name, x in activity(counts, durations(trials, dt), dt).items()}
        return Evaluation(metrics, labels, counts)

    return evaluate
