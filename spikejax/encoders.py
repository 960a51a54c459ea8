"""From recorded signals and events to what a network is given: a row for every step, or exact spike times.

Times are in ms and rates in Hz. All but `hold` may be traced and vmapped over trials; time is the first axis
of what they return, or of what they were given, if it is an axis.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Num, PRNGKeyArray, UInt8

from .spike_times import SpikeTimes
from .stimulus import steps_in


def bin_events(
    times: ArrayLike | Sequence,
    units: ArrayLike | Sequence,
    trial: ArrayLike | Sequence | None = None,
    *,
    dt: float,
    steps: int,
    channels: int,
    trials: int | None = None,
) -> Float[Array, "*trials time channels"]:
    """Events as counts: ``x[floor(t/dt), unit]`` is how many a unit had in a step.

    A time that is the border of a step to rounding is in the step that begins there. Events before 0, after
    the last step, of other units or trials, or at NaN are left out, so that lists of different length can be
    filled up with those.

    **Arguments:** `times` (ms) and `units` (0 to ``channels - 1``) of the events, ``(events,)``, in any
    order; `trial`: the trial that each is in, 0 to ``trials - 1``, if they are of several; `dt` (ms) and
    number of `steps`; `trials`: how many there are.

    **Returns:** ``(time, channels)``, or with `trial` ``(trials, time, channels)``.

    **Raises:** `ValueError` for lists of different length, and for `trial` without `trials`.

    !!! example
        >>> bin_events([0.2, 0.4, 2.0], [1, 1, 0], dt=1.0, steps=3, channels=2).tolist()
        [[0.0, 2.0], [0.0, 0.0], [1.0, 0.0]]
    """
    if (trial is None) != (trials is None):
        raise ValueError("`trial` and `trials` go together: give both, or neither for events of one trial")
    step, unit = step_of(times, dt), _known(units)
    lists = {"times": step, "units": unit} | ({} if trial is None else {"trial": _known(trial)})
    if len({x.shape for x in lists.values()}) > 1 or step.ndim != 1:
        shown = ", ".join(f"`{name}` {x.shape}" for name, x in lists.items())
        raise ValueError(f"the lists of events have shapes {shown}: give one entry each for every event")
    shape = (steps, channels) if trials is None else (trials, steps, channels)
    places = [lists[name] for name in ("trial", "times", "units") if name in lists]
    # A negative index would count from the end.
    places = [
        jnp.where((jnp.asarray(x) >= 0) & (jnp.asarray(x) < n), x, n)
        for x, n in zip(places, shape, strict=True)
    ]
    return jnp.zeros(shape).at[tuple(jnp.asarray(x, jnp.int32) for x in places)].add(1.0, mode="drop")


def step_of(times: ArrayLike | Sequence, dt: float) -> Any:
    """The step that each time (ms) is in, ``floor(t/dt)``, as floats (NaN of NaN), in the precision of the
    times: one at a border to rounding is in the step that begins there."""
    known = _known(times)
    xp, real = (np, np.float64) if isinstance(known, np.ndarray) else (jnp, jnp.result_type(float))
    wide = known if jnp.issubdtype(known.dtype, jnp.floating) else known.astype(real)
    # A time that was made from another unit is wrong in its last bit, and so is the quotient.
    return xp.floor(wide / dt * (1 + 2 * float(jnp.finfo(wide.dtype).eps)))


def _known(x: ArrayLike | Sequence) -> Any:
    """As an array: of numpy, in its own precision, unless it is one of JAX's."""
    return x if isinstance(x, jax.Array) else np.asarray(x)


