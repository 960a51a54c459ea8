"""A network of LIF neurons solved event by event, with the exact gradient of its spike times.

```
tau_mem dv_i/dt = -v_i + I_i(t),    I_i = bias_i + a_i sin(2 pi t/period_i + phase_i) + sum_j W_ij s_j(t)
s_j(t) = sum_m exp(-(t - t_jm - d_ij)/tau_syn)/(tau_syn rate_unit)        over the spikes that have arrived
```
Between two arrivals v has a closed form, in which the next crossing is bracketed and solved. With the order
of the spikes known, the times t of all spikes are the root of one smooth function ``F(t, p) = v(t) - v_th``
of times and parameters p, so that ``dt/dp = -(dF/dt)^-1 dF/dp``: the gradient of a loss L of spike times is
``-lambda dF/dp`` with ``(dF/dt)^T lambda = dL/dt``, a triangular system backwards in time, which is
EventProp's adjoint (Wunderlich & Pehle 2021).

There is no time step, and neither gate nor simulator code. Float64: set ``jax_enable_x64``.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .lif_events import root


class Parameters(NamedTuple):
    """What the spike times are differentiated by."""

    weight: Any
    """``W_ij``, from j to i, ``(n, n)``."""
    bias: Any
    """``(n,)``."""
    delay: Any
    """``d_ij >= 0``, ms: a number, or ``(n, n)``."""


class Train(NamedTuple):
    """The spikes of a network in the order of their times."""

    times: np.ndarray
    """``(K,)``, ms."""
    who: np.ndarray
    """The neuron of each, ``(K,)``."""


class EventNetwork(NamedTuple):
    """`tau_syn` is not `tau_mem`; the neurons begin and are reset at 0, their threshold is 1."""

    amplitude: np.ndarray
    period: np.ndarray
    phase: np.ndarray
    """Of the drive of every neuron, ``(n,)``; periods in ms."""
    duration: float
    tau_mem: float = 10.0
    tau_syn: float = 5.0
    rate_unit: float = 0.1

    def spikes(self, p: Parameters, resolution: float = 0.05) -> Train:
        """Every spike until `duration`. Crossings are bracketed on a grid of `resolution` ms."""
        n = len(p.bias)
        delay = np.broadcast_to(p.delay, (n, n))
        t, v, s = 0.0, np.zeros(n), np.zeros(n)
        found, coming = [], []
        while t < self.duration:
            end = min([self.duration, *(a for a, _, _ in coming)])
            grid = np.append(np.arange(t + resolution, end, resolution), end)
            above = np.array([self._v(u, t, v, s, p) >= 1 for u in grid])
            if above.any():
                first = above.any(axis=1).argmax()
                low, high = (grid[first - 1] if first else t), grid[first]
                height = lambda u, i: float(self._v(u, t, v, s, p)[i]) - 1
                rising = np.flatnonzero(above[first])
                crossing, i = min((root(lambda u, i=i: height(u, i), low, high), int(i)) for i in rising)
                v, s = self._v(crossing, t, v, s, p), s * np.exp(-(crossing - t) / self.tau_syn)
                v[i], t = 0.0, crossing
                found.append((t, i))
                coming.extend((t + delay[j, i], j, i) for j in range(n) if p.weight[j, i])
                continue
            v, s, t = self._v(end, t, v, s, p), s * np.exp(-(end - t) / self.tau_syn), end
            for arrival in [a for a in coming if a[0] <= t]:
                coming.remove(arrival)
                s[arrival[1]] += p.weight[arrival[1], arrival[2]] / (self.tau_syn * self.rate_unit)
        times, who = (
            (np.array(x) for x in zip(*found, strict=True)) if found else (np.zeros(0), np.zeros(0, int))
        )
        return Train(times, who)

    def gradient(self, p: Parameters, train: Train, by_times: np.ndarray) -> Parameters:
        """The gradient in every parameter of a loss whose derivative by the spike times is `by_times`
        ``(K,)``."""
        own, arrived = self._order(p, train)
        # One compilation for every number of spikes: those that fill up are late, and seen by none.
        more = -len(train.who) % 64
        fill = lambda x, value: np.pad(x, (0, more), constant_values=value)
        times, by_times = fill(train.times, self.duration), fill(np.asarray(by_times, float), 0.0)
        structure = fill(train.who, 0), fill(own, -1), np.pad(arrived, (0, more))
        found = _pulled(self, Parameters(*(jnp.asarray(x, float) for x in p)), times, structure, by_times)
        return jax.tree.map(np.asarray, found)

    def _order(self, p, train):
        """Index of each spike's predecessor of the same neuron (-1: none), and which spikes have arrived at
        it."""
        times, who = train
        own = np.array([max(np.flatnonzero(who[:k] == who[k]), default=-1) for k in range(len(who))], int)
        delay = np.broadcast_to(p.delay, p.weight.shape)[who[:, None], who[None]]
        return own, (times[None] + delay < times[:, None]) & ~np.eye(len(who), dtype=bool)

    def _heights(self, times, p, who, own, arrived):
        """``v - v_th`` right before every spike, ``(K,)``, by the convolution with the membrane since the
        neuron's own last spike."""
        last = jnp.where(own >= 0, times[own], 0.0)
        decay = jnp.exp(-(times - last) / self.tau_mem)
        drive = (
            self._filtered(times, p)[jnp.arange(len(who)), who]
            - decay * (self._filtered(last, p)[jnp.arange(len(who)), who])
        )
        pair = (who[:, None], who[None])
        arrival = times[None] + jnp.broadcast_to(p.delay, p.weight.shape)[pair]
        since = jnp.where(arrived, jnp.maximum(arrival, last[:, None]), times[:, None])
        before = jnp.where(arrived, since - arrival, 0.0)
        kernel = jnp.exp(-before / self.tau_syn) * self._response(times[:, None] - since)
        weight = jnp.where(arrived, jnp.asarray(p.weight)[pair], 0.0)
        return drive + jnp.sum(weight * kernel, axis=1) / (self.tau_syn * self.rate_unit) - 1

    def _response(self, age):
        """v at an age of a synaptic current ``exp(-age/tau_syn)`` that began at v = 0."""
        m, s = self.tau_mem, self.tau_syn
        return s / (s - m) * (jnp.exp(-age / s) - jnp.exp(-age / m))

    def _filtered(self, t, p):
        """The drive filtered by the membrane, ``(*t, n)``."""
        t, omega = jnp.asarray(t)[..., None], 2 * np.pi / self.period
        angle, x = omega * t + self.phase, omega * self.tau_mem
        return jnp.asarray(p.bias) + self.amplitude * (jnp.sin(angle) - x * jnp.cos(angle)) / (1 + x**2)

    def _v(self, t, start, v, s, p):
        """v ``(n,)`` at t, from v and synaptic current s at `start`, without an event between them."""
        m, q = self.tau_mem, self.tau_syn
        omega = 2 * np.pi / self.period
        x = omega * m

        def steady(t):
            angle = omega * t + self.phase
            return p.bias + self.amplitude * (np.sin(angle) - x * np.cos(angle)) / (1 + x**2)

        fall = np.exp(-(t - start) / m)
        response = q / (q - m) * (np.exp(-(t - start) / q) - fall)
        return steady(t) + (v - steady(start)) * fall + s * response


@jax.jit
def _pulled(network, p, times, structure, by_times):
    heights = lambda t, p: network._heights(t, p, *structure)
    costate = jnp.linalg.solve(jax.jacobian(heights)(times, p).T, by_times)
    return jax.tree.map(jnp.negative, jax.vjp(lambda p: heights(times, p), p)[1](costate)[0])


__all__ = ["EventNetwork", "Parameters", "Train"]
