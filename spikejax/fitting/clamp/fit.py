"""Fitting a current-clamped neuron by gradient: several random starts side by side in one vmapped program.

Two fits follow each other. The *stochastic* one is of the neuron with escape noise: recorded spikes reset
it, and the loss is a likelihood. The *deterministic* one is of the neuron without noise, which runs freely
through a smooth gate whose zone narrows; before it every start is searched around at an ordinary threshold.
What each is for: docs/fitting.md.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...gates import Gate
from ..evolve import search
from ..laplace import standard_errors
from ..ranges import Values, physical, random_starts, unbounded
from .loss import Sweeps, Weights, deterministic_loss, filtered, stochastic_loss
from .models import ClampModel

__all__ = [
    "ClampFit",
    "ClampFits",
    "ClampPlan",
    "Descent",
    "Search",
    "clamp_standard_errors",
    "fit_clamp",
    "screening",
]

GOOD = 1.25
"""Starts whose deterministic loss is at most this times the best one's count for the spread of the
parameters."""
AS_LIKELY = 0.1
"""In the stochastic fit, those whose loss is at most this above the best one's: nats per spike."""
LOOK_EVERY = 5
"""Steps of the deterministic fit between two looks at its loss through an ordinary threshold."""
SIDE_BY_SIDE = 64
"""Starts that are screened as one program: enough to fill vectors, few enough for the cache."""

Report: TypeAlias = Callable[[str, int, float], None]
"""Called with the name of the fit or search, the number of the step and the best loss after every step, and
before the first with 0 and NaN."""
LossOfStarts: TypeAlias = Callable[[Values], Float[np.ndarray, " starts"]]


class Descent(NamedTuple):
    """A descent by Adam."""

    steps: int
    learning_rate: float
    """Of parameters as logits of their ranges, at the start; it falls to 5 % of it along a cosine."""


class Search(NamedTuple):
    """The random search before the deterministic descent (see `spikejax.fitting.evolve.search`)."""

    rounds: int = 6
    step: float = 0.3
    """Standard deviation of the search's steps in its first round; it shrinks."""


class ClampPlan(NamedTuple):
    """How to fit; the defaults are those of the configuration."""

    draws: int = 1024
    """Random starts that are screened, and steps that a round of the search tries."""
    starts: int = 8
    """Number of the best of them that the stochastic fit begins from."""
    keep: int = 4
    """Number of starts kept for the search and the deterministic fit."""
    stochastic: Descent = Descent(steps=400, learning_rate=0.08)
    search: Search = Search()
    deterministic: Descent = Descent(steps=60, learning_rate=0.003)
    sharpness: tuple[float, float] = (1.0, 4.0)
    """Sharpness of the gate at the begin and the end of the deterministic fit."""
    weights: Weights = Weights()


class ClampFit(NamedTuple):
    """A fitted neuron."""

    values: dict[str, float]
    """Parameters of the best start in their units."""
    spread: dict[str, float]
    """Standard deviation over the good starts (`GOOD`, `AS_LIKELY`): how well the data hold a parameter; NaN
    if only one is good."""
    good: int
    """Number of good starts."""
    loss: float
    """Loss of the best start."""
    parts: dict[str, float]
    """Terms of the loss, unweighted."""
    losses: tuple[float, ...]
    """Loss of every start that was kept, best first."""


class ClampFits(NamedTuple):
    """What is found."""

    stochastic: ClampFit | None
    """The neuron with escape noise, by likelihood; None without a stochastic fit."""
    deterministic: ClampFit | None
    """The neuron without noise, through the gate; None without a deterministic fit."""


class _Starts(NamedTuple):
    """Fitted starts side by side, in no order."""

    raw: Values
    value: Float[np.ndarray, " starts"]
    parts: dict[str, Float[np.ndarray, " starts"]]


@functools.cache
def quick_compile() -> dict[str, int]:
    """Compiler options for programs whose compiling is a good part of their time: on the CPU, XLA's first
    level of optimisation.

    The gradient of a Hodgkin-Huxley step then compiles in a third of the time, and runs 1.4 times slower.
    """
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}


