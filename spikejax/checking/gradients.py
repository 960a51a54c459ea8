"""Is the gradient of a trial that of the adjoints, of differences, of a secant, and that of the neuron in
continuous time?"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..adjoints import Autodiff, Checkpointed, Costate
from .asking import Case, Finding, Question, within
from .trial import FINER, losses, named_leaves

SPREAD, POINTS = 0.015, 16
"""Largest range of drives of the secant, as a fraction, and points of its quadrature."""

CLOSE = 1e-4
"""What a gradient may be from differences, in parts of its terms."""


def _evaluate(case: Case, name: str) -> tuple[Any, Any]:
    """What is differentiated, and a compiled function of it, by the name of an adjoint."""
    if name not in case.gradients:
        adjoint = {"autodiff": Autodiff, "costate": Costate, "checkpointed": Checkpointed}[name]()
        case.gradients[name] = losses(case.trial, adjoint)
    return case.gradients[name]


def _gradient(case: Case, name: str, finer: int = 1) -> tuple[float, dict[str, np.ndarray]]:
    """Loss, and gradient by field."""
    params, evaluate = _evaluate(case, name)
    stimulus, weight, live, dt = case.trial.arguments(finer)
    # One program of the costate serves all steps; the others are not asked for finer ones.
    n = len(live) if name == "costate" else case.trial.steps
    value, gradient = evaluate(params, stimulus[:n], weight[:n], live[:n], dt)
    return float(value), {name: np.asarray(x) for name, x in named_leaves(gradient).items()}


def _size(case: Case, name: str, x: np.ndarray) -> np.ndarray:
    """What a small change of a parameter is small against: its own size, and of a potential, or of what is 0,
    a part of the way to the threshold."""
    part = 0.01 * case.trial.room
    return np.asarray(np.where(x == 0, part, np.abs(x)) + part * name.startswith("v_"))


def _contributions(case: Case, gradient: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The gradient by what a change of each parameter by its size makes: parameters have many units."""
    params = named_leaves(_evaluate(case, "costate")[0])
    return {name: g * _size(case, name, np.asarray(params[name])) for name, g in gradient.items()}


def _finite(case: Case) -> Finding:
    value, gradient = _gradient(case, "costate")
    bad = [name for name, x in gradient.items() if not np.isfinite(x).all()]
    if not np.isfinite(value):
        return Finding(False, "the loss is not finite")
    if bad:
        return Finding(False, f"not finite in {', '.join(bad)}")
    return Finding(True)


def _parameters(case: Case) -> Finding:
    params, evaluate = _evaluate(case, "costate")
    own = evaluate(params, *case.trial.arguments())[1].layers[0].neuron
    idle = [name for name, x in named_leaves(own).items() if x.size and not np.any(x)]
    idle = [f"`{name}`" for name in idle if name not in case.idle]
    return Finding(False, f"no gradient at all in {', '.join(idle)}") if idle else Finding(True)


def _adjoints(case: Case) -> Finding:
    _, expected = _gradient(case, "autodiff")
    sizes = _contributions(case, expected)
    floor = 1e-6 * max(float(np.abs(x).max()) for x in sizes.values() if x.size)
    worst, where = 0.0, ""
    for name in ("costate", "checkpointed"):
        found = _contributions(case, _gradient(case, name)[1])
        for field, x in sizes.items():
            if x.size:
                far = float(np.abs(found[field] - x).max() / max(float(np.abs(x).max()), floor))
                if not far <= worst:
                    worst, where = far, f"{name} in `{field}`"
    return within(worst, 1e-9, where)


def _differences(case: Case) -> Finding:
    params, evaluate = _evaluate(case, "costate")
    arguments = case.trial.arguments()
    leaves, tree = jax.tree.flatten(jax.tree.map(np.asarray, params))
    names = list(named_leaves(params))
    slopes = [np.asarray(g) for g in jax.tree.leaves(evaluate(params, *arguments)[1])]
    value = lambda e, way: float(
        evaluate(tree.unflatten([x + e * d for x, d in zip(leaves, way, strict=True)]), *arguments)[0]
    )
    worst, where = 0.0, ""
    for i, (name, x, slope) in enumerate(zip(names, leaves, slopes, strict=True)):
        if not x.size:
            continue
        direction = _size(case, name, x) * (0.5 + np.random.default_rng(i).random(x.shape))
        way = [direction if k == i else 0.0 for k in range(len(leaves))]
        exact = float(np.vdot(slope, direction))
        scale = max(float(np.abs(slope * direction).sum()), 1e-4 * abs(value(0.0, way)))
        # A kink within one of them is not within all.
        error = np.inf
        for e in (1e-6, 1e-5, 1e-7):
            error = min(error, abs(exact - (value(e, way) - value(-e, way)) / (2 * e)) / scale)
            if error <= CLOSE:
                break
        if not error <= worst:
            worst, where = error, f"in `{name}`"
    return within(worst, CLOSE, where)


def _secant(case: Case) -> Finding:
    params, evaluate = _evaluate(case, "costate")
    arguments, x = case.trial.arguments(), np.polynomial.legendre.leggauss(POINTS)
    layer = lambda tree: tree.layers[0]

    def along(factor: float) -> tuple[float, float]:
        """The loss with the current times a factor, and its derivative in it."""
        scaled = eqx.tree_at(
            lambda tree: (layer(tree).feedforward.weight, layer(tree).bias),
            params,
            replace_fn=lambda y: factor * y,
        )
        value, gradient = evaluate(scaled, *arguments)
        pairs = [
            (f(layer(gradient)), f(layer(params))) for f in (lambda y: y.feedforward.weight, lambda y: y.bias)
        ]
        return float(value), sum(float(jnp.vdot(g, p)) for g, p in pairs)

    spread = _quiet_range(case)
    secant = (along(1 + spread)[0] - along(1 - spread)[0]) / (2 * spread)
    mean = sum(0.5 * w * along(1 + spread * at)[1] for at, w in zip(*x, strict=True))
    return within(abs(mean - secant) / max(abs(secant), 1e-12), 0.03, f"{mean:.4g} against {secant:.4g}")