def latency_times(
    intensity: Float[ArrayLike, "*channels"] | Sequence,
    *,
    duration: float,
    threshold: float = 0.0,
    tau: float | None = None,
) -> Float[Array, "*channels"]:
    """Latency coding: one spike a channel, the earlier the stronger, at its exact time.

    Linear, over the `duration` T: ``t = T (1 - x)/(1 - threshold)``. With `tau`, the time at which a leaky
    integrate-and-fire neuron reaches the threshold under a constant current: ``t = tau ln(x/(x -
    threshold))``. There is no spike where ``x <= threshold``, or where t is at T or after it. Of a binary
    image all spikes are at 0.

    **Arguments:** `intensity` x, 1 for the strongest (more counts as 1 in the linear code); `duration` and
    `tau` in ms; `threshold`, at least 0 and below 1, with `tau` above 0.

    **Returns:** times, ms, and inf where there is no spike; `spike_list` makes a stimulus of them.

    **Raises:** `ValueError` for a `duration`, `threshold` or `tau` out of range.

    **Reference:** Thorpe, Delorme & Van Rullen 2001, doi:10.1016/S0893-6080(01)00083-1 (order and latency of
    first spikes); Gerstner, Kistler, Naud & Paninski 2014, Neuronal Dynamics, section 1.3 (the time of a LIF
    neuron's spike).

    !!! example
        >>> latency_times([1.0, 0.5, 0.0], duration=4.0).tolist()
        [0.0, 2.0, inf]
    """
    _check("duration", duration, lambda y: y > 0, "above 0 ms")
    _check("threshold", threshold, lambda y: (y >= 0) & (y < 1), "at least 0 and below 1")
    x = jnp.asarray(intensity, jnp.result_type(float))
    if tau is None:
        t = duration * (1 - jnp.minimum(x, 1.0)) / (1 - threshold)
    else:
        _check("tau", tau, lambda y: y > 0, "above 0 ms")
        _check("threshold", threshold, lambda y: y > 0, "above 0 where `tau` is given")
        # Where there is no spike, there is a derivative of 0.
        above = x > threshold
        t = tau * jnp.log(jnp.where(above, x, 1.0) / jnp.where(above, x - threshold, 1.0))
    return jnp.where((x > threshold) & (t < duration), t, jnp.inf)