def screening(model: ClampModel, data: Sweeps, gate: Gate, dt: float, weights: Weights) -> LossOfStarts:
    """A function of starts: the loss of the deterministic fit through an ordinary threshold, infinite for one
    that diverges.

    It needs no gradient, so a thousand starts cost what a few steps of the fit do. A start that is silent, or
    fires at rest, has a loss without slope: none of these is to be followed.

    **Arguments:** as of `fit_clamp`.
    """
    target = filtered(data.spikes, weights.tau, dt)

    @jax.jit
    def run(raw, data, target):
        return jax.vmap(lambda x: deterministic_loss(model, x, data, target, gate.hard(), dt, weights)[0])(
            raw
        )

    def score(raw: Values) -> Float[np.ndarray, " starts"]:
        count, values = len(jax.tree.leaves(raw)[0]), []
        width = min(count, SIDE_BY_SIDE)
        for begin in range(0, count, width):
            # The last ones are repeated up to the size of the others, so that one program serves all.
            which = np.minimum(np.arange(begin, begin + width), count - 1)
            values.append(np.asarray(run(_taken(raw, which), data, target), float))
        value = np.concatenate(values)[:count]
        return np.where(np.isfinite(value), value, np.inf)

    return score


def fit_clamp(
    model: ClampModel,
    data: Sweeps,
    gate: Gate,
    dt: float,
    plan: ClampPlan,
    *,
    key: PRNGKeyArray,
    report: Report = lambda stage, step, loss: None,
) -> ClampFits:
    """Fit `model` to `data` from the best of `plan.draws` random starts inside the ranges of its parameters.

    A model without reset has no stochastic fit; a descent of no steps is left out.

    **Arguments:** `gate`: releases charge; width in mV; `dt` in ms; `key` of the starts and the search.

    **Raises:** `ValueError` if every start diverged.
    """
    report("screening", 0, math.nan)
    loss = screening(model, data, gate, dt, plan.weights)
    raw = random_starts(model.ranges, plan.draws, key=key)
    raw, value = _best(raw, loss(raw), max(plan.starts, plan.keep))
    stochastic = deterministic = None
    if model.resets and plan.stochastic.steps:
        best, _ = _best(raw, value, plan.starts)
        stochastic = _fit_stochastic(model, data, dt, plan, best, report)
        if plan.deterministic.steps:
            value = np.concatenate([value, loss(stochastic.raw)])
            raw = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), raw, stochastic.raw)
    if plan.deterministic.steps:
        raw, value = search(
            *_best(raw, value, plan.keep),
            loss,
            rounds=plan.search.rounds,
            draws=plan.draws,
            step=plan.search.step,
            key=jax.random.fold_in(key, 1),
            report=functools.partial(report, "search"),
        )
        deterministic = _fit_deterministic(model, data, gate, dt, plan, raw, loss, report=report)
    return ClampFits(
        None if stochastic is None else _fit(model, stochastic, lambda best: best + AS_LIKELY),
        None if deterministic is None else _fit(model, deterministic, lambda best: GOOD * best),
    )


def _fit_stochastic(
    model: ClampModel, data: Sweeps, dt: float, plan: ClampPlan, raw: Values, report: Report
) -> _Starts:
    def loss(raw, data, _):
        return stochastic_loss(model, raw, data, dt, plan.weights)

    return _descend(loss, raw, data, plan.stochastic, report=functools.partial(report, "stochastic"))


def _fit_deterministic(
    model: ClampModel,
    data: Sweeps,
    gate: Gate,
    dt: float,
    plan: ClampPlan,
    raw: Values,
    judge: LossOfStarts,
    *,
    report: Report,
) -> _Starts:
    low, high = plan.sharpness

    def loss(raw, known, sharpness):
        data, target = known
        return deterministic_loss(model, raw, data, target, gate.sharpen(sharpness), dt, plan.weights)

    def sharpness(i):
        return low + (high - low) * i / max(plan.deterministic.steps - 1, 1)

    known = data, filtered(data.spikes, plan.weights.tau, dt)
    report_step = functools.partial(report, "deterministic")
    return _descend(loss, raw, known, plan.deterministic, anneal=sharpness, judge=judge, report=report_step)


