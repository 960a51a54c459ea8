"""The fidelity ledger: every neuron and synapse against a reference that shares no code with it.

    python experiments/ledger.py          # writes docs/ledger.md

Each entry names model, reference, check and known differences, measures the error and says how large it may
be; `tests/references/test_ledger.py` holds them to it. The references are written from the equations of the
papers and solved by diffrax at tight tolerance, crossings by its event handling.
"""

import argparse
import functools
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix

from spikejax import (
    LIF,
    QIF,
    Alpha,
    Delta,
    Dense,
    DoubleExponential,
    Exponential,
    Layer,
    LinearReadout,
    Network,
    Refractory,
    SampledAlpha,
    SpikeResponse,
    simulate,
)
from spikejax.gates import Gate
from spikejax.neurons import AbstractNeuron, Drive

sys.path.append(str(Path(__file__).parent))
from references.both_simulators import differences
from references.models import MODELS, Model, pack

jit = jax.jit
"""How references and models are compiled; the tests put a quick compilation in its place."""


def _solve(field, y, args, start, end, event=None, **options):
    term = diffrax.ODETerm(lambda t, y, args: field(y, *args))
    control = diffrax.PIDController(rtol=1e-11, atol=1e-12)
    return diffrax.diffeqsolve(
        term,
        diffrax.Dopri8(),
        start,
        end,
        1e-3,
        y,
        args=args,
        stepsize_controller=control,
        event=event,
        max_steps=100_000,
        **options,
    )


@functools.cache
def _subthreshold(name: str, duration: float):
    """The reference's state after `duration`, compiled once."""
    return jit(lambda y, args: _solve(MODELS[name].field, y, args, 0.0, duration).ys)


def flow_error(name: str, steps: int = 10, conductance: float | None = None) -> float:
    """Largest relative error of the state after `steps` steps without spikes."""
    model = MODELS[name]
    i = jnp.asarray(model.current * (0.3 if model.reset else 0.05))
    args = (i, jnp.asarray(0.0 if conductance is None else conductance))
    expected = _subthreshold(name, steps * model.dt)(tuple(jnp.asarray(x) for x in model.start), args)
    drive = i if conductance is None else Drive(i, args[1])
    state = jax.lax.fori_loop(
        0, steps, lambda _, s: model.neuron.flow(s, drive, model.dt), pack(model, model.start)
    )
    target = pack(model, [x[-1] for x in expected])
    errors = jax.tree.map(
        lambda a, b: float(jnp.max(jnp.abs(a - b))) / max(float(jnp.max(jnp.abs(b))), 1e-3), state, target
    )
    return max(jax.tree.leaves(errors))


def reference_spikes(model: Model, duration: float, tau_ref: float = 0.0) -> list[float]:
    """Spike times (ms) under the constant current, by event handling, from the start of a trial."""
    args = (jnp.asarray(model.current), jnp.asarray(0.0))
    y, times = tuple(jnp.asarray(x) for x in model.start), []
    if model.reset is None:
        grid = np.arange(0, duration, 0.01)
        v = np.asarray(
            jit(
                lambda y: _solve(
                    model.field, y, args, 0.0, duration, saveat=diffrax.SaveAt(ts=jnp.asarray(grid))
                ).ys[0]
            )(y)
        )
        up = np.flatnonzero((v[:-1] < 0) & (v[1:] >= 0))
        return [float(grid[k] - v[k] * 0.01 / (v[k + 1] - v[k])) for k in up]
    event = diffrax.Event(
        lambda t, y, args, **_: y[0] - model.threshold(y), optimistix.Newton(rtol=1e-9, atol=1e-9)
    )
    advance = jax.jit(
        lambda y, t: (lambda s: (s.ts[-1], jax.tree.map(lambda x: x[-1], s.ys)))(
            _solve(model.field, y, args, t, duration, event)
        )
    )
    held = jit(
        lambda y: _solve(lambda y, i, g: (0.0 * y[0], *model.field(y, i, g)[1:]), y, args, 0.0, tau_ref).ys
    )
    t = 0.0
    while True:
        t, y = advance(y, t)
        if t >= duration - 1e-9:
            return times
        times.append(float(t))
        y = tuple(jnp.asarray(x, jnp.result_type(float)) for x in model.reset(y))
        if tau_ref:
            y, t = tuple(x[-1] for x in held(y)), t + tau_ref
            if t >= duration:
                return times


