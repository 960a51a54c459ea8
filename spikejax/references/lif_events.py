"""One LIF neuron solved event by event, with the exact gradient of its spike times, written out by hand in
float64.

The neuron ``tau dv/dt = -v + I(t)``, ``I(t) = scale b(t) + offset``, with b a sum of sinusoids, has a closed
form between spikes:
```
v(t) = w(t) + (v_k - w(t_k)) exp(-(t - t_k)/tau)
w(t) = scale p(t) + offset,    p = b filtered: tau dp/dt = -p + b
```
(t_0 = 0 with v_0 given; v_k = v_reset at every spike t_k). A spike time solves ``v(t_k) = v_th``; its
derivative, by the implicit function theorem with ``E = exp(-(t_k - t_{k-1})/tau)``, is
```
(I(t_k) - v_th)/tau dt_k = -dw(t_k) + E dw(t_{k-1}) + E (I(t_{k-1}) - v_reset)/tau dt_{k-1}
dw = (p, 1) d(scale, offset)
```
The ratio of the two brackets, ``(I - v_reset)/(I - v_th)`` at one spike, is the saltation factor.

There is no time step, and neither gate nor simulator code.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.signal import lfilter


class Waves(NamedTuple):
    """``mean + sum_j amplitude_j sin(2 pi t/period_j + phase_j)``, t and periods in ms."""

    mean: float
    amplitude: tuple[float, ...]
    period: tuple[float, ...]
    phase: tuple[float, ...]

    def __call__(self, t):
        """Value at the times `t`."""
        return self._sum(t, lambda omega: (1.0, 0.0))

    def average(self, t, dt):
        """Mean over each ``[t, t + dt]``."""
        # The integral of sin over an interval is its midpoint value times sinc.
        return self._sum(t + 0.5 * dt, lambda omega: (np.sinc(omega * dt / (2 * np.pi)), 0.0))

    def filtered(self, t, tau):
        """The stationary solution p of ``tau dp/dt = -p + self``; with ``tau < 0``, of the same equation run
        backwards in time."""
        return self._sum(
            t, lambda omega: (1 / (1 + (omega * tau) ** 2), -omega * tau / (1 + (omega * tau) ** 2))
        )

    def _sum(self, t, weights):
        total = np.full(np.shape(t), self.mean, float)
        for amplitude, period, phase in zip(self.amplitude, self.period, self.phase, strict=True):
            omega = 2 * np.pi / period
            of_sine, of_cosine = weights(omega)
            angle = omega * np.asarray(t, float) + phase
            total = total + amplitude * (of_sine * np.sin(angle) + of_cosine * np.cos(angle))
        return total


class EventLIF(NamedTuple):
    """An LIF neuron driven by ``scale b(t) + offset`` from 0 to `duration` (ms), with an exponential synapse.

    The loss is ``1/duration int (s - target)^2 dt`` with ``tau_syn ds/dt = -s + rho/rate_unit`` and rho the
    rate of release; with a `tau_out` (ms) it is that of a leaky readout o in place of s, ``tau_out do/dt = -o
    + s``, which does not jump at a spike.
    """

    b: Waves
    target: Waves
    duration: float
    tau_mem: float = 10.0
    tau_syn: float = 10.0
    rate_unit: float = 0.1
    v_th: float = 1.0
    v_reset: float = 0.0
    v_init: float = 0.0
    tau_out: float | None = None

    def current(self, t, theta):
        """I(t) for ``theta = (scale, offset)``."""
        return theta[0] * self.b(t) + theta[1]

    def spikes(self, theta, resolution: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
        """Spike times ``(K,)`` in ms and their derivatives ``(K, 2)`` in (scale, offset).

        Crossings are bracketed on a grid of `resolution` ms, which a drive that is slow against it cannot
        hide one in, and solved to rounding.
        """
        times, slopes = [], []
        last, v_last, d_last = 0.0, self.v_init, np.zeros(2)
        while True:
            grid = np.arange(last, self.duration + resolution, resolution)[1:]
            above = self._v(grid, last, v_last, theta) >= self.v_th
            if not above.any():
                break
            high = float(grid[above.argmax()])
            t = root(lambda t: float(self._v(t, last, v_last, theta)) - self.v_th, high - resolution, high)
            if t > self.duration:
                break
            d_last = -self._dv(t, last, v_last, d_last, theta) / (
                (self.current(t, theta) - self.v_th) / self.tau_mem
            )
            last, v_last = t, self.v_reset
            times.append(t)
            slopes.append(d_last)
        return np.array(times), np.array(slopes).reshape(-1, 2)

    def loss_narrow(self, theta) -> tuple[float, np.ndarray]:
        """Loss and gradient ``(2,)`` in the limit of a narrow active zone, where each spike releases its
        charge at t_k.

        In closed form: with ``kappa(t) = exp(-t/tau_syn)/(tau_syn rate_unit)`` and ``s = sum_k kappa(t -
        t_k)``, the integrals of ``s^2`` and ``s target`` over the trial are sums over pairs of spikes and
        over spikes; that of ``target^2`` is a constant.
        """
        t, dt = self.spikes(theta)
        if self.tau_out is not None:
            return leaky_loss(t, dt, self.target, self.duration, self.tau_syn, self.tau_out, self.rate_unit)
        tau, end = self.tau_syn, self.duration
        apart = t[:, None] - t[None, :]
        near, tail = np.exp(-np.abs(apart) / tau), np.exp(-(2 * end - t[:, None] - t[None, :]) / tau)
        square = np.sum(near - tail) / (2 * tau * self.rate_unit**2)
        d_square = np.sum(-np.sign(apart) * near - tail, axis=1) / (tau * self.rate_unit) ** 2
        # seen_k = int_{t_k} exp(-(t - t_k)/tau)/tau target dt, which obeys d seen/dt_k = (seen -
        # target(t_k))/tau.
        seen = self.target.filtered(t, -tau) - self.target.filtered(end, -tau) * np.exp(-(end - t) / tau)
        d_seen = (seen - self.target(t)) / tau
        loss = (square - 2 * np.sum(seen) / self.rate_unit + self._target_square()) / end
        return float(loss), (d_square - 2 * d_seen / self.rate_unit) @ dt / end

    def loss_zone(self, theta, width: float, resolution: float = 0.005) -> tuple[float, np.ndarray]:
        """Loss and gradient ``(2,)`` for a raised-cosine active zone ``[v_th - width, v_th]``, by quadrature
        of the exact v(t).

        With the charge released so far ``Q(t) = spikes + G(v(t)) - G(v(0))``, continuous and with ``dQ = g(v)
        dv``, the activation is ``s = (Q - m)/(tau_syn rate_unit)``, m being Q filtered. Q is twice
        differentiable in t: the trapezoidal rule on a grid of `resolution` ms is good to about 1e-6.
        """
        spikes, slopes = self.spikes(theta)
        steps = int(np.ceil(self.duration / resolution))
        t, step = np.linspace(0.0, self.duration, steps + 1, retstep=True)
        count = np.searchsorted(spikes, t, side="right")
        last = np.concatenate([[0.0], spikes])[count]
        v_last = np.where(count > 0, self.v_reset, self.v_init)
        d_last = np.concatenate([np.zeros((1, 2)), slopes])[count]
        v = self._v(t, last, v_last, theta)
        dv = self._dv(t, last, v_last, d_last, theta)

        x = np.clip((v - self.v_th) / width + 1, 0, 1)
        level, density = x - np.sin(2 * np.pi * x) / (2 * np.pi), (1 - np.cos(2 * np.pi * x)) / width
        charge = np.column_stack([count + level - level[0], density[:, None] * dv])

        a, h = np.exp(-step / self.tau_syn), 0.5 * step / self.tau_syn
        filtered, _ = lfilter([h, h * a], [1, -a], charge, axis=0, zi=-h * charge[:1])
        s = (charge - filtered) / (self.tau_syn * self.rate_unit)
        if self.tau_out is not None:
            a, h = np.exp(-step / self.tau_out), 0.5 * step / self.tau_out
            s, _ = lfilter([h, h * a], [1, -a], s, axis=0, zi=-h * s[:1])
        error = s[:, 0] - self.target(t)
        weight = np.full(t.shape, step / self.duration)
        weight[[0, -1]] *= 0.5
        return float(weight @ error**2), 2 * (weight * error) @ s[:, 1:]

    def _dw(self, t):
        return np.stack([self.b.filtered(t, self.tau_mem), np.ones(np.shape(t))], axis=-1)

    def _v(self, t, last, v_last, theta):
        decay = np.exp(-(t - last) / self.tau_mem)
        return self._dw(t) @ theta + (v_last - self._dw(last) @ theta) * decay

    def _dv(self, t, last, v_last, d_last, theta):
        """dv(t)/dtheta at fixed t, by way of the drive and of the last spike time."""
        decay = np.exp(-(t - last) / self.tau_mem)
        reach = decay * (self.current(last, theta) - v_last) / self.tau_mem
        return self._dw(t) - self._dw(last) * decay[..., None] - d_last * reach[..., None]

    def _target_square(self):
        t = np.linspace(0.0, self.duration, 200_001)
        return np.trapezoid(self.target(t) ** 2, t)


def leaky_loss(
    times, slopes, target: Waves, duration: float, tau_syn: float, tau_out: float, rate_unit=0.1
) -> tuple[float, np.ndarray]:
    """``1/duration int (o - target)^2 dt`` of a leaky readout of one spike train, and its gradient.

    A spike at t_k gives ``o(t) = kernel(t - t_k)/rate_unit``, the alpha function for equal time constants.
    The integral is taken by the Gauss-Legendre rule of 16 points between any two neighbouring spikes, in
    pieces of at most 10 ms, so that its error is rounding.

    **Arguments:** `times` ``(K,)``, ms, those after `duration` left out; `slopes` ``(K, p)``, their
    derivatives; `rate_unit`: a number, or one for every spike (a readout of several neurons: divided by their
    weight).
    """
    there = times < duration
    rate_unit = np.broadcast_to(rate_unit, times.shape)[there]
    times, slopes = times[there], slopes[there]
    edges = np.unique(np.concatenate([np.arange(0.0, duration, 10.0), times, [duration]]))
    points, weight = np.polynomial.legendre.leggauss(16)
    half = 0.5 * np.diff(edges)[:, None]
    t = (edges[:-1, None] + half * (1 + points)).ravel()
    weight = (half * weight).ravel() / duration
    age = t[:, None] - times[None]
    kernel, rate = leaky_kernel(np.maximum(age, 0), tau_syn, tau_out)
    on = (age > 0) / rate_unit
    error = np.sum(on * kernel, axis=1) - target(t)
    return float(weight @ error**2), -2 * (weight * error) @ (on * rate) @ slopes


def leaky_kernel(age, tau_syn: float, tau_out: float):
    """What a spike of age `age` >= 0 (ms) and area 1 gives at a leaky readout, in 1/ms, and its
    derivative."""
    slow, fast = np.exp(-age / tau_out), np.exp(-age / tau_syn)
    if tau_syn == tau_out:
        return age / tau_syn**2 * fast, (1 - age / tau_syn) / tau_syn**2 * fast
    apart = tau_syn - tau_out
    return (fast - slow) / apart, (slow / tau_out - fast / tau_syn) / apart


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that changes its sign between `low` and `high` is 0, to rounding."""
    # The stubs of SciPy ask for NumPy's numbers, and do not know that this returns a number.
    found = brentq(function, low, high, xtol=np.float64(1e-13), rtol=np.float64(1e-15))
    return float(found)  # pyright: ignore[reportArgumentType]


__all__ = ["EventLIF", "Waves", "leaky_kernel", "leaky_loss", "root"]
