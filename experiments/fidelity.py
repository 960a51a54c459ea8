"""Is the gradient of a clock-driven simulation the gradient of the neuron it simulates?

    python experiments/fidelity.py [--out FILE] [--fast]

One neuron with a slowly varying drive ``scale b(t) + offset``, fixed in continuous time; the loss is the mean
squared distance of its synaptic activation to a target, over 200 ms and about 20 spikes. The gradient in
(scale, offset) comes from `jax.grad` through `spikejax.simulate` (costate adjoint, charge release, raised
cosine, float64), and is held against

- **the truth**: for the LIF, `spikejax.references.lif_events`, which has closed forms between exact spike
  times and no time step; for NIF and theta, the Richardson extrapolation of the two finest steps. The
  distance is the root mean square of ``|gradient - truth|`` over offsets within +-0.05 of the centre, divided
  by that of ``|truth|``: one offset alone can agree by chance;
- **a secant** of the simulation's own loss over the same range, in which late spikes move by several ms,
  across many steps. For a loss without jumps it equals the mean of the gradient over the range, at any dt. A
  loss that jumps when a spike changes its step fails this however small the step, and no finite difference
  small enough to see no jump can tell.
"""

import argparse
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikejax import LIF, NIF, Dense, Exponential, Gate, Layer, LinearReadout, Network, Theta, simulate
from spikejax.references.lif_events import EventLIF, Waves

DURATION, TAU_SYN, RATE_UNIT, WIDTH = 200.0, 20.0, 0.1, 0.2
B = Waves(0.0, (0.6, 0.4), (110.0, 47.0), (0.3, 1.7))
TARGET = Waves(0.6, (0.3,), (150.0,), (0.0,))
STEPS = (1.0, 0.5, 0.25, 0.1, 0.05, 0.02, 0.01)
SPREAD, POINTS = 0.05, 32


class Case(NamedTuple):
    """A neuron and its drive."""

    name: str
    neuron: object
    theta: tuple[float, float]
    """(scale, offset) of the drive."""


def cases() -> tuple[Case, ...]:
    """Every neuron with every reset. Of each neuron the split comes first."""
    lif, nif = (0.6, 1.7), (0.4, 1.1)
    return (
        Case("LIF, split", LIF(tau_mem=10.0), lif),
        Case("LIF, subtract", LIF(tau_mem=10.0, reset="subtract"), lif),
        Case("LIF, zero", LIF(tau_mem=10.0, reset="zero"), lif),
        Case("NIF, split = subtract", NIF(tau_mem=10.0), nif),
        Case("NIF, zero", NIF(tau_mem=10.0, reset="zero"), nif),
        Case("theta, split = wrap", Theta(tau_mem=25.0), (0.4, 1.0)),
    )