def simulated_counts(neuron: AbstractNeuron, state, current: float, dt: float, duration: float) -> np.ndarray:
    """Spikes in every step of `dt`, at the hard threshold."""
    gate, drive = Gate(width=0.1, release="hard"), jnp.asarray(current)
    step = lambda s, _: (lambda out: (out[0], out[1].charge))(gate.step(neuron, s, drive, dt))
    return np.asarray(jit(lambda s: jax.lax.scan(step, s, None, length=round(duration / dt))[1])(state))


def spike_time_error(model: Model, duration: float = 100.0, refine: int = 1, tau_ref: float = 0.0) -> float:
    """Largest distance (in steps) of a reference spike from the step that the simulation has it in; infinite
    if the numbers differ."""
    expected, dt = reference_spikes(model, duration, tau_ref), model.dt / refine
    neuron, state = model.neuron, pack(model, model.start)
    if tau_ref:
        neuron = Refractory(neuron, tau_ref=tau_ref)
        state = neuron.init(())._replace(v=state.v)
    counts = simulated_counts(neuron, state, model.current, dt, duration)
    found = np.repeat(np.arange(len(counts)), counts.astype(int))
    if len(found) != len(expected) or not expected:
        return np.inf
    late, early = np.asarray(expected) / dt - (found + 1), found - np.asarray(expected) / dt
    return float(max(np.max(late), np.max(early), 0.0))


BRIAN2 = Path(__file__).parents[1] / "tests" / "data" / "brian2_network.json"


def brian2_error(dt: float, against: float | None = None) -> float:
    """Largest difference of a spike time from Brian2's at the same step or at the step `against`, ms;
    infinite if the numbers of spikes differ."""
    reference = json.loads(BRIAN2.read_text())
    size, steps = len(reference["drive"]), round(reference["duration"] / dt)
    # A spike delivers area 1/rate_unit = 1 ms: a weight is the area of its current in ms.
    own = Layer(
        Dense(jnp.zeros((size, 1)), (1,)),
        Dense(jnp.asarray(reference["weight"])[:, None, :], (1, size)),
        jnp.asarray(reference["drive"]),
        Refractory(LIF(tau_mem=reference["tau_mem"]), tau_ref=reference["tau_ref"]),
        Exponential(reference["tau_syn"], rate_unit=1.0),
    )
    network = Network((own,), LinearReadout.create((1, size), 1, key=jax.random.key(0)))
    gate = Gate(width=0.1, release="hard")
    run = jit(
        lambda n: simulate(n, jnp.zeros((steps, 1)), gate=gate, dt=dt, save=("release",)).layers[0].release
    )
    trains = [(np.flatnonzero(found) + 1) * dt for found in np.asarray(run(network)).T]
    expected = reference["spikes"][f"{dt if against is None else against:g}"]
    if [len(x) for x in trains] != [len(x) for x in expected]:
        return np.inf
    return max(float(np.abs(a - b).max()) for a, b in zip(trains, expected, strict=True))