def _quiet_range(case: Case) -> float:
    """How far the drive may be changed, at most by `SPREAD`, with no spike more or less: there the loss of a
    right neuron jumps too."""

    def counts(factor: float) -> np.ndarray:
        return case.trial._replace(drive=factor * case.trial.drive).run().count.sum(axis=0)

    tried = [SPREAD / 2**k for k in range(5)]
    return next((x for x in tried if np.array_equal(counts(1 - x), counts(1 + x))), tried[-1])


def _times(case: Case) -> Finding:
    """Times of the spikes at each step against those at the finest, in parts of the interval between them."""
    errors = []
    finest = _spike_times(case, FINER[-1])
    span = case.trial.steps * case.trial.dt
    for finer in FINER[:-1]:
        worst = 0.0
        for a, b in zip(_spike_times(case, finer), finest, strict=True):
            if abs(len(a) - len(b)) > 1:
                return Finding(False, f"{len(a)} spikes at dt/{finer}, {len(b)} at dt/{FINER[-1]}")
            n = min(len(a), len(b))
            interval = (b[n - 1] - b[0]) / (n - 1) if n > 1 else span
            worst = max(worst, float(np.abs(a[:n] - b[:n]).max()) / interval if n else 0.0)
        errors.append(worst)
    return _converges(errors, 0.05)


def _spike_times(case: Case, finer: int) -> list[np.ndarray]:
    """Of every neuron, ms."""
    count, first = (x.reshape(len(x), -1) for x in case.series[finer][1:3])
    dt = case.trial.dt / finer
    return [dt * (np.flatnonzero(n) + t[n > 0]) for n, t in zip(count.T, first.T, strict=True)]


def _trajectory(case: Case) -> Finding:
    """v at the steps of dt, on average over time, in parts of the way from reset to threshold."""
    of = lambda finer: np.asarray(case.series[finer].states.v)[::finer]
    errors = [float(np.abs(of(f) - of(FINER[-1])).mean()) / case.trial.room for f in FINER[:-1]]
    return _converges(errors, 0.05)


def _refined(case: Case) -> Finding:
    found = [_contributions(case, _gradient(case, "costate", finer)[1]) for finer in FINER]
    size = np.concatenate([np.ravel(x) for x in found[-1].values()])
    errors, where = [], ""
    for one in found[:-1]:
        parts = {name: float(np.linalg.norm(one[name] - x)) for name, x in found[-1].items()}
        where = max(parts, key=lambda name: parts[name])
        errors.append(float(np.sqrt(sum(x**2 for x in parts.values())) / np.linalg.norm(size)))
    return _converges(errors, 0.1, f", most in `{where}`")


def _converges(errors: list[float], bound: float, more: str = "") -> Finding:
    """Passes if the error at dt is within the bound, and that at dt/2 smaller, or both are as good as
    nothing."""
    whole, half = errors
    steps = f"from dt/{FINER[-1]}: {whole:.2g} at dt, {half:.2g} at dt/2"
    finding = within(whole, bound, steps + more)
    if finding.passed and not (half < 0.75 * whole or whole < 0.02 * bound + 1e-9 or half < 0.1 * bound):
        return finding._replace(passed=False, note=steps + more + ", which is not nearer")
    return finding


STEP = "give a shorter `dt`, or integrate `flow` more accurately"
QUESTIONS = (
    Question(
        "spike times",
        "do spikes stay in place as dt is halved, in parts of an interval?",
        _times,
        STEP,
        ("spikes",),
    ),
    Question(
        "trajectory",
        "does v, in parts of its range?",
        _trajectory,
        STEP,
        ("spikes",),
    ),
    Question(
        "finite",
        "are loss and gradient of the trial finite?",
        _finite,
        "a branch of jnp.where that is not taken still counts in the gradient: make its argument harmless "
        "first, jnp.sqrt(jnp.where(x > 0, x, 1.0)) in place of jnp.where(x > 0, jnp.sqrt(x), 0.0)",
        ("spikes",),
    ),
    Question(
        "parameters",
        "does the loss depend on every parameter of the neuron?",
        _parameters,
        "use it in `flow`, `threshold` or `on_spike`, without stop_gradient; what is no parameter is "
        "an `option`; one that is without effect on purpose: check_neuron(neuron, idle=('g',))",
        ("finite",),
    ),
    Question(
        "adjoints",
        "do Costate and Checkpointed give the gradient of Autodiff?",
        _adjoints,
        "no side effects, no randomness, no global variable: all that a step depends on is in state, "
        "current, dt and the neuron's fields",
        ("finite",),
    ),
    Question(
        "differences",
        "is the gradient that of central differences, in every parameter?",
        _differences,
        "look for stop_gradient, rounding, argmax, comparisons of floats, custom derivatives in your code",
        ("finite",),
    ),
    Question(
        "secant",
        "is its mean over 3 % of the current that of the loss's own change?",
        _secant,
        "the loss jumps where a spike changes its step: reset='split' (a reset at the end of the step has "
        "a wrong gradient at any dt, docs/fidelity.md), and the exact crossing in a `travel` or `split` of "
        "your own",
        ("finite",),
    ),
    Question(
        "refinement",
        "does the gradient stay as dt is halved?",
        _refined,
        STEP,
        ("finite",),
    ),
)  # fmt: skip

__all__ = ["QUESTIONS"]
