"""Fitting a current-clamped neuron by gradient: several random starts side by side in one vmapped program, in
two stages.

In the first, recorded spikes reset the model and what is left is the likelihood of a noisy neuron; in the
second a neuron without noise runs freely through the smooth gate, whose zone narrows. Before it every start
is searched around at an ordinary threshold. What each is for: docs/fitting.md.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import PRNGKeyArray

from ...gates import Gate
from ..evolve import search
from ..laplace import standard_errors
from ..ranges import Values, physical, random_starts, unbounded
from .loss import Sweeps, Weights, filtered, free_loss, noisy_loss
from .models import ClampModel

GOOD = 1.25
"""Starts whose loss is at most this times the best one's count for the spread of the parameters."""
AS_LIKELY = 0.1
"""In the first stage, those whose loss is at most this above the best one's: nats per spike."""


JUDGED_EVERY = 5
"""Steps of the second stage between two looks at its loss through an ordinary threshold."""


SIDE_BY_SIDE = 64
"""Starts that are screened as one program: enough to fill vectors, few enough for the cache."""


class Plan(NamedTuple):
    """How to fit; the defaults are those of the configuration."""

    draws: int = 1024
    """Random starts that are screened, and steps that a round of the search tries."""
    starts: int = 8
    """Of these, the best that go on to the first stage."""
    keep: int = 4
    """Of the screened and the driven ones, the best that are searched around and go on to the second
    stage."""
    forced_steps: int = 400
    rounds: int = 6
    """Of the search."""
    free_steps: int = 60
    forced_rate: float = 0.08
    step: float = 0.3
    """Standard deviation of the search's steps in its first round; it shrinks."""
    free_rate: float = 0.003
    sharpness: tuple[float, float] = (1.0, 4.0)
    """Of the gate at the begin and the end of the second stage."""
    weights: Weights = Weights()


class ClampFit(NamedTuple):
    """A fitted neuron."""

    values: dict[str, float]
    """Parameters of the best start in their units."""
    spread: dict[str, float]
    """Standard deviation over the good starts (`GOOD`, `AS_LIKELY`): how well the data hold a parameter; NaN
    if only one is good."""
    good: int
    """How many these are."""
    loss: float
    parts: dict[str, float]
    """Terms of the loss, unweighted."""
    losses: tuple[float, ...]
    """Of every start that was kept, best first."""


class ClampFits(NamedTuple):
    """What the two stages find."""

    noisy: ClampFit | None
    """The neuron with escape noise, by likelihood; None without a first stage."""
    deterministic: ClampFit | None
    """The neuron without noise, through the gate; None without a second stage."""


@functools.cache
def quick_compile() -> dict:
    """Compiler options for programs whose compiling is a good part of their time: on the CPU, XLA's first
    level of optimisation.

    The gradient of a Hodgkin-Huxley step then compiles in a third of the time, and runs 1.4 times slower.
    """
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}


def _descend(loss, raw, data, steps, rate, extra, report, judge=None):
    """Adam on every start side by side; returns the best that each has seen, its loss and the terms of it.

    The best by the loss itself or, every few steps, by `judge`, a function of starts: where the loss changes
    on the way.
    """
    schedule = optax.cosine_decay_schedule(rate, max(steps, 1), 0.05)
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
    for i in range(steps):
        before = raw
        raw, state, value, parts = step(raw, state, data, extra(i))
        if judge is None or i % JUDGED_EVERY == 0:
            now = (value if judge is None else jnp.asarray(judge(before)), before, parts)
            never = (jnp.full_like(now[0], jnp.inf), before, parts)
            best = better(never if best is None else best, now)
        report(i + 1, float(jnp.min(best[0])))
    value, raw, parts = best
    return raw, np.asarray(value, float), {name: np.asarray(x, float) for name, x in parts.items()}


def screening(
    model: ClampModel, data: Sweeps, gate: Gate, dt: float, weights: Weights
) -> Callable[[Values], Float[np.ndarray, " starts"]]:
    """A function of starts: the loss of the second stage through an ordinary threshold, infinite for one that
    diverges.

    It needs no gradient, so a thousand starts cost what a few steps of the fit do. A start that is silent, or
    fires at rest, has a loss without slope: none of these is to be followed.
    """
    target = filtered(data.spikes, weights.tau, dt)

    @jax.jit
    def run(raw, data, target):
        return jax.vmap(lambda x: free_loss(model, x, data, target, gate.hard(), dt, weights)[0])(raw)

    def score(raw):
        count, values = len(jax.tree.leaves(raw)[0]), []
        width = min(count, SIDE_BY_SIDE)
        for begin in range(0, count, width):
            # The last ones are repeated up to the size of the others, so that one program serves all.
            which = np.minimum(np.arange(begin, begin + width), count - 1)
            values.append(np.asarray(run(jax.tree.map(lambda x, k=which: x[k], raw), data, target), float))
        value = np.concatenate(values)[:count]
        return np.where(np.isfinite(value), value, np.inf)

    return score