def kernel_error(rise: float | None, fall: float, dt: float = 0.5, late: float = 0.0, skip: int = 0) -> float:
    """Largest error of the activation that one spike leaves, at the fraction `late` of its step, relative to
    its peak, against the mean of the kernel's closed form over each step; without the first `skip` steps.

    A charge within a step is shared between it and the next.
    """
    if rise is None:
        synapse = Exponential(fall, rate_unit=1.0)
    elif rise == fall:
        synapse = Alpha(fall, rate_unit=1.0)
    else:
        synapse = DoubleExponential(rise, fall, rate_unit=1.0)
    s, hidden, found = synapse.init((1,)), synapse.init_hidden((1,)), []
    for i in range(100):
        s, hidden = synapse.step(s, jnp.full(1, (1 - late, late, 0.0)[min(i, 2)]), dt, hidden)
        found.append(float(s[0, 0]))
    # The activation is its mean over the step: the kernel's integral over [t - dt, t] of its age t.
    integral = lambda t, tau: -np.expm1(-np.maximum(t, 0) / tau)
    t = dt * (np.arange(1, 101) - late)
    if rise is None:
        primitive = lambda t: integral(t, fall)
    elif rise == fall:
        primitive = lambda t: integral(t, fall) - np.maximum(t, 0) / fall * np.exp(-np.maximum(t, 0) / fall)
    else:
        primitive = lambda t: (fall * integral(t, fall) - rise * integral(t, rise)) / (fall - rise)
    expected = (primitive(t) - primitive(t - dt)) / dt
    error = np.abs(np.asarray(found) - expected)[skip:]
    return float(error.max() / expected.max())


def delta_error(dt: float = 0.01) -> float:
    """Error of the jump of a QIF neuron's potential by one spike through a delta synapse,
    ``weight/(tau_mem rate_unit)``, relative to it: the spike of a step is a current of that length."""
    neuron, synapse, weight = QIF(tau_mem=10.0), Delta(rate_unit=0.2), 0.6
    activation, _ = synapse.step(synapse.init((1,)), jnp.ones(1), dt)
    potential = lambda v: 0.5 - 1 / jnp.tan(jnp.pi * v)
    begin = neuron.init((1,))
    end = neuron.flow(begin, weight * activation[0], dt)
    jump, wanted = potential(end.v) - potential(begin.v), weight / (10.0 * 0.2)
    return float(jnp.abs(jump[0] - wanted)) / wanted


GRID = {"spike response": SpikeResponse(tau_ref=3.0)}
"""Neurons on the grid of steps, which no differential equation describes."""


def _alpha(steps: int, dt: float, tau: float) -> np.ndarray:
    t = np.arange(steps) * dt / tau
    return t * np.exp(1 - t)


def response_error(name: str, dt: float = 1.0, steps: int = 200) -> tuple[float, int]:
    """Largest error of the potential under a varying current, relative to the threshold, and how many spikes
    differ, against sums over all spikes."""
    neuron, gate = GRID[name], Gate("laplace", release="hard")
    theta, tau, scale = (float(x) for x in (neuron.v_th, neuron.tau_ref, neuron.scale_ref))
    current = theta * (1.2 + 0.8 * np.sin(np.arange(steps) / 9.0))
    nu, v, spikes = -scale * theta * _alpha(steps, dt, tau), current.copy(), np.zeros(steps)
    for t in range(steps):
        if v[t] >= theta:
            spikes[t] = 1
            v[t:] += nu[: steps - t]
    step = lambda s, i: (lambda out: (out[0], (out[0].v, out[1].charge)))(gate.step(neuron, s, i, dt))
    found, charge = jit(lambda i: jax.lax.scan(step, neuron.init(()), i)[1])(jnp.asarray(current))
    differ = int(np.sum(np.asarray(charge) != spikes))
    return float(np.abs(np.asarray(found) - v).max()) / theta, differ if spikes.any() else steps


def sampled_error(dt: float = 1.0, tau: float = 6.0, steps: int = 200) -> float:
    """Largest error of the activation of spikes in a third of the steps, against the convolution with the
    samples of the kernel."""
    synapse, spikes = SampledAlpha(tau), np.arange(steps) % 3 == 0
    s, hidden, found = synapse.init((1,)), synapse.init_hidden((1,)), []
    for q in spikes:
        s, hidden = synapse.step(s, jnp.full(1, float(q)), dt, hidden)
        found.append(float(s[0, 0]))
    expected = np.convolve(spikes.astype(float), _alpha(steps, dt, tau))[:steps]
    return float(np.abs(np.asarray(found) - expected).max() / expected.max())