def offsets() -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre points of the range about 0 and weights of sum 1: the mean of a smooth gradient
    converges fast."""
    x, weight = np.polynomial.legendre.leggauss(POINTS)
    return SPREAD * x, weight / 2


def truth_lif(theta, width: float | None = WIDTH) -> tuple[float, np.ndarray]:
    """Loss and gradient of the LIF by the event-driven reference; without `width`, in the limit of a narrow
    zone."""
    solver = EventLIF(B, TARGET, DURATION, tau_mem=10.0, tau_syn=TAU_SYN, rate_unit=RATE_UNIT)
    theta = np.asarray(theta)
    return solver.loss_narrow(theta) if width is None else solver.loss_zone(theta, width, resolution=0.02)


def truths_lif(case: Case, width: float | None = WIDTH) -> np.ndarray:
    """Gradients ``(1 + P, 2)`` at the centre and at the `offsets`, by `truth_lif`."""
    scale, offset = case.theta
    return np.array([truth_lif((scale, offset + d), width)[1] for d in (0.0, *offsets()[0])])


def loss_and_gradient(
    neuron, thetas, dt: float, width: float = WIDTH, adjoint=None
) -> tuple[np.ndarray, np.ndarray]:
    """Loss ``(P,)`` and gradient ``(P, 2)`` of the simulation at the P rows (scale, offset) of `thetas`."""
    start = dt * np.arange(round(DURATION / dt))
    # The mean of the drive over each step: what a step of constant current can know of it.
    stimulus = jnp.asarray(B.average(start, dt))[:, None]
    target = jnp.asarray(TARGET(start + dt))
    synapse, gate = Exponential(TAU_SYN, rate_unit=RATE_UNIT), Gate("raised_cosine", width)
    readout = LinearReadout(Dense(jnp.ones((1, 1, 1)), (1, 1)), jnp.zeros(1))

    def loss(theta):
        layer = Layer(Dense(theta[:1, None], (1,)), None, theta[1:], neuron, synapse)
        out = simulate(Network((layer,), readout), stimulus, gate=gate, dt=dt, adjoint=adjoint).readout
        return jnp.mean((out[:, 0] - target) ** 2)

    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(loss)))(jnp.asarray(thetas))
    return np.asarray(values), np.asarray(gradients)


class Row(NamedTuple):
    """What one simulation says."""

    gradients: np.ndarray
    """At the centre and at the `offsets`, ``(1 + P, 2)``, in (scale, offset)."""
    secant: float
    """Of the loss in the offset, over the range."""
    mean: float
    """Mean over the range of the gradient in the offset: equal to the secant, if the gradient is that of the
    loss."""

    def distance(self, truth: np.ndarray) -> float:
        """Relative distance to the gradients `truth`, root mean square over the offsets."""
        return relative(self.gradients, truth)


def relative(gradients: np.ndarray, truth: np.ndarray) -> float:
    """``|gradients - truth|/|truth|`` over the offsets (all rows but the first) and both parameters."""
    weight = offsets()[1][:, None]
    return float(np.sqrt(np.sum(weight * (gradients - truth)[1:] ** 2) / np.sum(weight * truth[1:] ** 2)))


def measure(case: Case, dt: float, width: float = WIDTH) -> Row:
    """Gradient at the centre and over the range of offsets; the secant over the range."""
    points, weight = offsets()
    points = np.concatenate([[0.0], points, [-SPREAD, SPREAD]])
    thetas = np.array(case.theta) + np.stack([np.zeros_like(points), points], axis=1)
    values, gradients = loss_and_gradient(case.neuron, thetas, dt, width)
    secant = (values[-1] - values[-2]) / (2 * SPREAD)
    return Row(gradients[:-2], secant, weight @ gradients[1:-2, 1])


def table(steps) -> list[str]:
    """The main table: every neuron, reset and step against its truth."""
    lines = [
        "| neuron, reset | dt (ms) | dL/dscale | dL/doffset | distance to the truth | secant | mean gradient "
        "| difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    truths = {}
    for case in cases():
        rows = [measure(case, dt) for dt in steps]
        family = case.name.split(",")[0]
        if family not in truths:
            # The split comes first, and is the truth for the other resets of its neuron.
            fine, coarse = rows[-1].gradients, rows[-2].gradients
            extrapolated = fine + (fine - coarse) * steps[-1] / (steps[-2] - steps[-1])
            truths[family] = truths_lif(case) if family == "LIF" else extrapolated
        truth = truths[family]
        source = "events" if family == "LIF" else "extrapolated"
        lines.append(f"| {case.name} | truth ({source}) | {truth[0, 0]:.4f} | {truth[0, 1]:.4f} | | | | |")
        for dt, row in zip(steps, rows, strict=True):
            g = row.gradients[0]
            lines.append(
                f"| {case.name} | {dt:g} | {g[0]:.4f} | {g[1]:.4f} | {100 * row.distance(truth):.2f} % "
                f"| {row.secant:.4f} | {row.mean:.4f} | {100 * abs(row.mean / row.secant - 1):.3f} % |"
            )
    return lines


def zone_table(dts, widths=(0.4, 0.2, 0.1, 0.05)) -> list[str]:
    """The LIF with the split step as the zone narrows: distance to the events at that width, and to the
    narrow limit."""
    case = cases()[0]
    narrow = truths_lif(case, None)
    lines = [
        "| zone width | truth: dL/dscale | dL/doffset | from the narrow limit | "
        + " | ".join(f"dt {dt:g}" for dt in dts)
        + " |"
    ]
    lines.append("|---" * (4 + len(dts)) + "|")
    for width in widths:
        truth = truths_lif(case, width)
        errors = " | ".join(f"{100 * measure(case, dt, width).distance(truth):.2f} %" for dt in dts)
        lines.append(
            f"| {width:g} | {truth[0, 0]:.4f} | {truth[0, 1]:.4f} | {100 * relative(truth, narrow):.2f} % | "
            f"{errors} |"
        )
    lines.append(f"| narrow limit | {narrow[0, 0]:.4f} | {narrow[0, 1]:.4f} |" + " |" * (1 + len(dts)))
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="also write the tables to this file")
    parser.add_argument("--fast", action="store_true", help="steps of 0.1 ms and more only")
    arguments = parser.parse_args()

    jax.config.update("jax_enable_x64", True)
    began = time.perf_counter()
    steps = STEPS[:4] if arguments.fast else STEPS
    text = "\n".join(
        [
            f"Gradient at the centre; zone width {WIDTH:g}.",
            "",
            *table(steps),
            "",
            "LIF with the split step, other widths of the zone: distance of the gradient to the event-driven "
            "one.",
            "",
            *zone_table(steps[1:6]),
        ]
    )
    print(text)
    print(f"\n{time.perf_counter() - began:.0f} s")
    if arguments.out:
        question, _, how = __doc__.partition("\n")
        with open(arguments.out, "w") as file:
            file.write(f"# {question}\n{how}\n{text}\n")


if __name__ == "__main__":
    main()
