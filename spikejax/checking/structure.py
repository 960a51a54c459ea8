"""Is a neuron a function of arrays: traced, typed, elementwise, batched?"""

import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..neurons import AbstractResetNeuron, Drive
from ..parameters import cast
from .asking import Case, Finding, Question, apart, named, within
from .compiling import quick_jit


def _functions(neuron, dt):
    """The functions of a neuron that return a state, of a state and a current."""
    wide = lambda state: jnp.full_like(state.v, dt)
    found = {
        "flow": lambda state, current: neuron.flow(state, current, dt),
        "flow with one dt a neuron": lambda state, current: neuron.flow(state, current, wide(state)),
        "hold": lambda state, current: neuron.hold(state, current, dt),
    }
    if isinstance(neuron, AbstractResetNeuron):
        found["on_spike"] = lambda state, current: neuron.on_spike(state)
    return found


def _with_travel(neuron, dt):
    """Those, and the whole step that is made of them."""
    return _functions(neuron, dt) | {"travel": lambda state, current: neuron.travel(state, current, dt)[0]}


def _start(case: Case) -> Finding:
    neuron, shape = case.neuron, case.trial.shape
    key = jax.random.key(0)
    ways: dict[str, dict[str, Any]] = {"init(shape)": {}, "init with a key": {"key": key}}
    # One that sets up its state by itself need not know about noise.
    if "noise" in inspect.signature(neuron.init).parameters:
        ways["init with noise"] = {"key": key, "noise": 0.1}
    for way, keywords in ways.items():
        state = neuron.init(shape, **keywords)
        if not hasattr(state, "_replace") or not hasattr(state, "v"):
            return Finding(False, f"{way}: the state is a {type(state).__name__}, not a NamedTuple with `v`")
        for name, x in _leaves(state).items():
            got = jnp.shape(x)
            if (got != shape) if name == "v" else (got[len(got) - len(shape) :] != shape):
                return Finding(False, f"{way}: `{name}` has shape {got} in a population of shape {shape}")
    return Finding(True)


def _leaves(tree) -> dict[str, Any]:
    pairs = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path).lstrip("."): x for path, x in pairs}


def _traced(case: Case) -> Finding:
    start = case.neuron.init(case.trial.shape)
    for name, function in _functions(case.neuron, case.trial.dt).items():
        with named(name):
            jax.eval_shape(function, start, jnp.zeros(case.trial.shape))
    functions = _functions(case.neuron, case.trial.dt)
    compiled, furthest = quick_jit(_all_of(functions)), (0.0, "")
    for state, current in (_drawn(case, jax.random.key(k)) for k in (1, 2)):
        uncompiled = _all_of(functions)(state, current)
        furthest = max(furthest, _furthest(compiled(state, current), uncompiled))
    return within(*_bounded(furthest, 1e-10))


def _compiled(case: Case):
    """All functions of the neuron, as one compiled one."""
    if case.compiled is None:
        case.compiled = quick_jit(_all_of(_with_travel(case.neuron, case.trial.dt)))
    return case.compiled


def _all_of(functions):
    """The functions as one."""
    return lambda state, current: {name: f(state, current) for name, f in functions.items()}


def _furthest(found: dict[str, Any], expected: dict[str, Any]) -> tuple[float, str]:
    """The largest difference between what the functions gave, and of which."""
    return max((apart(found[name], expected[name]), f"in {name}") for name in expected)


def _types(case: Case) -> Finding:
    for dtype in (jnp.float32, jnp.float64):
        neuron = cast(case.neuron, dtype)
        state, current = neuron.init(case.trial.shape), jnp.zeros(case.trial.shape, dtype)
        started = _described(state)
        for name, (_, kind, weak) in started.items():
            if weak:
                return Finding(False, f"init: `{name}` is weakly typed: give it a type, as jnp.zeros_like(v)")
            if jnp.issubdtype(kind, jnp.inexact) and kind != dtype:
                return Finding(False, f"init: `{name}` is {kind} for a neuron of {jnp.dtype(dtype).name}")
        for name, function in _with_travel(neuron, case.trial.dt).items():
            out = jax.eval_shape(function, state, current)
            problem = _changed(out, state)
            if problem:
                return Finding(False, f"{name}: {problem}, for a neuron of {jnp.dtype(dtype).name}")
    return Finding(True)


def _described(tree) -> dict[str, tuple[tuple[int, ...], Any, bool]]:
    shapes = jax.eval_shape(lambda: tree)
    return {name: (x.shape, x.dtype, bool(x.weak_type)) for name, x in _leaves(shapes).items()}


def _changed(out, state) -> str | None:
    """What is different about a state that a function returned."""
    if jax.tree.structure(out) != jax.tree.structure(state):
        return f"the state is {_named(out)}, not {_named(state)} as from init"
    for (name, before), after in zip(_described(state).items(), _leaves(out).values(), strict=True):
        after = after.shape, after.dtype, bool(after.weak_type)
        if after[:2] != before[:2]:
            return f"`{name}` is {after[1]}{list(after[0])}, not {before[1]}{list(before[0])} as from init"
        if after[2]:
            return f"`{name}` is weakly typed"
    return None


def _named(state) -> str:
    names = getattr(type(state), "_fields", None)
    return f"{type(state).__name__}({', '.join(names)})" if names else type(state).__name__


