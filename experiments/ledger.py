"""The fidelity ledger: every neuron and synapse against a reference that shares no code with it.

    python experiments/ledger.py          # writes docs/ledger.md

Each entry names model, reference, check and known differences, measures the error and says how large it may
be; `tests/references/test_ledger.py` holds them to it. The references are written from the equations of the
papers and solved by diffrax at tight tolerance, crossings by its event handling.
"""

import argparse
import functools
import json
import math
import platform
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix

from spikejax import (
    ALIF,
    EIF,
    GLIF,
    LIF,
    NIF,
    Accommodating,
    AdEx,
    Dense,
    DoubleExponential,
    Exponential,
    HodgkinHuxley,
    Izhikevich,
    Layer,
    LinearReadout,
    Network,
    Refractory,
    Theta,
    simulate,
)
from spikejax.gates import Gate
from spikejax.neurons import AbstractNeuron, Drive

# Before the models below are made.
jax.config.update("jax_enable_x64", True)
PI = np.pi


jit = jax.jit
"""How references and models are compiled; the tests put a quick compilation in its place."""


class Model(NamedTuple):
    """A neuron and its equations as the literature has them."""

    neuron: AbstractNeuron
    field: Callable
    """``dy/dt`` of the tuple of state variables, v first; for an input ``I - g v``."""
    reset: Callable
    """State after a spike."""
    threshold: Callable
    start: tuple[float, ...]
    current: float
    """A constant current at which it spikes."""
    dt: float
    differences: str


def squid(y, i, g):
    v, m, h, n = y
    alpha = lambda a, x, s: a * jnp.where(jnp.abs(x) < 1e-7, s, x / jnp.expm1(x / s))
    u = v + 65
    dv = -120 * m**3 * h * (v - 50) - 36 * n**4 * (v + 77) - 0.3 * (v + 54.387) + i - g * v
    return (
        dv,
        alpha(0.1, 25 - u, 10.0) * (1 - m) - 4 * jnp.exp(-u / 18) * m,
        0.07 * jnp.exp(-u / 20) * (1 - h) - h / (1 + jnp.exp((30 - u) / 10)),
        alpha(0.01, 10 - u, 10.0) * (1 - n) - 0.125 * jnp.exp(-u / 80) * n,
    )


def cortical(y, i, g):
    v, m, h, n, p = y
    vt = -56.2
    quotient = lambda x, s: jnp.where(jnp.abs(x) < 1e-7, s, x / jnp.expm1(x / s))
    dv = -50 * m**3 * h * (v - 50) - 5 * n**4 * (v + 90) - 0.07 * p * (v + 90) - 0.1 * (v + 70.3) + i - g * v
    steady, tau = (
        1 / (1 + jnp.exp(-(v + 35) / 10)),
        608 / (3.3 * jnp.exp((v + 35) / 20) + jnp.exp(-(v + 35) / 20)),
    )
    return (
        dv,
        0.32 * quotient(vt + 13 - v, 4.0) * (1 - m) - 0.28 * quotient(v - vt - 40, 5.0) * m,
        0.128 * jnp.exp((vt + 17 - v) / 18) * (1 - h) - 4 / (1 + jnp.exp((vt + 40 - v) / 5)) * h,
        0.032 * quotient(vt + 15 - v, 5.0) * (1 - n) - 0.5 * jnp.exp((vt + 10 - v) / 40) * n,
        (steady - p) / tau,
    )


def _gates_at_rest(neuron):
    """Where the gating variables stand still, by running the reference's own equations: a root, not the
    package's formula."""
    field = squid if neuron.kinetics == "squid" else cortical
    v = float(neuron.v_init)
    size = 3 if neuron.kinetics == "squid" else 4
    # Each equation is linear in its own variable: x = f(0)/(f(0) - f(1)).
    low, high = field((v, *(0.0,) * size), 0.0, 0.0)[1:], field((v, *(1.0,) * size), 0.0, 0.0)[1:]
    return (v, *(float(a / (a - b)) for a, b in zip(low, high, strict=True)))