def discrete_error(dt: float = 1.0, tau: float = 10.0, steps: int = 200, n: int = 20) -> float:
    """Largest error of the potentials of a recurrent layer of LIF neurons with delta synapses and the reset
    on the grid, against the recursion of networks in discrete time, relative to the threshold."""
    neuron = LIF(tau_mem=tau, reset="subtract")
    options = dict(input_scale=4.0, recurrent_scale=2.0, bias=(0.0, 1.0), key=jax.random.key(0))
    network = Network.dense(3, (n,), 1, neuron=neuron, synapse=Delta(1 / dt), **options)
    x = np.random.default_rng(0).random((steps, 3))
    run = jit(lambda x: simulate(network, x, gate=Gate(release="hard"), dt=dt, save="v"))
    found = np.asarray(run(jnp.asarray(x)).layers[0].v)
    layer, beta = network.layers[0], np.exp(-dt / tau)
    u, w, b = (np.asarray(a) for a in (layer.feedforward.weight, layer.recurrent.weight[:, 0], layer.bias))
    v, s, expected = np.zeros(n), np.zeros(n), []
    for now in x:
        v = beta * (v - s) + (1 - beta) * (u @ now + w @ s + b)
        s = (v >= 1).astype(float)
        expected.append(v - s)
    return float(np.abs(found - np.stack(expected)).max())


class Entry(NamedTuple):
    """A row of the ledger."""

    model: str
    reference: str
    check: str
    measure: Callable[[], float]
    bound: float
    unit: str
    differences: str


