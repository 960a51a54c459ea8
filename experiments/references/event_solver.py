"""Spike times of any neuron, and their exact sensitivities, by an ODE solver with event handling.

The neuron ``dy/dt = f(y, I)`` with ``I = scale b(t) + offset`` is integrated together with its sensitivities
``S = dy/d(scale, offset)``,
```
dS/dt = (df/dy) S + (df/dI) (b, 1)
```
until its height ``h(y) = v - threshold(y)`` comes to 0 from below. By the implicit function theorem the time
of the spike moves by
```
dt* = -(dh/dy) S/((dh/dy) f(y))
```
the state at the spike by ``S + f(y) dt*``, that after it by ``R' (S + f(y) dt*)`` for a reset R; at a fixed
time after it the sensitivity is ``R' (S + f dt*) - f(R(y)) dt*`` (the saltation). A refractory period is
flown with the field of the held neuron; it begins and ends with the spike, so that its end has a saltation
too.

Float64, diffrax (Dopri8) at a tolerance of 1e-10. It knows no gate and no time step.
"""

from collections.abc import Callable
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix


class Equations(NamedTuple):
    """A neuron as its equations."""

    field: Callable
    """``f(y, I)``, of the state variables as an array ``(n,)``, v first."""
    threshold: Callable
    """Potential at which a neuron in this state spikes."""
    reset: Callable
    """State after a spike."""
    start: np.ndarray
    """State at the start, ``(n,)``."""
    held: Callable | None = None
    """The field after a spike."""
    pause: float = 0.0
    """Time after a spike, ms, in which there is no other and `held` is the field."""


def spikes(
    neuron: Equations, b, thetas, duration: float, most: int = 40, tolerance: float = 1e-10
) -> tuple[np.ndarray, np.ndarray]:
    """Spike times ``(P, most)``, ms, inf where there is none, and their derivatives ``(P, most, 2)``, at the
    P rows (scale, offset) of `thetas`; `b` is a `Waves`."""
    run = jax.jit(jax.vmap(lambda theta: _train(neuron, b, theta, duration, most, tolerance)))
    times, slopes = run(jnp.asarray(thetas))
    return np.asarray(times), np.asarray(slopes)


def _train(neuron, b, theta, duration, most, tolerance):
    drive = lambda t: jnp.stack([_value(b, t), jnp.ones_like(t)])
    held = neuron.field if neuron.held is None else neuron.held
    height = lambda y: y[0] - neuron.threshold(y)

    def rate(field, t, y):
        return field(y, theta @ drive(t))

    def both(field):
        def vector(t, x, _):
            y, s = x
            d = drive(t)
            push = lambda s, d: jax.jvp(field, (y, theta @ drive(t)), (s, d))[1]
            return field(y, theta @ d), jax.vmap(push, (1, 0), 1)(s, d)

        return vector

    event = diffrax.Event(
        lambda t, y, args, **_: height(y[0]), optimistix.Newton(rtol=1e-10, atol=1e-12), direction=True
    )

    def solve(field, x, start, end, event=None):
        done = diffrax.diffeqsolve(
            diffrax.ODETerm(both(field)),
            diffrax.Dopri8(),
            start,
            end,
            None,
            x,
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance, dtmax=5.0),
            event=event,
            max_steps=20_000,
            throw=False,
            adjoint=diffrax.ForwardMode(),
        )
        return done.ts[-1], jax.tree.map(lambda a: a[-1], done.ys)

    def one(carry, _):
        t, y, s = carry
        t, (y, s) = solve(neuron.field, (y, s), t, jnp.asarray(duration), event)
        spiked = t < duration
        f = rate(neuron.field, t, y)
        dh = jax.grad(height)(y)
        slope = jnp.where(spiked, -(dh @ s) / jnp.where(spiked, dh @ f, 1.0), 0.0)
        total = s + f[:, None] * slope
        landed = neuron.reset(y)
        total = jax.vmap(lambda d: jax.jvp(neuron.reset, (y,), (d,))[1], 1, 1)(total)
        y = landed
        end = t
        if neuron.pause:
            s = total - rate(held, t, y)[:, None] * slope
            end = jnp.minimum(t + neuron.pause, duration)
            _, (y, s) = solve(held, (y, s), t, end)
            total = s + rate(held, end, y)[:, None] * slope
        s = total - rate(neuron.field, end, y)[:, None] * slope
        return (end, y, s), (jnp.where(spiked, t, jnp.inf), slope)

    y = jnp.asarray(neuron.start, float)
    start = (jnp.zeros(()), y, jnp.zeros((len(y), 2)))
    # A last leg for the trial without more spikes would end where it starts: time stands still there.
    _, (times, slopes) = jax.lax.scan(one, start, None, length=most)
    return times, slopes


def _value(b, t):
    waves = zip(b.amplitude, b.period, b.phase, strict=True)
    return b.mean + sum(a * jnp.sin(2 * jnp.pi * t / p + q) for a, p, q in waves)