def _drawn(case: Case, key) -> tuple[Any, jax.Array]:
    """A state somewhere below the threshold, all its numbers different, and currents."""
    shape = case.trial.shape
    state = case.neuron.init(shape, key=key)
    leaves, tree = jax.tree.flatten(state)
    keys = jax.random.split(key, len(leaves))
    move = lambda x, k: x + 0.01 * (1 + jnp.abs(x)) * jax.random.uniform(k, x.shape, x.dtype)
    leaves = [move(x, k) if eqx.is_inexact_array(x) else x for x, k in zip(leaves, keys, strict=True)]
    return tree.unflatten(leaves), case.trial.room * jax.random.uniform(key, shape)


def _elementwise(case: Case) -> Finding:
    (state, current), (other, stronger) = (_drawn(case, jax.random.key(k)) for k in (1, 2))
    size = max(1, int(np.prod(case.trial.shape)))
    if size == 1:
        return Finding(True, "one neuron alone")
    chosen = (np.arange(size) == size - 1).reshape(case.trial.shape)
    moved = jax.tree.map(lambda a, b: jnp.where(chosen, b, a), state, other)
    run = _compiled(case)
    rest = lambda tree: jax.tree.map(lambda x: jnp.where(chosen, 0, x), tree)
    before, after = run(state, current), run(moved, jnp.where(chosen, stronger, current))
    return within(*_bounded(_furthest(rest(after), rest(before)), 1e-14))


def _bounded(furthest: tuple[float, str], bound: float) -> tuple[float, float, str]:
    return furthest[0], bound, furthest[1]


def _batched(case: Case) -> Finding:
    states, currents = zip(*(_drawn(case, jax.random.key(k)) for k in range(4)), strict=True)
    stack = lambda *x: jnp.stack(x)
    expected = jax.tree.map(stack, *(_compiled(case)(s, i) for s, i in zip(states, currents, strict=True)))
    found = quick_jit(jax.vmap(_all_of(_with_travel(case.neuron, case.trial.dt))))(
        jax.tree.map(stack, *states), jnp.stack(currents)
    )
    return within(*_bounded(_furthest(found, expected), 1e-10))


def _conductances(case: Case) -> Finding:
    neuron, dt = case.neuron, case.trial.dt
    if not neuron.conductances:
        return Finding(True, "takes currents only")
    state, current = _drawn(case, jax.random.key(1))
    flow = quick_jit(lambda state, current, g: neuron.flow(state, Drive(current, g), dt))
    still = jnp.zeros_like(current)
    problem = _changed(jax.eval_shape(flow, state, current, still), state)
    if problem:
        return Finding(False, f"flow with a Drive: {problem}")
    far = apart(flow(state, current, still), neuron.flow(state, current, dt))
    if far > 1e-9:
        return within(far, 1e-9, "flow with a conductance of 0 is not flow without one")
    # The leak that conductances are counted in is not known: one at which v moves about as far as by itself.
    moved = jax.tree.leaves(apart_of_v(neuron, state, current, dt))[0]
    g = jnp.full_like(current, 0.5 * float(jnp.abs(moved).max()) / (dt * case.trial.room))
    slope = jax.jvp(lambda g: flow(state, current, g), (g,), (g,))[1]
    e = 1e-6
    high, low = flow(state, current, (1 + e) * g), flow(state, current, (1 - e) * g)
    difference = jax.tree.map(lambda a, b: (a - b) / (2 * e), high, low)
    if not float(jnp.abs(slope.v).max()) > 0:
        return Finding(False, "the conductance changes nothing")
    return within(apart(slope.v, difference.v), 1e-4, "the derivative in a conductance against differences")


def apart_of_v(neuron, state, current, dt) -> jax.Array:
    """How far v moves in a step."""
    return neuron.flow(state, current, dt).v - state.v


QUESTIONS = (
    Question(
        "state",
        "is the state a NamedTuple with v, of the population's shape?",
        _start,
        "return from `init(shape, *, key=None, noise=None)` a NamedTuple with a field `v`, every array of "
        "shape (*shape) or (kinds, *shape); v from `super().init(shape, key=key, noise=noise).v`",
    ),
    Question(
        "jit",
        "does the step compile, to what it is uncompiled?",
        _traced,
        "use `jnp.where(condition, a, b)` in place of `if`, `while`, `float(...)` and numpy on what depends "
        "on state, current, dt or parameters, and no random numbers or global variables",
        ("state",),
    ),
    Question(
        "types",
        "do shape and type of every state variable stay, float32 and float64?",
        _types,
        "return `state._replace(...)` with the same fields; make constants Python numbers or arrays "
        "like `jnp.zeros_like(state.v)`, not `jnp.asarray(0.5)` or numpy numbers, which have a type of "
        "their own",
        ("state", "jit"),
    ),
    Question(
        "elementwise",
        "does a neuron leave the others alone?",
        _elementwise,
        "no sum, mean, sort or product over neurons in `flow`, `on_spike`, `threshold`: what neurons do to "
        "each other is a connection",
        ("state", "jit", "types"),
    ),
    Question(
        "vmap",
        "is a batch of trials each trial by itself?",
        _batched,
        "write `flow` so that it holds for arrays of any shape: no fixed axis numbers, no len(state.v)",
        ("state", "jit", "types"),
    ),
    Question(
        "conductances",
        "if declared: is g = 0 a plain current, and the derivative in g right?",
        _conductances,
        "with `conductances = True` take `current, g = spikejax.neurons.base.parts(current)` in `flow` and "
        "integrate I - g v; else leave `conductances` False",
        ("state", "jit", "types"),
    ),
)

__all__ = ["QUESTIONS"]