def entries() -> list[Entry]:
    """Every row of the ledger, unmeasured."""
    rows, part = [], functools.partial
    exact = ("NIF", "LIF", "theta", "QIF", "ALIF", "GLIF")
    # Of 10 steps below threshold; numerical flows leave more than rounding.
    bounds = {
        "LIF, accommodating": 1e-2,
        "EIF": 1e-7,
        "AdEx": 1e-7,
        "Izhikevich": 2e-5,
        "Hodgkin-Huxley, squid": 1e-5,
        "Hodgkin-Huxley, cortical": 1e-5,
    }
    solver, events = "diffrax, Dopri8, tolerance 1e-11", "diffrax, crossings by its event handling"
    for name, model in MODELS.items():
        dt, bound, known = f"dt {model.dt:g} ms", bounds.get(name, 1e-9), model.differences
        rows.append(
            Entry(
                name,
                solver,
                f"state after 10 steps below threshold, {dt}",
                part(flow_error, name),
                bound,
                "relative",
                known,
            )
        )
        if name not in ("theta", "QIF"):
            check, measure = (
                f"the same with input I - g v, {dt}",
                part(flow_error, name, conductance=0.5 if model.reset else 0.01),
            )
            rows.append(
                Entry(name, solver, check, measure, bound, "relative", "conductance constant in a step")
            )
        bound, check = 1e-6 if name in exact else 0.5, f"spikes of 100 ms at constant current, {dt}"
        rows.append(Entry(name, events, check, part(spike_time_error, model), bound, "steps", known))
    for name in ("LIF", "AdEx"):
        model, bound = MODELS[name], 1e-6 if name == "LIF" else 0.5
        check, measure = (
            f"spikes of 100 ms, refractory 3 ms, dt {model.dt:g} ms",
            part(spike_time_error, model, tau_ref=3.0),
        )
        rows.append(Entry(f"{name}, refractory", events + ", v held", check, measure, bound, "steps", "none"))
    on_grid = "on the grid of steps: another dt is another model"
    sums = "sums over all spikes"
    for name in GRID:
        potential, spikes = (lambda name=name, k=k: response_error(name)[k] for k in (0, 1))
        check = "potential in 200 steps of a varying current, dt 1 ms"
        rows.append(Entry(name, sums, check, potential, 1e-12, "relative", on_grid))
        rows.append(Entry(name, sums, "spikes of the same", spikes, 0.5, "differ", on_grid))
    check = "spikes in a third of 200 steps, dt 1 ms"
    known = "exact: samples of the kernel; " + on_grid
    rows.append(Entry("sampled alpha synapse", "convolution", check, sampled_error, 1e-12, "relative", known))
    check = "v of 20 recurrent LIF neurons, reset subtract, 200 steps, dt 1 ms"
    known = "exact: 0 and 1 in discrete time; " + on_grid
    rows.append(Entry("delta synapse", "recursion", check, discrete_error, 1e-12, "relative", known))
    for label, rise, fall in (
        ("exponential", None, 5.0),
        ("double exponential", 2.0, 10.0),
        ("alpha", 5.0, 5.0),
    ):
        for late, skip, where, bound, known in (
            (0.0, 0, "at the start of a step", 1e-12, "exact: the activation is its mean over the step"),
            (0.5, 0, "in mid-step", 5e-2, "of first order, in the two steps that share its charge"),
            (0.5, 2, "in mid-step, after these two steps", 1e-2, "of second order"),
        ):
            rows.append(
                Entry(
                    f"{label} synapse",
                    "closed form",
                    f"one spike {where}, dt 0.5 ms",
                    part(kernel_error, rise, fall, late=late, skip=skip),
                    bound,
                    "relative",
                    known,
                )
            )
    for kind, name in (("qif", "QIF network"), ("lif", "LIF network")):
        for dt, times, slopes in ((0.1, 1e-2, 5e-2), (0.02, 5e-4, 1e-2)):
            what, own = f"first spikes of two layers, dt {dt:g} ms", (kind, dt)
            apart, off = (lambda own=own, k=k: differences(*own)[k] for k in (0, 1))
            rows.append(Entry(name, "event-driven, closed form", what, apart, times, "ms", "of second order"))
            what = f"gradient of these in weights and input times, dt {dt:g} ms"
            known = "of first order"
            rows.append(Entry(name, "event-driven, closed form", what, off, slopes, "relative", known))
    check, known = "jump of a QIF neuron at one spike, dt 0.01 ms", "of first order: a current for one step"
    rows.append(Entry("delta synapse", "closed form", check, delta_error, 1e-3, "relative", known))
    for dt in (0.1, 0.05, 0.01):
        known = "mostly Brian2's resets on the grid, of first order in dt: see its finest step below"
        check, measure = (
            f"spike times of 8 recurrent refractory neurons, 150 ms, dt {dt:g} ms",
            part(brian2_error, dt),
        )
        rows.append(Entry("LIF network", "Brian2 2.9 at the same dt", check, measure, 8 * dt, "ms", known))
    for dt, bound in ((0.1, 0.2), (0.05, 0.2)):
        rows.append(
            Entry(
                "LIF network",
                "Brian2 2.9 at dt 0.01 ms",
                f"the same at dt {dt:g} ms",
                part(brian2_error, dt, 0.01),
                bound,
                "ms",
                "recurrence has a delay of dt; spike times are read off the grid",
            )
        )
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs/ledger.md"))
    args = parser.parse_args()
    lines = [
        "# Fidelity ledger",
        "",
        "    python experiments/ledger.py",
        "",
        "What each model was checked against, and what the check found. "
        f"Float64, JAX {jax.__version__}, Python {platform.python_version()}.",
        "`tests/references/test_ledger.py` fails where an error exceeds its bound.",
        "",
        "| model | reference | check | error | bound | known differences |",
        "|---|---|---|---|---|---|",
    ]
    for row in entries():
        error = row.measure()
        lines.append(
            f"| {row.model} | {row.reference} | {row.check} | {error:.1e} {row.unit} | {row.bound:.0e} | "
            f"{row.differences} |"
        )
        print(lines[-1], flush=True)
    args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
