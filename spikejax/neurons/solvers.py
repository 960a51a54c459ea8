"""Numerical methods of neurons without closed form: steps of their equations, and the time of a crossing."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ..elementary import angle, beneath, circle, once


def runge_kutta(field: Callable[[PyTree], PyTree], y: PyTree, dt, rates: PyTree, substeps: int = 1) -> PyTree:
    """`y` after `dt` ms of ``dy/dt = field(y)``: `substeps` steps of order 4 that are stable however fast y
    decays.

    With ``field(y) = -rates y + n(y)``, a pytree of decays (1/ms, at least 0) like `y`, the stages see n
    alone and the decay is a factor ``phi_0`` of the end (`decay_weights`). So a step ends at the fixed point
    of the equation where the decay is fast, and is the classical Runge-Kutta step where it is slow.

    **Reference:** Cox & Matthews, J. Comput. Phys. 2002, eqs. 26-29; the rational ``phi`` are derived here.
    """
    h, each = dt / substeps, jax.tree.map
    half = each(lambda rate: decay_weights(rate * h / 2), rates)
    whole = each(lambda rate: decay_weights(rate * h), rates)
    rest = lambda y: each(lambda slope, rate, y: slope + rate * y, field(y), rates, y)
    stage = lambda start, n: once(each(lambda y, n, phi: phi[0] * y + h / 2 * phi[1] * n, start, n, half))

    def end(y, first, second, third, fourth, phi):
        edges = (phi[1] - 3 * phi[2] + 4 * phi[3]) * first + (4 * phi[3] - phi[2]) * fourth
        return phi[0] * y + h * (edges + (2 * phi[2] - 4 * phi[3]) * (second + third))

    def step(y):
        first = rest(y)
        a = stage(y, first)
        second = rest(a)
        third = rest(stage(y, second))
        fourth = rest(stage(a, each(lambda third, first: 2 * third - first, third, first)))
        return once(each(end, y, first, second, third, fourth, whole))

    return repeat(step, y, substeps)


def decay_weights(z: Float[Array, "*n"]) -> tuple[Float[Array, "*n"], ...]:
    """``phi_0, ..., phi_3``: what a variable that decays by z in a step keeps of itself, and of a drive that
    is constant, linear and quadratic in it.

    ``phi_(k+1) = (1/k! - phi_k)/z``, with ``1/(1 + z + z^2/2 + z^3/6 + z^4/24)`` for the ``exp(-z)`` of
    ``phi_0``: of order 4 as the step is, it falls to 0, and the quotients are positive polynomials over the
    same denominator, without the cancellation of exponentials near ``z = 0``.
    """
    left = 1 / (1 + z * (1 + z / 2 * (1 + z / 3 * (1 + z / 4))))
    one = 1 + z / 2 * (1 + z / 3 * (1 + z / 4))
    two = 1 / 2 + z * (1 / 3 + z * (1 / 8 + z / 24))
    three = 1 / 6 + z * (1 / 8 + z * (1 / 24 + z / 48))
    return left, one * left, two * left, three * left


def repeat(step: Callable[[PyTree], PyTree], y: PyTree, times: int) -> PyTree:
    """`step` done `times` over. A loop, so that it is compiled once."""
    if times == 1:
        return step(y)
    return jax.lax.scan(lambda y, _: (step(y), None), y, None, length=times)[0]


def propagator(
    current: Float[Array, "*n"], h
) -> tuple[Float[Array, "*n"], Float[Array, "*n"], Float[Array, "*n"]]:
    """Whole turns, and ``C = cos(sqrt(I) h)`` and ``S = sin(sqrt(I) h)/sqrt(I)``, which solve ``dx/dt = x^2 +
    I``, up to a common positive factor.

    For I < 0 the factor is 1/cosh, so that nothing overflows; near I = 0 the series ``C = 1 - z/2``, ``S = h
    (1 - z/6 + ...)`` with ``z = I h^2`` keeps value and derivative finite.
    """
    return _propagator(current, jnp.broadcast_to(jnp.asarray(h, current.dtype), current.shape))


def _near_zero(z: Float[Array, "*n"], single: float) -> Bool[Array, "*n"]:
    """Where the first terms of a series are exact to rounding: below `single`, or 1e-3 in float64. The
    derivatives' closed forms, differences over z, have lost all but a part of z of their digits there."""
    return jnp.abs(z) < (single if jnp.finfo(z.dtype).nmant <= 23 else 1e-3)