def fit_clamp(
    model: ClampModel,
    data: Sweeps,
    gate: Gate,
    dt: float,
    plan: Plan,
    *,
    key: PRNGKeyArray,
    report: Callable[[str, int, float], None] = lambda stage, step, loss: None,
) -> ClampFits:
    """Fit `model` to `data` from the best of `plan.draws` random starts inside the ranges of its parameters.

    **Arguments:** `gate`: releases charge; width in mV; `dt` in ms; `report`: called after every step with
    the best loss.

    **Raises:** `ValueError` if every start diverged.
    """
    weights, driven, free = plan.weights, None, None
    stage = lambda name: lambda step, loss: report(name, step, loss)
    loss = screening(model, data, gate, dt, weights)
    raw = random_starts(model.ranges, plan.draws, key=key)
    raw, value = _best(raw, loss(raw), max(plan.starts, plan.keep))
    if model.resets and plan.forced_steps:
        first = lambda raw, data, _: noisy_loss(model, raw, data, dt, weights)
        best, _ = _best(raw, value, plan.starts)
        nothing = lambda i: jnp.asarray(0.0)
        driven = _descend(first, best, data, plan.forced_steps, plan.forced_rate, nothing, stage("driven"))
        if plan.free_steps:
            value = np.concatenate([value, loss(driven[0])])
            raw = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), raw, driven[0])
    if plan.free_steps:
        raw, value = _best(raw, value, plan.keep)
        more = {"rounds": plan.rounds, "draws": plan.draws, "step": plan.step}
        raw, value = search(raw, value, loss, **more, key=jax.random.fold_in(key, 1), report=stage("search"))
        low, high = plan.sharpness
        sharpness = lambda i: jnp.asarray(low + (high - low) * i / max(plan.free_steps - 1, 1))
        second = lambda raw, x, a: free_loss(model, raw, x[0], x[1], gate.sharpen(a), dt, weights)
        known = (data, filtered(data.spikes, weights.tau, dt))
        free = _descend(second, raw, known, plan.free_steps, plan.free_rate, sharpness, stage("free"), loss)
    return ClampFits(
        None if driven is None else _fit(model, *driven, lambda best: best + AS_LIKELY),
        None if free is None else _fit(model, *free, lambda best: GOOD * best),
    )


def _fit(model: ClampModel, raw: Values, value, parts, worst) -> ClampFit:
    """The best start, and the spread of those no worse than `worst` of its loss."""
    order = _ranked(value)
    if not np.isfinite(value[order[0]]):
        raise ValueError(
            "every start diverged: use a smaller dt, smaller rates (fit.driven_rate, fit.free_rate), or narrower ranges"
        )
    good = [i for i in order if value[i] <= worst(value[order[0]])]
    values = {name: np.asarray(x, float) for name, x in physical(model.ranges, raw).items()}
    return ClampFit(
        {name: float(x[order[0]]) for name, x in values.items()},
        {
            name: float(np.std(x[good], ddof=1)) if len(good) > 1 else float("nan")
            for name, x in values.items()
        },
        len(good),
        float(value[order[0]]),
        {name: float(x[order[0]]) for name, x in parts.items()},
        tuple(float(value[i]) for i in order),
    )


def uncertainty(
    model: ClampModel, fit: ClampFit, data: Sweeps, dt: float, weights: Weights
) -> dict[str, float]:
    """Standard errors of the parameters of the neuron with escape noise, in their units; NaN for those that
    the data do not hold.

    By `standard_errors` of the first stage's loss times the number of spikes: the voltage weighs there as it
    does in the fit, so these are errors of a penalised likelihood.
    """
    vector, unravel = ravel_pytree(unbounded(model.ranges, fit.values))
    spikes = jnp.sum(data.spikes)
    slope = jax.jit(
        jax.grad(lambda vector, data: noisy_loss(model, unravel(vector), data, dt, weights)[0] * spikes)
    )
    names = list(fit.values)
    values = lambda vector: (lambda p: jnp.stack([p[name] for name in names]))(
        physical(model.ranges, unravel(vector))
    )
    return dict(
        zip(names, standard_errors(lambda vector: slope(vector, data), vector, values).tolist(), strict=True)
    )


def _best(raw, value, count):
    best = _ranked(value)[:count]
    return jax.tree.map(lambda x: x[best], raw), value[best]


def _ranked(value):
    return np.argsort(np.where(np.isfinite(value), value, np.inf), kind="stable")