def _descend(
    loss: Callable[[Values, Any, Float[Array, ""]], tuple[Float[Array, ""], dict[str, Float[Array, ""]]]],
    raw: Values,
    data: Any,
    descent: Descent,
    *,
    report: Callable[[int, float], None],
    anneal: Callable[[int], float] = lambda i: 0.0,
    judge: LossOfStarts | None = None,
) -> _Starts:
    """Adam on every start side by side; the best that each has seen, its loss and the terms of it.

    The best by the loss itself or, every few steps, by `judge`, where the loss changes on the way.

    **Arguments:** `loss`: of one start, of `data`, and of what `anneal` says at a step.
    """
    schedule = optax.cosine_decay_schedule(descent.learning_rate, max(descent.steps, 1), 0.05)
    optimiser = optax.chain(optax.zero_nans(), optax.clip_by_global_norm(1.0), optax.adam(schedule))
    state = jax.vmap(optimiser.init)(raw)

    @functools.partial(jax.jit, compiler_options=quick_compile() if judge else {})
    def step(raw, state, data, x):
        (value, parts), slope = jax.vmap(jax.value_and_grad(loss, has_aux=True), (0, None, None))(
            raw, data, x
        )
        change, state = jax.vmap(optimiser.update)(slope, state, raw)
        return optax.apply_updates(raw, change), state, value, parts

    @jax.jit
    def better(best, now):
        return jax.tree.map(lambda a, b: jnp.where(now[0] < best[0], b, a), best, now)

    best = None
    report(0, math.nan)
    for i in range(descent.steps):
        before = raw
        raw, state, value, parts = step(raw, state, data, jnp.asarray(anneal(i)))
        if best is None or judge is None or i % LOOK_EVERY == 0:
            now = (value if judge is None else jnp.asarray(judge(before)), before, parts)
            # A loss that is not finite at the first step must not stay the best.
            best = better((jnp.full_like(now[0], jnp.inf), before, parts) if best is None else best, now)
        report(i + 1, float(jnp.min(best[0])))
    if best is None:
        raise ValueError(f"a descent needs at least 1 step, but it has {descent.steps}")
    value, raw, parts = best
    return _Starts(raw, np.asarray(value, float), {name: np.asarray(x, float) for name, x in parts.items()})


def _fit(model: ClampModel, starts: _Starts, worst: Callable[[float], float]) -> ClampFit:
    """The best start, and the spread of those no worse than `worst` of its loss."""
    value, order = starts.value.tolist(), _ranked(starts.value).tolist()
    first = order[0]
    if not np.isfinite(value[first]):
        raise ValueError(
            "every start diverged: use a smaller dt, a smaller fit.stochastic.learning_rate or "
            "fit.deterministic.learning_rate, or narrower ranges"
        )
    good = [i for i in order if value[i] <= worst(value[first])]
    values = {name: np.asarray(x, float) for name, x in physical(model.ranges, starts.raw).items()}
    spread = {name: float(np.std(x[good], ddof=1)) if len(good) > 1 else np.nan for name, x in values.items()}
    return ClampFit(
        values={name: float(x[first]) for name, x in values.items()},
        spread=spread,
        good=len(good),
        loss=value[first],
        parts={name: float(x[first]) for name, x in starts.parts.items()},
        losses=tuple(value[i] for i in order),
    )


def clamp_standard_errors(
    model: ClampModel, fit: ClampFit, data: Sweeps, dt: float, weights: Weights
) -> dict[str, float]:
    """Standard errors of the parameters of a stochastic fit, in their units; NaN for those that the data do
    not hold.

    By `standard_errors` of its loss times the number of spikes: the voltage weighs there as it does in the
    fit, so these are errors of a penalised likelihood.

    **Arguments:** `fit`: what `fit_clamp` found with the same data, `dt` (ms) and weights.
    """
    spikes = jnp.sum(data.spikes)
    return standard_errors(
        lambda raw, data: stochastic_loss(model, raw, data, dt, weights)[0] * spikes,
        unbounded(model.ranges, fit.values),
        data,
        lambda raw: physical(model.ranges, raw),
    )


def _taken(raw: Values, which: Int[np.ndarray, " chosen"]) -> Values:
    return jax.tree.map(lambda x: x[which], raw)


def _best(
    raw: Values, value: Float[np.ndarray, " starts"], count: int
) -> tuple[Values, Float[np.ndarray, " best"]]:
    best = _ranked(value)[:count]
    return _taken(raw, best), value[best]


def _ranked(value: Float[np.ndarray, " starts"]) -> Int[np.ndarray, " starts"]:
    """Positions from the least loss on, those that diverged at the end."""
    return np.argsort(np.where(np.isfinite(value), value, np.inf), kind="stable")
