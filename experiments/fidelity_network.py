"""Networks: are spike times and gradients those of the network in continuous time?

    python experiments/fidelity_network.py [--out FILE]

Two networks of LIF neurons, each with a drive ``bias + a sin(2 pi t/period + phase)`` of its own, over 100
ms: **recurrent**, 8 neurons with a transmission delay of 1 ms; **two layers** of 8 neurons each, without
delay. The loss is the mean squared distance of a leaky readout of the last layer to a target. The truth is
event-driven (`spikejax.references.lif_network`): exact spike times, and the gradient of the loss in all
weights and biases by the implicit function theorem. A recurrent connection of the simulator sees the
activation of the step before: a delay of dt; at dt below 1 ms the activation of more steps back, by a
connection with a memory.

Distances are root mean square over 16 drives (all biases times 1 + x, x within +-3 %) and all parameters,
relative to the truth. One draw of the networks (seed 0), float64, raised cosine.

The truth is the narrow limit at every zone: what does not fall with dt is the zone's own distance from it.

The networks are mild: their drives stay well above threshold, and their synapses (20 ms) are slow against dt.
Networks with synapses of 5 ms, stronger weights and drives that come close to the threshold had much larger
errors of the gradient. Which of the three matters most was not measured.

The root mean square falls like dt^0.5 to dt^0.8, the mean over drives like dt. The current of exponential
synapses jumps where a spike arrives: in a step that holds both an arrival and a crossing the derivative of
the crossing is off by a part that does not fall with dt, and of all steps a share of the order of dt is such.
With synapses that have a rise time the current does not jump, and errors are smaller and of first order (the
last table).
"""

import argparse
import functools
import time
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from spikejax import LIF, Dense, DoubleExponential, Exponential, Gate, Layer, LeakyReadout, Network, simulate
from spikejax.connections import AbstractConnection
from spikejax.references.lif_events import Waves, leaky_loss
from spikejax.references.lif_network import EventNetwork, Parameters

