"""Fitting a current-clamped neuron by gradient: several random starts in one vmapped program, in two stages.

In the first, the recording drives the model (recorded spikes reset it, or its voltage is pulled towards the recorded one), so that a bad
start cannot lose the spikes; in the second the model runs freely through the smooth gate, whose zone narrows.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int, PRNGKeyArray

from ..gates import Gate
from .clamp_loss import Sweeps, Weights, filtered, forced_loss, free_loss, measured, run_free, sweeps_to_fit
from .clamp_models import ClampModel
from .ranges import Values, physical, random_starts
from .recordings import Stepped

GOOD = 1.25
"""Starts whose loss is at most this times the best one's count for the spread of the parameters."""


SIDE_BY_SIDE = 64
"""Starts that are screened as one program: enough to fill vectors, few enough for the cache."""


class Plan(NamedTuple):
    """How to fit."""

    draws: int = 512
    """Random starts that are screened."""
    starts: int = 8
    """Of these, the best that go on to the first stage."""
    keep: int = 4
    """Of the screened and the driven ones, the best that go on to the second stage."""
    forced_steps: int = 120
    free_steps: int = 120
    forced_rate: float = 0.08
    free_rate: float = 0.05
    sharpness: tuple[float, float] = (1.0, 4.0)
    """Of the gate at the begin and the end of the second stage."""
    weights: Weights = Weights()


class ClampFit(NamedTuple):
    """A fitted neuron."""

    values: dict[str, float]
    """Parameters of the best start in their units."""
    spread: dict[str, float]
    """Standard deviation over the good starts (`GOOD`), a measure of how well the data hold a parameter; NaN if only one is good."""
    good: int
    """How many these are."""
    loss: float
    parts: dict[str, float]
    """Terms of the loss, unweighted."""
    losses: tuple[float, ...]
    """Of every start that was kept, best first."""


@functools.cache
def quick_compile() -> dict:
    """Compiler options for programs whose compiling is a good part of their time: on the CPU, XLA's first level of optimisation.

    The gradient of a Hodgkin-Huxley step then compiles in a third of the time, and runs 1.4 times slower.
    """
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}


def _descend(loss, raw, data, steps, rate, extra, report):
    """Adam on every start side by side; returns the best that each has seen, its loss and the terms of it."""
    schedule = optax.cosine_decay_schedule(rate, max(steps, 1), 0.05)
    optimiser = optax.chain(optax.zero_nans(), optax.clip_by_global_norm(1.0), optax.adam(schedule))
    state = jax.vmap(optimiser.init)(raw)

    @functools.partial(jax.jit, compiler_options=quick_compile())
    def step(raw, state, best, data, x):
        (value, parts), slope = jax.vmap(jax.value_and_grad(loss, has_aux=True), (0, None, None))(raw, data, x)
        now = (value, raw, parts)
        best = jax.tree.map(lambda a, b: jnp.where(value < best[0], a, b), now, best)
        change, state = jax.vmap(optimiser.update)(slope, state, raw)
        return optax.apply_updates(raw, change), state, best

    count = len(jax.tree.leaves(raw)[0])
    zeros = jax.tree.map(
        lambda x: jnp.zeros(count, x.dtype), jax.eval_shape(lambda: loss(jax.tree.map(lambda x: x[0], raw), data, extra(0))[1])
    )
    best = (jnp.full(count, jnp.inf), raw, zeros)
    for i in range(steps):
        raw, state, best = step(raw, state, best, data, extra(i))
        report(i + 1, float(jnp.min(best[0])))
    value, raw, parts = best
    return raw, np.asarray(value, float), {name: np.asarray(x, float) for name, x in parts.items()}