@jax.custom_jvp
def _propagator(current, h):
    z = current * h**2
    small = _near_zero(z, 3e-2)
    root = jnp.sqrt(jnp.where(small, 1.0, jnp.abs(z)))
    turns = jnp.where(current > 0, jnp.floor(jnp.where(small, 0.0, root) / jnp.pi), 0.0)
    # S/h = sin(root)/root: the angle is reduced by whole turns, the divisor sqrt(I) is not.
    cosine, sine = circle((root - turns * jnp.pi) / (2 * jnp.pi))
    cosine = jnp.where(current > 0, cosine, 1.0)
    sine = jnp.where(current > 0, sine, jnp.tanh(root)) / root
    series_c = 1 - z / 2 * (1 - z / 12 * (1 - z / 30))
    series_s = 1 - z / 6 * (1 - z / 20 * (1 - z / 42))
    return turns, jnp.where(small, series_c, cosine), h * jnp.where(small, series_s, sine)


@_propagator.defjvp
def _propagator_jvp(primals, tangents):
    (current, h), (by_current, by_h) = primals, tangents
    turns, cosine, sine = _propagator(current, h)
    # By hand: of all that the value is made of the derivative needs the value alone.
    z = current * h**2
    small = _near_zero(z, 3e-2)
    bounded = (current < 0) & ~small
    safe = jnp.where(small, 1.0, current)
    # 1/cosh^2 where the factor is out; there C is 1 throughout.
    speed = jnp.where(bounded, 1 + current * sine**2, cosine)
    series = h**3 * (z / 60 - 1 / 6 - z**2 / 1680 * (1 - z / 54))
    bend = jnp.where(small, series, (h * speed - sine) / (2 * safe))
    d_sine = speed * by_h + bend * by_current
    d_cosine = jnp.where(bounded, 0.0, -sine * (current * by_h + h / 2 * by_current))
    return (turns, cosine, sine), (jnp.zeros_like(turns), d_cosine, d_sine)


def time_to(
    y: Float[Array, "*n"], x: Float[Array, "*n"], current: Float[Array, "*n"], wanted: Bool[Array, "*n"]
) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """The time at which ``S/C`` of the `propagator` is ``y/x``, with y above 0, where it is `wanted`, and the
    time of half a turn, 0 for ``I <= 0``.

    It is ``atan2(sqrt(I) y, x)/sqrt(I)``, for I < 0 ``atanh(sqrt(-I) y/x)/sqrt(-I)``, and near ``I = 0`` the
    series of either, ``r - I r^3/3 + ...`` with ``r = y/x``.
    """
    return _time_to(*jnp.broadcast_arrays(y, x, current), wanted)


@jax.custom_jvp
def _time_to(y, x, current, wanted):
    small, ratio = _straight(y, x, current, wanted)
    positive = wanted & (current > 0) & ~small
    negative = wanted & (current < 0) & ~small
    root = jnp.sqrt(jnp.where(positive | negative, jnp.abs(current), 1.0))
    z = jnp.where(small, current * ratio**2, 0.0)
    series = ratio * (1 - z * (1 / 3 - z * (1 / 5 - z * (1 / 7 - z / 9))))
    turning = angle(jnp.where(positive, root * y, 1.0), jnp.where(positive, x, 1.0)) / root
    climbing = jnp.arctanh(jnp.where(negative, root * ratio, 0.5)) / root
    time = jnp.where(positive, turning, jnp.where(negative, climbing, series))
    # Half a turn takes as long however near the spike is. Below that bound it is longer than any trial.
    turns = wanted & (current > 1e-20)
    return time, jnp.where(turns, jnp.pi / jnp.sqrt(jnp.where(turns, current, 1.0)), 0.0)


def _straight(y, x, current, wanted):
    """Where the current hardly bends the way, and y/x."""
    ahead = wanted & (x > 0)
    ratio = jnp.where(ahead, y / jnp.where(ahead, x, 1.0), 0.5)
    return ahead & _near_zero(current * ratio**2, 2e-2), ratio


@_time_to.defjvp
def _time_to_jvp(primals, tangents):
    y, x, current, wanted = primals
    by_y, by_x, by_current, _ = tangents
    time, half = _time_to(y, x, current, wanted)
    # Where C y = S x, with C and S in the ratio of x and y.
    small, r = _straight(y, x, current, wanted)
    square = x**2 + current * y**2
    there = wanted & (square > 0)
    square = jnp.where(there, square, 1.0)
    z = jnp.where(small, current * r**2, 0.0)
    series = -(r**3) * (1 / 3 - z * (2 / 5 - z * (3 / 7 - z * (4 / 9 - z * 5 / 11))))
    safe = jnp.where(current == 0, 1.0, current)
    bend = jnp.where(small | (current == 0), series, (x * y / square - time) / (2 * safe))
    d_time = jnp.where(there, (x * by_y - y * by_x) / square + bend * by_current, 0.0)
    return (time, half), (d_time, -half / (2 * safe) * by_current)