N, DURATION, DELAY, TAU_MEM, TAU_SYN, TAU_OUT, RATE_UNIT = 8, 100.0, 1.0, 10.0, 20.0, 20.0, 0.1
TARGET = Waves(0.6, (0.3,), (80.0,), (0.0,))
STEPS, SHARPNESSES = (1.0, 0.5, 0.25, 0.1), (1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
WIDTH = 0.5
"""Of the zone at sharpness 1."""
POINTS = 0.03 * np.linspace(-1, 1, 16)
RISES, FINEST = (None, 5.0, 20.0), 0.02
"""Rise times of the synapses, and the step (ms) that their gradients are compared with."""


class Delayed(AbstractConnection):
    """``I_i(t) = sum_j W_ij x_j(t - steps dt)``."""

    weight: jax.Array
    in_shape: tuple[int, ...] = eqx.field(static=True)
    steps: int = eqx.field(static=True)

    @property
    def out_shape(self):
        return self.weight.shape[: self.weight.ndim - len(self.in_shape)]

    @property
    def memory(self):
        return self.steps

    def __call__(self, x, past=None):
        return jnp.tensordot(self.weight, past[0], axes=x.ndim)

    @classmethod
    def create(cls, in_shape, out_shape, *, key, steps=1):
        return cls(jax.random.normal(key, (*out_shape, *in_shape)), in_shape, steps)


class Case(NamedTuple):
    """A network: weights ``(n, n)`` from j to i of all its neurons, those of the first layer first."""

    events: EventNetwork
    parameters: Parameters
    out: np.ndarray
    """Weight of each neuron in the readout; those of a first layer have 0."""
    layers: int


def recurrent() -> Case:
    """8 recurrent neurons."""
    r = np.random.default_rng(0)
    events = EventNetwork(
        r.uniform(0.1, 0.3, N), r.uniform(40, 120, N), r.uniform(0, 2 * np.pi, N), DURATION, TAU_MEM, TAU_SYN,
        RATE_UNIT,
    )  # fmt: skip
    parameters = Parameters(r.normal(0, 0.05, (N, N)), r.uniform(1.6, 2.2, N), np.array(DELAY))
    return Case(events, parameters, r.uniform(0.05, 0.2, N), 1)


def two_layers() -> Case:
    """8 driven neurons that drive 8 others, which have a constant current too."""
    r = np.random.default_rng(0)
    none = np.zeros(N)
    events = EventNetwork(
        np.append(r.uniform(0.1, 0.3, N), none), np.append(r.uniform(40, 120, N), none + 1),
        np.append(r.uniform(0, 2 * np.pi, N), none), DURATION, TAU_MEM, TAU_SYN, RATE_UNIT,
    )  # fmt: skip
    weight = np.zeros((2 * N, 2 * N))
    weight[N:, :N] = r.uniform(-0.02, 0.08, (N, N))
    bias = np.append(r.uniform(1.6, 2.2, N), r.uniform(1.4, 1.8, N))
    return Case(events, Parameters(weight, bias, np.array(0.0)), np.append(none, r.uniform(0.05, 0.2, N)), 2)


CASES = {"recurrent, delay 1 ms": recurrent, "two layers": two_layers}


def at(case: Case, point: float) -> Parameters:
    """The parameters with all biases times ``1 + point``."""
    return case.parameters._replace(bias=case.parameters.bias * (1 + point))


@functools.cache
def truth(name: str, points: tuple[float, ...] = tuple(POINTS)) -> np.ndarray:
    """Gradients ``(P, weights + biases)`` at the `points`."""
    case, found = CASES[name](), []
    for point in points:
        p = at(case, point)
        train = case.events.spikes(p)
        weight = case.out[train.who]
        loud = weight != 0
        by_times = np.zeros(len(weight))
        slopes = np.eye(loud.sum())
        by_times[loud] = leaky_loss(
            train.times[loud], slopes, TARGET, DURATION, TAU_SYN, TAU_OUT, RATE_UNIT / weight[loud]
        )[1]
        g = case.events.gradient(p, train, by_times)
        found.append(np.concatenate([_block(case, g.weight).ravel(), g.bias]))
    return np.array(found)


def _block(case, weight):
    return weight[N:, :N] if case.layers == 2 else weight


def build(case: Case, weight, bias, dt: float, rise: float | None = None) -> Network:
    """The network as the simulator has it, or one whose synapses have a `rise` time."""
    neuron, synapse = LIF(tau_mem=TAU_MEM), Exponential(TAU_SYN, rate_unit=RATE_UNIT)
    if rise is not None:
        synapse = DoubleExponential(rise, TAU_SYN, rate_unit=RATE_UNIT)
    back = round(DELAY / dt) - 1
    into, shape = Dense(jnp.eye(N), (N,)), (1, N)
    if case.layers == 2:
        above = Layer(Dense(weight[:, None], shape), None, bias[N:], neuron, synapse)
        layers = (Layer(into, None, bias[:N], neuron, synapse), above)
    else:
        own = Delayed(weight[:, None], shape, back) if back else Dense(weight[:, None], shape)
        layers = (Layer(into, own, bias, neuron, synapse),)
    out = jnp.asarray(case.out[-N:])[None, None]
    return Network(layers, LeakyReadout(Dense(out, shape), jnp.zeros(1), tau_out=TAU_OUT))


def stimulus(case: Case, dt: float):
    """The mean of the drives over each step, ``(time, n)``."""
    start, e = dt * np.arange(round(DURATION / dt)), case.events
    waves = [Waves(0.0, (e.amplitude[i],), (e.period[i],), (e.phase[i],)) for i in range(N)]
    return jnp.asarray(np.stack([w.average(start, dt) for w in waves], axis=1))


def gradients(name: str, dt: float, supports, points=POINTS, rise: float | None = None) -> np.ndarray:
    """Gradients ``(zones, P, weights + biases)`` at the widths `supports` of the zone; None is a hard
    threshold."""
    case = CASES[name]()
    drive, ends = stimulus(case, dt), dt * (1 + np.arange(round(DURATION / dt)))
    target, weigh = jnp.asarray(TARGET(ends)), jnp.full(len(ends), dt / DURATION).at[-1].mul(0.5)

    def loss(p, width):
        gate = Gate(width=0.1, release="hard") if width is None else Gate("raised_cosine", width)
        out = simulate(build(case, *p, dt, rise), drive, gate=gate, dt=dt).readout
        return weigh @ (out[:, 0] - target) ** 2

    def gradient(point, width):
        weight = jnp.asarray(_block(case, case.parameters.weight))
        bias = jnp.asarray(case.parameters.bias) * (1 + point)
        g = jax.grad(loss)((weight, bias), width)
        return jnp.concatenate([g[0].ravel(), g[1]])

    run = jax.jit(jax.vmap(gradient, (0, None)))
    points = jnp.asarray(points)
    return np.array([run(points, None if w is None else jnp.asarray(w)) for w in supports])


def relative(found, truth) -> float:
    """Distance, root mean square over drives and parameters."""
    return float(np.sqrt(np.sum((found - truth) ** 2) / np.sum(truth**2)))


def bias(found, truth) -> float:
    """The same of the mean over the drives."""
    return relative(found.mean(axis=0), truth.mean(axis=0))


def spike_time_errors(name: str, dt: float) -> tuple[float, float]:
    """Root mean square and largest distance (ms) of the spike times of the last layer, by the crossings of
    the exact flow in each step; infinite if the numbers of spikes differ."""
    case = CASES[name]()
    p, start = case.parameters, dt * np.arange(round(DURATION / dt))
    network = build(case, jnp.asarray(_block(case, p.weight)), jnp.asarray(p.bias), dt)
    gate, save = Gate(width=0.1, release="hard"), ("release", "v", "current")
    record = jax.jit(lambda n, x: simulate(n, x, gate=gate, dt=dt, save=save).layers[-1])(
        network, stimulus(case, dt)
    )
    before = np.concatenate([np.zeros((1, N)), np.asarray(record.v)[:-1]])
    current, spiked = np.asarray(record.current), np.asarray(record.release) > 0.5
    train, errors = case.events.spikes(p), []
    for i in range(N):
        k = np.flatnonzero(spiked[:, i])
        found = start[k] + TAU_MEM * np.log((current[k, i] - before[k, i]) / (current[k, i] - 1))
        exact = train.times[train.who == i + N * (case.layers - 1)]
        if len(found) != len(exact):
            return np.inf, np.inf
        errors.extend(found - exact)
    return float(np.sqrt(np.mean(np.square(errors)))), float(np.max(np.abs(errors)))


def order(steps, errors) -> str:
    """Slope of log error against log dt."""
    good = np.isfinite(errors)
    if good.sum() < 2:
        return ""
    return f"{np.polyfit(np.log(np.array(steps)[good]), np.log(np.array(errors)[good]), 1)[0]:.1f}"


def step_table(name: str) -> list[str]:
    """Errors against dt."""
    row = lambda *cells: "| " + " | ".join(map(str, cells)) + " |"
    lines = [row("error", *(f"dt {dt:g}" for dt in STEPS), "order"), "|---" * (2 + len(STEPS)) + "|"]
    times = np.array([spike_time_errors(name, dt) for dt in STEPS])
    for k, label in enumerate(("spike times, rms, ms", "spike times, largest, ms")):
        lines.append(row(label, *(f"{x:.2g}" for x in times[:, k]), order(STEPS, times[:, k])))
    zones, exact = (None, 0.01, 0.05, 0.2), truth(name)
    found = [gradients(name, dt, zones) for dt in STEPS]
    for k, zone in enumerate(zones):
        label = "hard" if zone is None else f"zone {zone:g}"
        for kind, measure in (("rms", relative), ("of the mean", bias)):
            errors = [measure(g[k], exact) for g in found]
            lines.append(
                row(
                    f"gradient, {label}, {kind}, %", *(f"{100 * x:.3g}" for x in errors), order(STEPS, errors)
                )
            )
    return lines


def limit_table() -> list[str]:
    """The smooth gradient at growing sharpness against the gradient of the spike times."""
    row = lambda *cells: "| " + " | ".join(map(str, cells)) + " |"
    lines = [row("network", "dt", "error, %", *(f"a = {a:g}" for a in SHARPNESSES), "hard")]
    lines.append("|---" * (4 + len(SHARPNESSES)) + "|")
    for name in CASES:
        exact = truth(name)
        for dt in (0.5, 0.1):
            found = gradients(name, dt, [*(WIDTH / a for a in SHARPNESSES), None])
            for kind, measure in (("rms", relative), ("of the mean", bias)):
                lines.append(row(name, f"{dt:g}", kind, *(f"{100 * measure(g, exact):.3g}" for g in found)))
    return lines


def rise_table() -> list[str]:
    """Errors of the gradient at a hard threshold with synapses that have a rise time, against the finest
    step."""
    row = lambda *cells: "| " + " | ".join(map(str, cells)) + " |"
    lines = [row("network", "rise, ms", "error, %", *(f"dt {dt:g}" for dt in STEPS), "order")]
    lines.append("|---" * (4 + len(STEPS)) + "|")
    for name in CASES:
        for rise in RISES:
            (finest,) = gradients(name, FINEST, [None], rise=rise)
            found = [gradients(name, dt, [None], rise=rise)[0] for dt in STEPS]
            for kind, measure in (("rms", relative), ("of the mean", bias)):
                errors = [measure(g, finest) for g in found]
                cells = (f"{100 * x:.2g}" for x in errors)
                lines.append(
                    row(name, "none" if rise is None else f"{rise:g}", kind, *cells, order(STEPS, errors))
                )
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="also write the tables to this file")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    began, lines = time.perf_counter(), list[str]()
    for name in CASES:
        lines += [f"## {name.capitalize()}", "", "Errors at steps of dt (ms).", "", *step_table(name), ""]
        print("\n".join(lines[-20:]), flush=True)
    lines += [
        "## The limit of a narrow zone",
        "",
        f"Zone of width {WIDTH:g}/a, release `charge`, and a hard threshold.",
        "",
        *limit_table(),
        "",
        "## Synapses with a rise time",
        "",
        f"A hard threshold; distances to the gradient of the same simulation at dt = {FINEST:g} ms.",
        "",
        *rise_table(),
    ]
    print("\n".join(lines))
    print(f"\n{time.perf_counter() - began:.0f} s")
    if arguments.out:
        question, _, how = __doc__.partition("\n")
        with open(arguments.out, "w") as file:
            file.write(f"# {question}\n{how}\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