def screening(model: ClampModel, data: Sweeps, gate: Gate, dt: float, weights: Weights) -> Callable[[Values], Float[np.ndarray, " starts"]]:
    """A function of starts: the loss of the second stage through an ordinary threshold, infinite for one that diverges.

    It needs no gradient, so a thousand starts cost what a few steps of the fit do. A start that is silent, or fires at rest,
    has a loss without slope: none of these is to be followed.
    """
    target = filtered(data.spikes, weights.tau, dt)

    @jax.jit
    def run(raw, data, target):
        return jax.vmap(lambda x: free_loss(model, x, data, target, gate.hard(), dt, weights)[0])(raw)

    def score(raw):
        count, values = len(jax.tree.leaves(raw)[0]), []
        for begin in range(0, count, SIDE_BY_SIDE):
            # The last ones are repeated up to the size of the others, so that one program serves all.
            which = np.minimum(np.arange(begin, begin + SIDE_BY_SIDE), count - 1)
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
) -> ClampFit:
    """Fit `model` to `data` from the best of `plan.draws` random starts inside the ranges of its parameters.

    **Arguments:** `gate`: releases charge; width in mV; `dt` in ms; `report`: called after every step with the best loss.

    **Raises:** `ValueError` if every start diverged.
    """
    weights = plan.weights
    stage = lambda name: lambda step, loss: report(name, step, loss)
    loss = screening(model, data, gate, dt, weights)
    raw = random_starts(model.ranges, plan.draws, key=key)
    value = loss(raw)
    raw, value = _best(raw, value, max(plan.starts, plan.keep))
    if model.resets and plan.forced_steps:
        first = lambda raw, data, _: forced_loss(model, raw, data, dt, weights)
        driven, _ = _best(raw, value, plan.starts)
        nothing = lambda i: jnp.asarray(0.0)
        driven, own, parts = _descend(first, driven, data, plan.forced_steps, plan.forced_rate, nothing, stage("driven"))
        if plan.free_steps:
            value = np.concatenate([value, loss(driven)])
            raw = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), raw, driven)
        else:
            raw, value = driven, own
    if plan.free_steps:
        raw, value = _best(raw, value, plan.keep)
        low, high = plan.sharpness
        sharpness = lambda i: jnp.asarray(low + (high - low) * i / max(plan.free_steps - 1, 1))
        second = lambda raw, x, a: free_loss(model, raw, x[0], x[1], gate.sharpen(a), dt, weights)
        known = (data, filtered(data.spikes, weights.tau, dt))
        raw, value, parts = _descend(second, raw, known, plan.free_steps, plan.free_rate, sharpness, stage("free"))
    order = _ranked(value)
    if not np.isfinite(value[order[0]]):
        raise ValueError("every start diverged: use a smaller dt, a smaller fit.free_rate, or narrower ranges")
    good = [i for i in order if value[i] <= GOOD * value[order[0]]]
    values = {name: np.asarray(x, float) for name, x in physical(model.ranges, raw).items()}
    return ClampFit(
        {name: float(x[order[0]]) for name, x in values.items()},
        {name: float(np.std(x[good], ddof=1)) if len(good) > 1 else float("nan") for name, x in values.items()},
        len(good),
        float(value[order[0]]),
        {name: float(x[order[0]]) for name, x in parts.items()},
        tuple(float(value[i]) for i in order),
    )


def _best(raw, value, count):
    best = _ranked(value)[:count]
    return jax.tree.map(lambda x: x[best], raw), value[best]


def _ranked(value):
    return np.argsort(np.where(np.isfinite(value), value, np.inf), kind="stable")


class Predicted(NamedTuple):
    """What a fitted neuron does, sweep after sweep."""

    spikes: tuple[Float[np.ndarray, " _"], ...]
    """ms."""
    voltage: Float[np.ndarray, "sweeps time"]
    """What the electrode would read, mV."""


def predict_clamp(
    model: ClampModel, values: dict[str, float], stepped: Stepped, which: Int[np.ndarray, " chosen"], gate: Gate
) -> Predicted:
    """Run the fitted neuron with an ordinary threshold over whole sweeps, from their current and the voltage at their start alone."""
    data = sweeps_to_fit(stepped, which)
    p = {name: jnp.asarray(value, data.current.dtype) for name, value in values.items()}

    @eqx.filter_jit
    def run(p, data):
        _, record = run_free(model, p, data, gate.hard(), stepped.dt, 10.0, ("release", "v"))
        return record.release, measured(p, record.v, data.current)

    release, v = (np.asarray(x, float).T for x in run(p, data))
    steps = np.arange(release.shape[1])
    # A step may hold several spikes of a fast model; each is put in its middle.
    times = tuple(np.repeat((steps + 0.5) * stepped.dt, np.round(row).astype(int)) for row in release)
    return Predicted(times, v)