def quadratic(v: Float[Array, "*n"], a, b, c, dt, cap) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """v after `dt` ms of ``dv/dt = a v^2 + b v + c`` with ``a > 0``, exactly, and its mean over them.

    With ``p = 2 a v + b`` and f the right-hand side at the start, and C and S of the `propagator` at ``I =
    a c - b^2/4``,
    ```
    v(dt) = v + f S/(C - p S/2),   mean = v - (p dt/2 + log(C - p S/2))/(a dt)
    ```
    A v that would pass `cap`, which may be at infinity within the step, stays there.
    """
    slope, speed = 2 * a * v + b, (a * v + b) * v + c
    discriminant = a * c - b**2 / 4
    turns, cosine, sine = propagator(discriminant, dt)
    left = cosine - slope * sine / 2
    room = jnp.maximum(cap - v, 0.0)
    past = (turns > 0) | (speed * sine >= room * left)
    left = jnp.where(past, 1.0, left)
    end = v + jnp.where(past, room, speed * sine / left)
    # The factor 1/cosh(root) that the propagator took out is left out of the logarithm, without the
    # difference of two large numbers where v falls fast: root^2 - (slope dt/2)^2 = -a dt^2 speed.
    square = -discriminant * dt**2
    divided, falls = square >= 1e-3, slope < 0
    root = jnp.sqrt(jnp.where(divided, square, 1.0))
    small = jnp.where(
        divided & falls, -a * dt**2 * speed / (root - jnp.where(falls, slope, 0.0) * dt / 2), slope * dt / 2
    )
    factor = jnp.where(
        divided, jnp.log1p(jnp.exp(-2 * root)) - math.log(2) + jnp.where(falls, 0.0, root), 0.0
    )
    longer = dt > 0
    mean = v - jnp.where(longer, (small + factor + jnp.log(left)) / (a * jnp.where(longer, dt, 1.0)), 0.0)
    return end, jnp.where(past, v + room / 2, mean)


def quadratic_passage(
    v: Float[Array, "*n"], a, b, c, goal, reaches: Bool[Array, "*n"]
) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """The time (ms) that the flow of `quadratic` takes from v up to `goal`, where it `reaches` it, and the
    mean of v on the way.

    With ``y = goal - v``, p and f as there, and ``F = f + p y + a y^2`` the right-hand side at the goal,
    ``S/C = y/(f + p y/2)`` and ``mean = v - (p t + log(f/F))/(2 a t)``.
    """
    way = jnp.where(reaches, goal - v, 1.0)
    slope = 2 * a * v + b
    speed = jnp.where(reaches, (a * v + b) * v + c, 1.0)
    time, _ = time_to(way, speed + slope * way / 2, a * c - b**2 / 4, reaches)
    there = jnp.where(reaches, speed + slope * way + a * way**2, 1.0)
    mean = v - (slope * time + jnp.log(speed / there)) / (2 * a * jnp.where(reaches, time, 1.0))
    return time, mean


def crossing_time(
    rise: Callable[[Float[Array, "*n"]], tuple[Float[Array, "*n"], Float[Array, "*n"]]],
    dt,
    crosses: Bool[Array, "*n"],
    noise: Float[Array, "*n"],
) -> Float[Array, "*n"]:
    """The time in ``[0, dt]`` (ms) at which a height passes 0 from below, where it `crosses`; elsewhere `dt`.

    Newton's method, kept inside a bracket that every step makes smaller; a loop of no iterations where
    nothing crosses, which is most steps. Not to be differentiated.

    **Arguments:** `rise`: height and speed at a time for each neuron (the speed is a guide: it need not be
    the derivative to rounding); `noise`: a height that is 0 to rounding.
    """
    zero = jnp.zeros_like(noise)
    accuracy = 4 * jnp.finfo(noise.dtype).eps * dt  # what rounding leaves of a time

    def unfinished(carry):
        i, _, _, _, moving = carry
        return (i < 100) & jnp.any(moving)

    def narrow(carry):
        i, low, high, at, moving = carry
        value, slope = rise(at)
        # The crossing lies between the last time below the threshold and the first above it.
        low, high = jnp.where(value < 0, at, low), jnp.where(value < 0, high, at)
        newton = at - value / jnp.where(slope > 0, slope, 1.0)
        # Every fourth step halves the bracket, so that a flow Newton cannot follow costs iterations, not the
        # answer.
        good = (slope > 0) & (newton > low) & (newton < high) & (i % 4 != 3)
        new = jnp.where(good, newton, 0.5 * (low + high))
        moving = moving & (jnp.abs(value) > noise)
        new = jnp.where(moving, new, at)
        return i + 1, low, high, new, moving & (jnp.abs(new - at) > accuracy) & (high - low > accuracy)

    start = (jnp.asarray(0), zero, jnp.full_like(zero, dt), jnp.full_like(zero, dt), crosses)
    return jax.lax.while_loop(unfinished, narrow, start)[3]


