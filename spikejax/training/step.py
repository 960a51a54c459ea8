"""One training step: simulate a batch, differentiate, update.

`gradient` and `apply` are pure and not jitted, so that they can stand inside other programs (an inner loop of
meta-learning, say); `update` is both, and `make_train_step` and `make_group_step` compile it.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PyTree

from ..activity import activity, known, warn_of
from ..connections import with_dropout
from ..losses import AbstractLoss, time_weights
from ..metrics import group_norms
from ..network import Network
from ..noise import Noise
from ..parameters import as_parameter
from ..simulate import Series, Solution
from ..simulators import AbstractSimulator
from ..state import NetworkState
from ..tasks import Trial
from .distributed import AXIS, replicate, share

MAX_RELEASE = 1.5
"""Largest release of a neuron in one step that counts as at most one spike; the reset of an LIF neuron is
exact for one. More means that dt is too long."""


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
    def evaluated(self) -> PyTree:
        """The parameters that are evaluated and kept: the average if there is one."""
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


def run_trial(
    network: Network,
    trial: Trial,
    simulator: AbstractSimulator,
    *,
    save: Series | Iterable[Series] = (),
    noise: Noise | None = None,
    state: NetworkState | None = None,
) -> Solution:
    """Simulate one trial, with its mask and its randomness; `jax.vmap` over trials.

    **Arguments:** `save`: time series of the solution; `noise`: what is random, drawn with the trial's key; a
    trial without a key has none; `state`: where to start (default: as the network does).
    """
    random = randomness(trial, noise)
    return simulator(network, trial.stimulus, save=save, mask=trial.mask, state=state, **random)


def randomness(trial: Trial, noise: Noise | None) -> dict[str, Any]:
    """The keywords `key` and `noise` of a simulation of the trial, if anything is random in it."""
    return {} if noise is None or noise.silent or trial.key is None else {"key": trial.key, "noise": noise}


def gradient(
    params: PyTree,
    fixed: Network,
    trials: Trial,
    simulator: AbstractSimulator,
    *,
    loss: AbstractLoss,
    accumulate: int = 1,
    noise: Noise | None = None,
    mesh: Mesh | None = None,
) -> tuple[PyTree, dict[str, Array]]:
    """The gradient of the mean loss over a batch in `params`, and the metrics of `make_train_step`.

    **Arguments:** `params`, `fixed`: the parts of the network that are and are not trained
    (`equinox.partition`); `trials`: a batch; the others as in `make_train_step`.
    """

    def objective(params, trials: Trial):
        network = eqx.combine(params, fixed)

        def one(trial):
            thinned = with_dropout(network, trial.key)
            solution = run_trial(thinned, trial, simulator, save=loss.series, noise=noise)
            value, scalars = loss(solution, trial)
            return value, (scalars, solution.counts, solution.duration)

        values, aux = jax.vmap(one)(trials)
        return jnp.mean(values), aux

    value_and_grad = eqx.filter_value_and_grad(objective, has_aux=True)
    if accumulate == 1:
        (value, aux), grads = value_and_grad(params, trials)
    else:
        parts = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), trials)
        if mesh is not None:
            # Each part over all devices, and not each device a part.
            parts = eqx.filter_shard(parts, NamedSharding(mesh, PartitionSpec(None, AXIS)))
        (value, aux), grads = jax.lax.map(lambda part: value_and_grad(params, part), parts)
        value, grads = jax.tree.map(lambda x: jnp.mean(x, axis=0), (value, grads))
        aux = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), aux)
    scalars, counts, durations = aux
    norm = optax.tree.norm(grads)
    metrics = {"loss": value, "gradient": norm, "finite": jnp.isfinite(value) & jnp.isfinite(norm)}
    metrics |= {name: jnp.mean(x) for name, x in scalars.items() if name != "label"}
    metrics |= {f"gradient/{name}": x for name, x in group_norms(grads).items()}
    return grads, metrics | activity(counts, durations, simulator.time_step)


def apply(
    state: TrainState,
    grads: PyTree,
    lr_factor: float | Float[Array, ""] = 1.0,
    *,
    optimiser: optax.GradientTransformation,
    averaging: float = 0.0,
) -> TrainState:
    """The state after an update with the gradient `grads`.

    **Arguments:** `lr_factor`: factor of the update; the others as in `make_train_step`.
    """
    updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(
        state.params, jax.tree.map(lambda u: jnp.asarray(lr_factor, u.dtype) * u, updates)
    )
    average = None
    if state.average is not None:
        average = jax.tree.map(lambda a, p: averaging * a + (1 - averaging) * p, state.average, params)
    return TrainState(params, opt_state, state.step + 1, average)


def update(
    inputs: tuple[Network, Trial, AbstractSimulator, Float[Array, ""]],
    state: TrainState,
    *,
    loss: AbstractLoss,
    optimiser: optax.GradientTransformation,
    accumulate: int = 1,
    noise: Noise | None = None,
    averaging: float = 0.0,
    mesh: Mesh | None = None,
) -> tuple[TrainState, dict[str, Array]]:
    """`gradient` and `apply`, unless loss or gradient are not finite: then the parameters stay.

    **Arguments:** `inputs`: the part of the network that is not trained, a batch of trials, the simulator,
    and the factor of the update, which may differ between networks that are trained together (see
    `make_group_step`); the others as in `make_train_step`.
    """
    fixed, trials, simulator, lr_factor = inputs
    grads, metrics = gradient(
        state.params, fixed, trials, simulator, loss=loss, accumulate=accumulate, noise=noise, mesh=mesh
    )
    new = apply(state, grads, lr_factor, optimiser=optimiser, averaging=averaging)
    kept = state._replace(step=state.step + 1)
    return jax.tree.map(lambda a, b: jnp.where(metrics["finite"], a, b), new, kept), metrics


def make_train_step(
    fixed: Network,
    loss: AbstractLoss,
    optimiser: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    noise: Noise | None = None,
    averaging: float = 0.0,
    mesh: Mesh | None = None,
    warn: bool = True,
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """A jitted ``step(state, trials, simulator, lr_factor=1.0) -> (state, metrics)``, which reuses the memory
    of the state it is given.

    What the simulator holds in arrays (sharpness and width of the gate, damping and clip of the adjoint) and
    the `lr_factor`, a factor of the update, are arguments: to change them recompiles nothing. An update with
    a loss or gradient that is not finite is not made: the parameters stay and ``metrics["finite"]`` is False.

    **Arguments:**

    - `fixed`: the part of the network that is not trained (None at the trained leaves).
    - `optimiser`: any optax transformation; clipping and schedules belong in it.
    - `accumulate`: number of equal parts the batch is run in, one after the other; the gradient is their
      mean.
    - `noise`: what is random within a trial, drawn with its key; a trial without a key has none. So it is
      with what a `spikejax.Dropout` leaves out of a trial.
    - `averaging`: decay per update of the running average of the parameters, if the state keeps one.
    - `mesh`: devices that the trials of a batch are cut over (`spikejax.training.distributed`); the state is
      then on all of them. The update is that of one device to rounding.
    - `warn`: whether to warn of populations that are silent, saturated or run away.

    **Metrics:** `loss`; what the loss reports; `gradient` (norm before the optimiser) and
    ``gradient/<parameter>``; `rate` (Hz), `silent` and, where there are steps, `saturated` (fractions) per
    layer; `finite`.

    **Raises:** `ValueError`, from the step, for a batch that cannot be cut into equal parts.

    **Warns:** `spikejax.ActivityWarning`, at the 2nd, 3rd, 5th, 9th, ... step, of what the step before found:
    the others wait for no result.
    """
    settings = {"loss": loss, "optimiser": optimiser, "accumulate": accumulate, "noise": noise}
    settings |= {"averaging": averaging, "mesh": mesh}

    @eqx.filter_jit(donate="all-except-first")
    def step(inputs, state: TrainState):
        found = update((fixed, *inputs), state, **settings)
        return found if mesh is None else eqx.filter_shard(found, NamedSharding(mesh, PartitionSpec()))

    def train_step(
        state: TrainState,
        trials: Trial,
        simulator: AbstractSimulator,
        lr_factor: float | Float[Array, ""] = 1.0,
    ):
        size = trials.stimulus.shape[0]
        if size % accumulate:
            raise ValueError(
                f"a batch of {size} trials cannot be cut into `accumulate` = {accumulate} equal parts"
            )
        if mesh is not None:
            if size // accumulate % mesh.size:
                at_once = size // accumulate
                raise ValueError(
                    f"{at_once} trials at a time cannot be cut into equal parts for {mesh.size} devices"
                )
            state, trials = replicate(state, mesh), share(trials, mesh)
        if warn:
            watch.look()
        state, metrics = step((trials, simulator, as_parameter(lr_factor)), state)
        watch.note(metrics)
        return state, metrics

    watch = _Watch()
    return train_step


class _Watch:
    """Warns of the activity in the metrics of a train step, now and then."""

    def __init__(self):
        self._steps = 0
        self._last: dict[str, Array] | None = None

    def note(self, metrics: dict[str, Array]) -> None:
        """Keep the metrics of a step, after 1, 2, 4, ... of them."""
        self._steps += 1
        now = self._steps & (self._steps - 1) == 0
        self._last = metrics if now and known(metrics) else None

    def look(self) -> None:
        """Warn of what was kept; it has been computed by now, or soon is."""
        if self._last is not None:
            warn_of(self._last, stacklevel=4)
            self._last = None


def make_group_step(
    mesh: Mesh | None = None, **settings
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """A jitted step of several networks that are trained side by side, each as by `make_train_step`, as one
    vmapped program: ``step((fixed, simulator, lr_factor, which), batches, states) -> (states, metrics)``.

    Every array has one more axis in front, the networks', but those of `batches`: there it is that of
    different batches, of which network i is given number ``which[i]``.

    **Arguments:** those of `update`; `mesh`: the devices that the networks are cut over, if they are. They
    have nothing to tell each other.
    """

    @eqx.filter_jit(donate="all-except-first")
    def step(inputs, states: TrainState):
        (fixed, simulator, lr_factor, which), batches = inputs

        def one(fixed, simulator, lr_factor, which, state):
            trials = jax.tree.map(lambda x: x[which], batches)
            return update((fixed, trials, simulator, lr_factor), state, **settings)

        states, metrics = eqx.filter_vmap(one)(fixed, simulator, lr_factor, which, states)
        if mesh is not None:
            states = eqx.filter_shard(states, NamedSharding(mesh, PartitionSpec(AXIS)))
            metrics = eqx.filter_shard(metrics, NamedSharding(mesh, PartitionSpec()))
        return states, metrics

    return lambda networks, batches, states: step((networks, batches), states)


class Evaluation(NamedTuple):
    """How a network does on fixed trials."""

    metrics: dict[str, float]
    """The loss and what it reports, averaged over trials; rates; where there are steps,
    `multiple_spikes`: the fraction of steps in which a neuron releases more than `MAX_RELEASE`, so that dt is
    too long for it."""
    labels: Int[Array, " trials"] | None
    """Predicted class of every trial, if the loss classifies."""
    counts: tuple[Float[Array, "trials *n"], ...]
    classes: Int[Array, " trials"] | None
    """True class of every trial, if it has one."""
    durations: Float[Array, " trials"]
    """Length of every trial, ms."""


def make_evaluate(
    loss: AbstractLoss, *, at_once: int = 90, noise: Noise | None = None, warn: bool = True
) -> Callable[[Network, Trial | Iterable[Trial], AbstractSimulator], Evaluation]:
    """A function ``evaluate(network, trials, simulator) -> Evaluation``, jitted, that runs `at_once` trials
    together.

    Its `trials` are a batch, or parts of one (`spikejax.tasks.AbstractTask.parts`), each of which is let go
    before the next is made. `noise`: what is random within a trial, drawn with its key; `warn`: whether to
    warn of populations that are silent, saturated or run away (`spikejax.ActivityWarning`).

    **Raises:** `ValueError`, from the function, if there are no trials.
    """

    @eqx.filter_jit
    def run(network, trials, simulator):
        # Spikes in one step make sense where there are steps.
        per_step: frozenset[Series] = frozenset() if simulator.time_step is None else frozenset({"release"})
        save = loss.series | per_step

        def one(trial):
            solution = run_trial(network, trial, simulator, save=save, noise=noise)
            value, scalars = loss(solution, trial)
            scalars = {"loss": value, **_multiple_spikes(solution, trial), **scalars}
            return scalars, solution.counts, solution.duration

        return jax.lax.map(one, trials, batch_size=min(at_once, trials.stimulus.shape[0]))

    def evaluate(
        network: Network, trials: Trial | Iterable[Trial], simulator: AbstractSimulator
    ) -> Evaluation:
        parts = (trials,) if isinstance(trials, Trial) else trials
        found = [(*run(network, part, simulator), part.label) for part in parts]
        if not found:
            raise ValueError("there are no trials to evaluate on")
        scalars, counts, durations, classes = jax.tree.map(lambda *x: jnp.concatenate(x), *found)
        labels = scalars.pop("label", None)
        metrics = {name: float(jnp.mean(x)) for name, x in scalars.items()}
        metrics |= {name: float(x) for name, x in activity(counts, durations, simulator.time_step).items()}
        if warn:
            warn_of(metrics)
        return Evaluation(metrics, labels, counts, classes, durations)

    return evaluate


def _multiple_spikes(solution: Solution, trial: Trial) -> dict[str, Array]:
    """Fraction of neurons and steps of the trial with more spikes than one, if the releases are there."""
    release = [record.release for record in solution.layers if record.release is not None]
    if not release:
        return {}
    several = jnp.concatenate([x.reshape(len(x), -1) > MAX_RELEASE for x in release], axis=1)
    weights = time_weights(solution, trial)
    return {"multiple_spikes": weights @ jnp.mean(several, axis=1, dtype=weights.dtype)}


__all__ = [
    "MAX_RELEASE",
    "Evaluation",
    "TrainState",
    "apply",
    "gradient",
    "make_evaluate",
    "make_group_step",
    "make_train_step",
    "randomness",
    "run_trial",
    "start",
    "update",
]
