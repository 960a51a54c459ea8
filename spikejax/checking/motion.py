"""Does a neuron move as it says: between spikes, at a spike, and pushed hard?"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..neurons import AbstractResetNeuron, Refractory
from ..parameters import cast
from .asking import Case, Finding, Question, apart, finite, named, within
from .compiling import quick_jit
from .trial import HIGHEST, LOWEST, named_leaves

STRONG = (10.0, 100.0, 1000.0)
"""Currents, in units of the one that makes the neuron spike."""
PERIOD = 5
"""Refractory period, in steps."""


def _spikes(case: Case) -> Finding:
    case.trial.check()
    count = case.series[1].count
    count = count.reshape(len(count), -1).sum(axis=0)
    quietest = float(count.min())
    drive = f"at a current of {case.trial.drive:.3g}"
    if not finite(case.series[1].states):
        return Finding(False, f"the state is not finite {drive}")
    if not quietest:
        v = np.asarray(case.series[1].states.v)
        if case.searched:
            low, high = (case.trial.room * 2.0**exponent for exponent in (LOWEST, HIGHEST))
            drive = f"for any current from {low:.3g} to {high:.3g}"
        return Finding(
            False,
            f"a neuron has no spike {drive}: v stays between {v.min():.3g} and {v.max():.3g}, with the "
            f"threshold at {float(np.max(np.asarray(case.neuron.bounds()[1]))):.3g}",
            0.0,
            1.0,
        )
    return Finding(True, f"{quietest:g} to {count.max():g} spikes {drive}", quietest, 1.0)


def _flow(case: Case) -> Finding:
    states, currents = case.moments(spiking=False, most=40)
    dt = case.trial.dt

    @quick_jit
    @jax.vmap
    def ways(state, current):
        step = lambda state, h: case.neuron.flow(state, current, h)
        once = step(state, dt)
        twice, below = step(step(state, dt / 2), dt / 2), case.neuron.height(once) < 0
        # Past the threshold a flow need only be finite.
        shown = lambda tree: jax.tree.map(lambda x: jnp.where(below, x, jnp.zeros_like(x)), tree)
        return *map(shown, (once, twice, state)), step(state, 0.0)

    once, twice, start, none = ways(states, currents)
    still = apart(none, states)
    if still > 1e-9:
        return within(still, 1e-9, "flow(state, current, 0.0) is not the state")
    worst, where = 0.0, ""
    for name, a, b, begin in _together(once, twice, start):
        error, way = (float(jnp.abs(x).sum()) for x in (a - b, a - begin))
        if way > 0 and error / way > worst:
            worst, where = error / way, f"in `{name}`"
    return within(worst, 5e-3, where)


def _together(*trees):
    """The floating leaves of equal trees side by side, by name."""
    leaves = [named_leaves(tree) for tree in trees]
    for name, first in leaves[0].items():
        if eqx.is_inexact_array(first):
            yield name, *(x[name] for x in leaves)


def _landed(case: Case) -> Finding:
    neuron = case.neuron
    if not isinstance(neuron, AbstractResetNeuron):
        return Finding(True, "no reset")
    states = _at_threshold(case)
    height = jax.vmap(lambda state: neuron.height(neuron.on_spike(state)))(states)
    highest = float(jnp.max(height))
    if highest >= 0:
        return Finding(False, f"after a spike v is {highest:.3g} above the threshold", highest, 0.0)
    return Finding(True, "", highest, 0.0)


def _at_threshold(case: Case) -> Any:
    """States at spikes, v being at the threshold."""
    states, _ = case.moments(spiking=True)
    reach = lambda state: jnp.broadcast_to(case.neuron.threshold(state), state.v.shape)
    return states._replace(v=jax.vmap(reach)(states))


def _jump(case: Case) -> Finding:
    neuron = case.neuron
    if not isinstance(neuron, AbstractResetNeuron):
        return Finding(True, "no reset")
    params, fixed = eqx.partition((neuron, _at_threshold(case)), eqx.is_inexact_array)

    def spike(params):
        neuron, states = eqx.combine(params, fixed)
        return eqx.filter(jax.vmap(neuron.on_spike)(states), eqx.is_inexact_array)

    rng = np.random.default_rng(0)
    way = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * (0.1 + np.abs(x))), params)
    e = 1e-6

    @quick_jit
    def both(params, way):
        return jax.jvp(spike, (params,), (way,))

    moved = lambda e: both(jax.tree.map(lambda x, d: x + e * d, params, way), way)[0]
    slope = both(params, way)[1]
    difference = jax.tree.map(lambda a, b: (a - b) / (2 * e), moved(e), moved(-e))
    worst, where = 0.0, ""
    for name, a, b in _together(slope, difference):
        far = apart(a, b) if float(jnp.abs(b).max()) > 1e-9 else float(jnp.abs(a).max())
        if not far <= worst:
            worst, where = far, f"in `{name}`"
    return within(worst, 1e-5, where)


def _memory(case: Case) -> Finding:
    """A variable that after a spike depends neither on what it was nor on a parameter is thrown away."""
    neuron = case.neuron
    if not isinstance(neuron, AbstractResetNeuron):
        return Finding(True, "no reset")
    states = _at_threshold(case)
    floats, fixed = eqx.partition(neuron, eqx.is_inexact_array)
    jump = quick_jit(jax.vmap(lambda floats, states: eqx.combine(floats, fixed).on_spike(states), (None, 0)))
    spike = lambda floats, states: named_leaves(jump(floats, states))
    after = spike(floats, states)
    shift = lambda x: x + 0.1 * (1 + jnp.abs(x)) if eqx.is_inexact_array(x) else x
    other = spike(jax.tree.map(shift, floats), states)
    forgotten, set_anew = [], []
    for name, x in named_leaves(states).items():
        if name == "v" or not eqx.is_inexact_array(x):
            continue
        swapped = jax.tree.unflatten(
            jax.tree.structure(states), [shift(y) if y is x else y for y in jax.tree.leaves(states)]
        )
        if bool(jnp.any(spike(floats, swapped)[name] != after[name])):
            continue
        (set_anew if bool(jnp.any(other[name] != after[name])) else forgotten).append(name)
    forgotten = [name for name in forgotten if name not in case.sets]
    if forgotten:
        names = ", ".join(f"`{name}`" for name in forgotten)
        return Finding(False, f"a spike sets {names} to a constant, whatever it was before")
    return Finding(True, f"set to a parameter by a spike: {', '.join(set_anew)}" if set_anew else "")


def _refractory(case: Case) -> Finding:
    neuron, trial = case.neuron, case.trial
    if not isinstance(neuron, AbstractResetNeuron):
        return Finding(True, "no reset")
    held = trial._replace(neuron=Refractory(neuron, tau_ref=jnp.asarray(PERIOD * trial.dt)))
    with named("Refractory"):
        series = held.run()
    if not finite(series.states):
        return Finding(False, "held after a spike, the state is not finite")
    count, first = (x.reshape(len(x), -1) for x in (series.count, series.first))
    if not count.any():
        return Finding(False, "with a refractory period the neuron does not spike at all")
    v, left = np.asarray(series.states.v), np.asarray(series.states.left)
    moved = np.where(left[:-1] >= trial.dt, np.abs(np.diff(v, axis=0)), 0.0).max() / trial.room
    if moved > 1e-9:
        return within(float(moved), 1e-9, "v moves within the refractory period")
    shortest = min((float(np.diff(t).min()) for t in _times(count, first) if len(t) > 1), default=np.inf)
    if shortest < PERIOD * (1 - 1e-6):
        return Finding(False, f"two spikes {shortest:.3g} steps apart in spite of {PERIOD} steps", 1.0, 0.0)
    return Finding(True)


def _times(count: np.ndarray, first: np.ndarray) -> list[np.ndarray]:
    """Times of the spikes of every neuron, in steps."""
    return [np.flatnonzero(n) + t[n > 0] for n, t in zip(count.T, first.T, strict=True)]


def _strong(case: Case) -> Finding:
    trial = case.trial
    sizes = jnp.asarray([s * k for k in STRONG for s in (1.0, -1.0)], jnp.float32)
    neuron, gate = cast((case.neuron, trial.gate), jnp.float32)
    currents = sizes.reshape(-1, *([1] * len(trial.shape))) * jnp.asarray(
        trial.drive * trial.spread, jnp.float32
    )
    params, fixed = eqx.partition(neuron, eqx.is_inexact_array)

    @quick_jit
    @jax.vmap
    def pushed(current):
        def total(params, current):
            neuron = eqx.combine(params, fixed)

            def step(state, _):
                state, released = gate.step(neuron, state, current, trial.dt)
                return state, (released.charge, released.prompt)

            last, out = jax.lax.scan(step, neuron.init(trial.shape), None, length=10)
            floats = eqx.filter(last, eqx.is_inexact_array)
            return sum(jnp.sum(x) for x in out) + sum(jnp.sum(x) for x in jax.tree.leaves(floats)), last

        (value, last), gradient = jax.value_and_grad(total, (0, 1), has_aux=True)(params, current)
        return value, last, gradient

    found = [jax.tree.map(lambda x, i=i: x[i], pushed(currents)) for i in range(len(sizes))]
    for size, (value, last, gradient) in zip(sizes, found, strict=True):
        for what, tree in (("state", (value, last)), ("gradient", gradient)):
            if not finite(tree):
                kind = "excitation" if size > 0 else "inhibition"
                return Finding(False, f"the {what} is not finite for {kind} of {abs(float(size)):g} times")
    return Finding(True)


QUESTIONS = (
    Question(
        "spikes",
        "does the neuron spike for the current given?",
        _spikes,
        "nothing that follows is a check of a neuron that does not spike: give `drive`, the current, or "
        "`duration` if it is slow; see that `flow` uses the current, and that v reaches `threshold(state)`",
        ("state", "jit", "types"),
    ),
    Question(
        "flow",
        "is one step of dt two of dt/2, in parts of its way? is no time no step?",
        _flow,
        "integrate exactly where you can (v = I + (v - I) exp(-dt/tau)), else by a method of higher order "
        "than Euler's or in substeps; or give a shorter `dt`",
        ("spikes",),
    ),
    Question(
        "reset",
        "is v below the threshold after a spike?",
        _landed,
        "set v to `v_reset` in `on_spike` (`super().on_spike(state)` does), and mind what lowers the "
        "threshold",
        ("spikes",),
    ),
    Question(
        "on_spike",
        "is the derivative of on_spike that of differences?",
        _jump,
        "compute every variable from state and parameters by smooth functions: no stop_gradient, no rounding",
        ("spikes",),
    ),
    Question(
        "memory",
        "does a spike keep what a variable was, or set it to a parameter?",
        _memory,
        "in `on_spike` add to what there is: `super().on_spike(state)._replace(w=state.w + self.jump)`; if "
        "a spike is to set the variable anew, say so: check_neuron(neuron, sets=('w',))",
        ("spikes",),
    ),
    Question(
        "refractory",
        "does Refractory(neuron) hold it?",
        _refractory,
        "write a `hold` for what moves while v is held, if that is not what `flow` says but for v; let "
        "`on_spike` keep the fields",
        ("spikes",),
    ),
    Question(
        "strong input",
        "are state and gradient finite for 10 to 1000 times the current, both signs, in float32?",
        _strong,
        "keep exponents and divisors in range with jnp.clip or jnp.where *before* the operation: "
        "jnp.where(x > 0, jnp.log(x), 0.0) has a gradient of nan, jnp.log(jnp.where(x > 0, x, 1.0)) has none",
        ("spikes",),
    ),
)

__all__ = ["QUESTIONS"]