@eqx.filter_custom_jvp
def passage(
    neuron: Any, state: PyTree, current: PyTree, dt, spikes: Bool[Array, "*n"]
) -> tuple[Float[Array, "*n"], PyTree]:
    """The time, ms, at which the flow of a neuron takes `state` to its threshold, and the state there; where
    it does not spike within `dt`, `dt` and the state at the end.

    With ``h(t)`` the height above the threshold at the time t of the flow, ``h(t*) = 0`` gives ``dt* =
    -dh/(dh/dt)``. The rule calls this function for t*, so that derivatives of every order are those of the
    implicit function theorem, whatever the iterations did.
    """
    # What rounding leaves of a height, which is a difference of potentials.
    noise = 4 * jnp.finfo(state.v.dtype).eps * (jnp.abs(state.v) + jnp.abs(neuron.threshold(state)))

    def rise(time):
        there = neuron.flow(state, current, time)
        return neuron.height(there), neuron.velocity(there, current)

    time = crossing_time(rise, dt, spikes, noise)
    return time, neuron.flow(state, current, time)


@passage.def_jvp
def _passage_jvp(primals, tangents):
    *arguments, spikes = primals
    time, _ = passage(*primals)
    pushed, pushed_dt = tuple(tangents[:3]), tangents[3]
    perturbed = lambda t, x: None if t is None else x
    moved = jax.tree.map(perturbed, pushed, tuple(arguments[:3]), is_leaf=lambda x: x is None)

    def reach(moved, time):
        neuron, state, current = eqx.combine(moved, tuple(arguments[:3]))
        there = neuron.flow(state, current, time)
        # What is no real number, such as a count, does not move.
        real, others = eqx.partition(there, eqx.is_inexact_array)
        return (neuron.height(there), real), others

    (_, real), push, others = jax.linearize(reach, moved, time, has_aux=True)
    rise, change = push(jax.tree.map(jnp.zeros_like, moved), jnp.ones_like(time))
    lift, drift = push(pushed, jnp.zeros_like(time))
    # v rises where it crosses; it need not where there was nothing to cross.
    late = jnp.where(
        spikes, -lift / jnp.where(spikes & (rise > 0), rise, 1.0), 0.0 if pushed_dt is None else pushed_dt
    )
    drift = jax.tree.map(lambda d, c: d + c * beneath(late, c), drift, change)
    return (time, eqx.combine(real, others)), (late, drift)


def passage_between(
    heights: tuple[Float[Array, "*n"], Float[Array, "*n"]],
    speeds: tuple[Float[Array, "*n"], Float[Array, "*n"]],
    spikes: Bool[Array, "*n"],
) -> Float[Array, "*n"]:
    """The fraction of a step at which a height passes 0, by the cubic through the heights at its ends with
    the `speeds` there (per step); 1 where it does not.

    For a flow that is smooth on both sides of the crossing the cubic is of order 4, and spares following the
    flow.
    """
    (low, high), (before, after) = heights, speeds
    bend, twist = 3 * (high - low) - 2 * before - after, 2 * (low - high) + before + after
    cubic = low, before, bend, twist

    def rise(cubic, x):
        low, before, bend, twist = cubic
        return low + x * (before + x * (bend + x * twist)), before + x * (2 * bend + x * 3 * twist)

    *fixed, noise = jax.lax.stop_gradient(
        (*cubic, 4 * jnp.finfo(low.dtype).eps * (jnp.abs(low) + jnp.abs(high)))
    )
    x = crossing_time(lambda x: rise(fixed, x), 1.0, spikes, noise)
    # At the root two Newton steps change rounding alone, and carry the first three derivatives.
    for _ in range(2):
        height, speed = rise(cubic, x)
        x = x - jnp.where(spikes, height / jnp.where(spikes & (speed > 0), speed, 1.0), 0.0)
    return x


__all__ = [
    "crossing_time",
    "decay_weights",
    "passage",
    "passage_between",
    "propagator",
    "quadratic",
    "quadratic_passage",
    "repeat",
    "runge_kutta",
    "time_to",
]
