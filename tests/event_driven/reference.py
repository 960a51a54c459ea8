"""Networks of spiking neurons by a solver of differential equations that stops at every crossing: slow,
without closed forms, layers or projective coordinates, to test against.

All layers are one population: a spike of any neuron arrives at once, or after its delay, at all that it has a
weight to.
"""

from typing import NamedTuple

import numpy as np
from scipy.integrate import solve_ivp


class Population(NamedTuple):
    """``kind``: qif, delta (QIF with delta synapses) or lif; times in ms. ``weight[from, to]`` and
    ``into[channel, to]`` are jumps of the current, with delta synapses of V."""

    kind: str
    tau: float
    tau_syn: float
    weight: np.ndarray
    into: np.ndarray
    bias: np.ndarray
    v: np.ndarray
    """At the start: for QIF the phase, 1/2 + atan(V - 1/2)/pi."""
    delay: np.ndarray | None = None
    v_th: float = 1.0
    v_reset: float = 0.0


def spikes(p: Population, times, channels, end: float) -> list[list[float]]:
    """The spike times of every neuron until `end`."""
    n = len(p.bias)
    t, v, current = 0.0, p.v.astype(float).copy(), np.zeros(n)
    found = [[] for _ in range(n)]
    coming = [(float(a), p.into[c]) for a, c in zip(times, channels, strict=True)]

    def slope(s, y):
        i = p.bias + current * np.exp(-(s - t) / p.tau_syn)
        if p.kind == "lif":
            return (-y + i) / p.tau
        # V = 1/2 - cot(pi v) on the circle.
        return (np.cos(np.pi * y) ** 2 + (i - 0.25) * np.sin(np.pi * y) ** 2) / (np.pi * p.tau)

    goal = p.v_th if p.kind == "lif" else 1.0
    while t < end:
        until = min([end, *(a for a, _ in coming)])
        if until > t:
            events = [lambda s, y, i=i: y[i] - goal for i in range(n)]
            for event in events:
                event.terminal, event.direction = True, 1
            run = solve_ivp(slope, (t, until), v, method="DOP853", rtol=1e-12, atol=1e-13, events=events)
            now = run.t[-1]
            v, current = run.y[:, -1].copy(), current * np.exp(-(now - t) / p.tau_syn)
            t = now
            if run.status == 1:
                who = next(i for i in range(n) if len(run.t_events[i]))
                found[who].append(t)
                v[who] = p.v_reset if p.kind == "lif" else 0.0
                late = 0.0 if p.delay is None else p.delay[who]
                coming.append((t + late, p.weight[who]))
        for arrival in [a for a in coming if a[0] <= t]:
            coming.remove(arrival)
            if p.kind == "delta":
                potential = 0.5 - 1 / np.tan(np.pi * np.maximum(v, 1e-300)) + arrival[1]
                v = np.where(arrival[1] == 0, v, 0.5 + np.arctan(potential - 0.5) / np.pi)
            else:
                current = current + arrival[1]
    return found