_SQUID, _CORTICAL = HodgkinHuxley(), HodgkinHuxley.cortical()
MODELS = {
    "NIF": Model(
        NIF(tau_mem=10.0), lambda y, i, g: ((i - g * y[0]) / 10,), lambda y: (0.0,), lambda y: 1.0, (0.1,),
        0.37, 1.0,
        "none: exact",
    ),
    "LIF": Model(
        LIF(tau_mem=10.0), lambda y, i, g: ((-y[0] + i - g * y[0]) / 10,), lambda y: (0.0,), lambda y: 1.0,
        (0.1,), 1.7, 1.0,
        "none: exact",
    ),
    "theta": Model(
        Theta(tau_mem=10.0),
        lambda y, i, g: (((1 + jnp.cos(2 * PI * y[0])) + (1 - jnp.cos(2 * PI * y[0])) * i) / 10,),
        lambda y: (0.0,), lambda y: 1.0, (0.5,), 0.3, 1.0,
        "none: exact; no conductance-based input",
    ),
    "ALIF": Model(
        ALIF(tau_mem=20.0, tau_adapt=150.0, beta=0.3),
        lambda y, i, g: ((-y[0] + i - g * y[0]) / 20, -y[1] / 150),
        lambda y: (0.0, y[1] + 1), lambda y: 1 + 0.3 * y[1], (0.0, 0.0), 2.5, 1.0,
        "exact, at most one spike a step; published with a reset by subtraction on the grid",
    ),
    "GLIF": Model(
        GLIF(tau_mem=20.0, tau_asc=(20.0, 90.0), jump_asc=(0.4, -0.3), tau_theta=40.0, jump_theta=0.2,
            v_reset=0.1),
        lambda y, i, g: ((-y[0] + i + y[1] + y[2] - g * y[0]) / 20, -y[1] / 20, -y[2] / 90, -y[3] / 40),
        lambda y: (0.1, y[1] + 0.4, y[2] - 0.3, y[3] + 0.2), lambda y: 1 + y[3], (0.0, 0.0, 0.0, 0.0), 2.0,
        1.0,
        "exact, at most one spike a step; the voltage-dependent threshold of GLIF5 is `Accommodating`",
    ),
    "LIF, accommodating": Model(
        Accommodating(LIF(tau_mem=10.0), tau=30.0, slope=0.6),
        lambda y, i, g: (
            (-y[0] + i - g * y[0]) / 10, (0.06 * jnp.logaddexp(0.0, (y[0] - 0.5) / 0.1) - y[1]) / 30,
        ),
        lambda y: (0.0, y[1]), lambda y: 1 + y[1], (0.0, 0.06 * math.log1p(math.exp(-5))), 3.0, 1.0,
        "of second order: what the threshold follows is linear in a step",
    ),
    "EIF": Model(
        EIF(),
        lambda y, i, g: ((-30 * (y[0] + 70.6) + 60 * jnp.exp((y[0] + 50.4) / 2) + i - g * y[0]) / 281,),
        lambda y: (-70.6,), lambda y: -40.4, (-70.6,), 800.0, 0.1,
        "Runge-Kutta of order 4 in a coordinate that straightens the upswing; cut-off at V_T + 5 Delta_T",
    ),
    "AdEx": Model(
        AdEx(),
        lambda y, i, g: (
            (-30 * (y[0] + 70.6) + 60 * jnp.exp((y[0] + 50.4) / 2) - y[1] + i - g * y[0]) / 281,
            (4 * (y[0] + 70.6) - y[1]) / 144,
        ),
        lambda y: (-70.6, y[1] + 80.5), lambda y: -40.4, (-70.6, 0.0), 1000.0, 0.1,
        "as EIF",
    ),
    "Izhikevich": Model(
        Izhikevich(),
        lambda y, i, g: (0.04 * y[0] ** 2 + 5 * y[0] + 140 - y[1] + i - g * y[0], 0.02 * (0.2 * y[0] - y[1])),
        lambda y: (-65.0, y[1] + 8), lambda y: 30.0, (-70.0, -14.0), 10.0, 0.1,
        "Runge-Kutta of order 4, 4 to a step; the published Euler steps of 1 ms are another model",
    ),
    "Hodgkin-Huxley, squid": Model(
        _SQUID, squid, None, lambda y: 0.0, _gates_at_rest(_SQUID), 10.0, 0.05,
        "order 4, stable at any step; at 6.3 degrees",
    ),
    "Hodgkin-Huxley, cortical": Model(
        _CORTICAL, cortical, None, lambda y: 0.0, _gates_at_rest(_CORTICAL), 5.0, 0.05,
        "order 4, stable at any step; no T or L current",
    ),
}  # fmt: skip


def pack(model: Model, y):
    """The reference's tuple as the neuron's state."""
    state = model.neuron.init(())
    values = [jnp.asarray(x, jnp.result_type(float)) for x in y]
    if isinstance(model.neuron, GLIF):
        return state._replace(v=values[0], asc=jnp.stack(values[1:3]), theta=values[3])
    if isinstance(model.neuron, Accommodating):
        return state._replace(v=values[0], phi=values[1])
    return type(state)(*values, *([jnp.zeros(())] if model.field is squid else []))


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


def kernel_error(rise: float | None, fall: float, dt: float = 0.5, late: float = 0.0) -> float:
    """Largest error of the activation that one spike leaves, at the fraction `late` of its step, relative to
    its peak, against the mean of the kernel's closed form over each step.

    A charge within a step is shared between it and the next; the error is that of the steps after these two.
    """
    if rise is None:
        synapse = Exponential(fall, rate_unit=1.0)
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
    error = np.abs(np.asarray(found) - expected)[2 if late else 0 :]
    return float(error.max() / expected.max())


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
    exact = ("NIF", "LIF", "theta", "ALIF", "GLIF")
    # Of 10 steps below threshold; numerical flows leave more than rounding.
    bounds = {
        "LIF, accommodating": 1e-2,
        "EIF": 1e-7,
        "AdEx": 1e-7,
        "Izhikevich": 1e-8,
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
        if name != "theta":
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
    for label, rise, fall in (
        ("exponential", None, 5.0),
        ("double exponential", 2.0, 10.0),
        ("alpha", 5.0, 5.0),
    ):
        for late, where, bound, known in (
            (0.0, "at the start of a step", 1e-12, "exact: the activation is its mean over the step"),
            (
                0.5,
                "in mid-step, after the two steps that share its charge",
                1e-2,
                "of second order; within the two steps of first, with the right sum",
            ),
        ):
            rows.append(
                Entry(
                    f"{label} synapse",
                    "closed form",
                    f"one spike {where}, dt 0.5 ms",
                    part(kernel_error, rise, fall, late=late),
                    bound,
                    "relative",
                    known,
                )
            )
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