def latency_coding(
    intensity: Float[ArrayLike, "*channels"] | Sequence,
    *,
    dt: float,
    steps: int,
    threshold: float = 0.0,
    tau: float | None = None,
) -> Float[Array, "time *channels"]:
    """`latency_times` in steps: one spike a channel, the earlier the stronger.

    **Arguments:** `dt` (ms) and number of `steps` of the trial, whose duration they are; the others as of
    `latency_times`.

    **Returns:** 0 or 1, ``(time, *channels)``.

    **Raises:** `ValueError` as `latency_times`.

    !!! example
        >>> latency_coding([1.0, 0.5, 0.0], dt=1.0, steps=4).tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    step = step_of(latency_times(intensity, duration=steps * dt, threshold=threshold, tau=tau), dt)
    at = jnp.arange(steps, dtype=step.dtype).reshape(-1, *(1,) * step.ndim)
    return (at == step[None]).astype(step.dtype)


def time_coding(
    x: Float[ArrayLike, "*batch channels"] | Sequence,
    *,
    early: float,
    late: float,
    bias: float | None = None,
) -> Float[Array, "*batch n"]:
    """Numbers as the times of spikes, ``t = early + x (late - early)``: one spike a channel, the later the
    larger.

    **Arguments:** `x`, 0 to 1; `early` and `late`, ms; `bias`: the time of a spike, ms, that comes in every
    trial on one more channel, by which a network knows when a trial began.

    **Returns:** times, ms; the channel of the bias is the last.

    **Raises:** `ValueError` for times below 0, and a `late` that is not after `early`.

    **Reference:** Kriener, Goltz & Petrovici 2022, arXiv:2102.08211.

    !!! example
        >>> time_coding([0.0, 0.5], early=1.0, late=5.0, bias=0.0).tolist()
        [1.0, 3.0, 0.0]
    """
    _check("early", early, lambda y: y >= 0, "at least 0 ms")
    _check("late", late, lambda y: y > early, f"above `early`, {early} ms")
    x = jnp.asarray(x, jnp.result_type(float))
    times = early + (late - early) * x
    if bias is None:
        return times
    _check("bias", bias, lambda y: y >= 0, "at least 0 ms")
    return jnp.concatenate([times, jnp.full((*x.shape[:-1], 1), bias, x.dtype)], axis=-1)


def spike_list(
    times: Float[ArrayLike, "*batch n"] | Sequence,
    *,
    duration: float,
    channels: tuple[int, ...] | None = None,
    most: int | None = None,
) -> SpikeTimes:
    """One spike a channel, at these times, as a stimulus.

    **Arguments:** `times`, ms, inf (or any time outside of the trial) where a channel has none; `duration` of
    the trial, ms; `channels`: the shape in which the n channels lie (default: ``(n,)``); `most`: length of
    the lists, which is what a simulation costs (default: n).

    **Returns:** lists in the order of time, ``(*batch, most)``.

    **Raises:** `ValueError` for a trial with more spikes than `most`; where they are traced, its times are
    NaN.

    !!! example
        >>> spike_list([3.0, float("inf"), 1.0], duration=10.0, most=2).channel.tolist()
        [2, 0]
    """
    times = jnp.asarray(times, jnp.result_type(float))
    there = (times >= 0) & (times <= duration)
    count = jnp.sum(there, axis=-1, keepdims=True)
    size = times.shape[-1] if most is None else min(most, times.shape[-1])
    if not isinstance(count, Tracer) and (count > size).any():
        raise ValueError(f"`most` is {most}, but a trial has {int(count.max())} spikes: give it as many")
    order = jnp.argsort(jnp.where(there, times, jnp.inf), axis=-1, stable=True)[..., :size]
    there = jnp.take_along_axis(there, order, axis=-1)
    time = jnp.where(there, jnp.take_along_axis(times, order, axis=-1), duration)
    time = jnp.where(count > size, jnp.nan, time)
    shape = (times.shape[-1],) if channels is None else channels
    return SpikeTimes(
        time, order.astype(jnp.int32), there.astype(time.dtype), duration=duration, channels=shape
    )


def rate_coding(
    key: PRNGKeyArray, rate: Float[ArrayLike, "..."] | Sequence, *, dt: float, steps: int | None = None
) -> Float[Array, "time *channels"]:
    """Rate coding: the events of Poisson processes, ``n(t) ~ Poisson(rate(t) dt)`` in every step.

    The mean number of events is that of the rate at any `dt`; a step of high ``rate dt`` may hold several.

    **Arguments:** `key` of the draw; `rate` (Hz), at least 0: ``(*channels)`` if it is constant over `steps`
    steps, else ``(time, *channels)``; `dt` in ms.

    **Returns:** counts, ``(time, *channels)``.

    **Reference:** Dayan & Abbott 2001, Theoretical Neuroscience, section 1.4.

    !!! example
        >>> rate_coding(jax.random.key(0), [20.0, 80.0], dt=1.0, steps=1000).shape
        (1000, 2)
    """
    rate = jnp.asarray(rate, jnp.result_type(float))
    _check("rate", rate, lambda y: (y >= 0).all(), "at least 0 Hz, everywhere")
    shape = rate.shape if steps is None else (steps, *rate.shape)
    return jax.random.poisson(key, jnp.broadcast_to(1e-3 * dt * rate, shape), dtype=jnp.int32).astype(
        rate.dtype
    )


def population_coding(
    x: Float[ArrayLike, "*channels"] | Sequence,
    *,
    low: float,
    high: float,
    size: int,
    width: float | None = None,
) -> Float[Array, "*channels size"]:
    """Population coding: a number as the activity of neurons with Gaussian tuning curves, ``a_i = exp(-(x -
    c_i)^2/(2 width^2))``, whose centres c_i lie evenly from `low` to `high`.

    The activity may be the input itself, or go on to `rate_coding` (times the highest rate) or
    `latency_coding`.

    **Arguments:** `x`, in units of its own, as are `low`, `high` and `width`; `size`: neurons a number, at
    least 2; `width` of the tuning curves; default: the distance of the centres, divided by 1.5.

    **Returns:** 0 to 1, ``(*channels, size)``.

    **Raises:** `ValueError` for fewer than two neurons, a `high` that is not above `low`, or a `width` that
    is not above 0.

    **Reference:** Bohte, Kok & La Poutre 2002, doi:10.1016/S0925-2312(01)00658-0, section 5 (the default
    width).

    !!! example
        >>> [f"{a:.2f}" for a in population_coding(0.5, low=0.0, high=1.0, size=3)]
        ['0.32', '1.00', '0.32']
    """
    if size < 2:
        raise ValueError(f"`size` is {size}: give at least 2 neurons")
    _check("high", high, lambda y: y > low, f"above `low`, {low}")
    width = (high - low) / (size - 1) / 1.5 if width is None else width
    _check("width", width, lambda y: y > 0, "above 0")
    x = jnp.asarray(x, jnp.result_type(float))[..., None]
    centres = low + (high - low) * jnp.arange(size, dtype=x.dtype) / (size - 1)
    return jnp.exp(-0.5 * ((x - centres.reshape(*(1,) * (x.ndim - 1), -1)) / width) ** 2)


def delta_modulation(
    signal: Num[np.ndarray, "*trials time channels"] | Num[Array, "*trials time channels"],
    threshold: float | Float[Array, ""],
) -> UInt8[np.ndarray, "*trials time events"] | UInt8[Array, "*trials time events"]:
    """Delta modulation: a spike for every `threshold` that a signal moves.

    A reference follows the signal by one threshold a step: ``ON`` where ``signal - reference >= threshold``,
    ``OFF`` where ``<= -threshold``, and the reference moves by that threshold. A jump of the signal is so
    written as a burst, as long as the jump is high. The first sample is the first reference.

    **Arguments:** `signal`, of numpy or of JAX (traced, too); `threshold` in its units, above 0.

    **Returns:** 0 or 1, ``(*trials, time, 2 channels)``: ON channels first, then OFF; of the signal's
    library.

    **Raises:** `ValueError` for a `threshold` that is not above 0.

    **Reference:** Lichtsteiner, Posch & Delbruck 2008, doi:10.1109/JSSC.2007.914337 (a pixel that does it, on
    the logarithm of light).
    """
    _check("threshold", threshold, lambda y: y > 0, "above 0")
    wide = signal.astype(float if isinstance(signal, np.ndarray) else jnp.result_type(float))

    def step(reference, now):
        on, off = now - reference >= threshold, now - reference <= -threshold
        return reference + threshold * (on.astype(wide.dtype) - off.astype(wide.dtype)), (on, off)

    if isinstance(wide, np.ndarray):
        reference, events = wide[..., 0, :], np.zeros((*wide.shape[:-1], 2 * wide.shape[-1]), np.uint8)
        for t in range(1, wide.shape[-2]):
            reference, found = step(reference, wide[..., t, :])
            events[..., t, :] = np.concatenate(found, axis=-1)
        return events
    _, (on, off) = jax.lax.scan(step, wide[..., 0, :], jnp.moveaxis(wide, -2, 0))
    return jnp.moveaxis(jnp.concatenate([on, off], axis=-1), 0, -2).astype(jnp.uint8)


def hold(samples: np.ndarray, period: float, step: float) -> np.ndarray:
    """Repeat every sample of `period` ms (axis 1) for ``period/step`` steps of `step` ms.

    **Raises:** `ValueError` if the step does not divide the period.
    """
    return np.repeat(samples, steps_held(period, step), axis=1)


def steps_held(period: float, step: float) -> int:
    """For how many steps of `step` ms a sample of `period` ms is held.

    **Raises:** `ValueError` if the step does not divide the period.
    """
    repeat = round(steps_in(period, step, "the data's period"))
    if repeat < 1 or abs(repeat * step - period) > 1e-6 * period:
        raise ValueError(
            f"a step (`dt`) of {step:g} ms does not divide the data's period of {period:g} ms: "
            f"use {period:g}/n ms"
        )
    return repeat


def _check(name: str, value: Any, holds: Any, wanted: str) -> None:
    """Raise `ValueError` for a value that is known and out of its range."""
    if not isinstance(value, Tracer) and not holds(value):
        shown = f"goes from {np.min(value):g} to {np.max(value):g}" if np.ndim(value) else f"is {value}"
        raise ValueError(f"`{name}` {shown}, but must be {wanted}")


__all__ = [
    "bin_events",
    "delta_modulation",
    "hold",
    "latency_coding",
    "latency_times",
    "population_coding",
    "rate_coding",
    "spike_list",
    "step_of",
    "steps_held",
    "time_coding",
]
