"""Models of a current-clamped neuron in physical units: parameters with ranges, and the neuron they make."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...neurons import GLIF, LIF, WRAPPERS, AbstractNeuron, AdEx, HodgkinHuxley
from ..ranges import Range, Ranges, Values

__all__ = ["MODELS", "ClampModel", "at_sweeps", "with_ranges"]

MILLI = 1e-3
"""R in MOhm times I in pA is in uV; membrane potentials are in mV."""
DENSITY = 100.0
"""1 pA/um2 in uA/cm2."""
DRIFT = {"drift": Range(-30.0, 30.0, "mV"), "bend": Range(-60.0, 60.0, "mV")}
"""Change of E_L over ten sweeps, and what it grows by in the next ten: cells depolarise or recover while they
are recorded."""


AT_THRESHOLD = 3.0
"""A neuron held at its threshold escapes at ``log(1 + exp(-3)) = 0.05`` per ms, so that the threshold of the
escaping neuron is about the one at which a neuron without noise would spike as often."""


def _escape_zones(p: Values, height: Float[Array, "*n"]) -> Float[Array, "*n"]:
    return height / p["escape"] - AT_THRESHOLD


class ClampModel(NamedTuple):
    """A family of neurons to fit, in mV, ms, pA, MOhm, pF and nS."""

    ranges: Ranges
    neuron: Callable[[Values, Float[Array, "*n"]], AbstractNeuron]
    """From the values of the parameters and the membrane potential at the start, mV."""
    drive: Callable[[Values, Float[Array, "*n"]], Float[Array, "*n"]]
    """What the neuron takes as its current, from that of the electrode in pA."""
    zones: Callable[[Values, Float[Array, "*n"]], Float[Array, "*n"]] = _escape_zones
    """The exponent of the escape rate: the height of v above the threshold in units of the escape zone, less
    `AT_THRESHOLD`, from the height in mV."""
    resets: bool = True
    """Whether a spike is a reset, so that recorded spikes can take the place of the neuron's own."""
    damping: float | None = None
    """Damping of the costate in the deterministic fit, per ms; None: the gradient is exact."""


def at_sweeps(p: Values, sweeps: Float[Array, " sweeps"]) -> Values:
    """Parameters of every sweep, ``E_L + drift x + bend x (x - 1)/2`` with ``x = sweep/10``, from the sweeps'
    numbers."""
    x = sweeps / 10.0
    return p | {"E_L": p["E_L"] + p["drift"] * x + p["bend"] * x * (x - 1) / 2}


def with_ranges(model: ClampModel, ranges: Mapping[str, tuple[float, float]]) -> ClampModel:
    """`model` with other physical ranges of some parameters, in their units.

    **Raises:** `ValueError` for a parameter that it does not have, and a range that is empty or that its unit
    forbids.
    """
    new = dict(model.ranges)
    for name, (low, high) in ranges.items():
        if name not in new:
            raise ValueError(
                f"model.ranges.{name}: the model has no such parameter: choose from {', '.join(new)}"
            )
        if low >= high or (new[name].log and low <= 0):
            raise ValueError(
                f"model.ranges.{name}: {low:g} to {high:g} {new[name].unit} is no range of this parameter"
            )
        new[name] = new[name]._replace(low=low, high=high)
    return model._replace(ranges=new)


_PASSIVE = DRIFT | {
    "E_L": Range(-100.0, -30.0, "mV"),
    "R": Range(20.0, 2000.0, "MOhm", True),
    "tau_mem": Range(2.0, 100.0, "ms", True),
    "v_th": Range(-60.0, 0.0, "mV"),
    "drop": Range(2.0, 40.0, "mV"),
    "tau_ref": Range(1.0, 20.0, "ms", True),
    "R_s": Range(0.0, 100.0, "MOhm"),
    "escape": Range(0.2, 10.0, "mV", True),
}
_AFTER = {
    "tau_asc_fast": Range(3.0, 50.0, "ms", True),
    "tau_asc_slow": Range(50.0, 1000.0, "ms", True),
    "jump_asc_fast": Range(-40.0, 40.0, "mV"),
    "jump_asc_slow": Range(-15.0, 5.0, "mV"),
    "tau_theta": Range(3.0, 500.0, "ms", True),
    "jump_theta": Range(-2.0, 20.0, "mV"),
    "tau_accommodation": Range(3.0, 300.0, "ms", True),
    "slope": Range(0.0, 3.0, ""),
    "v_half": Range(-75.0, -20.0, "mV"),
}
ACCOMMODATION_WIDTH = 5.0
"""Range of v in which the threshold begins to follow it, mV."""


def _lif(p, start):
    inner = LIF(tau_mem=p["tau_mem"], v_th=p["v_th"], v_reset=p["v_th"] - p["drop"], v_init=start)
    return WRAPPERS.make("refractory", neuron=inner, tau_ref=p["tau_ref"])


def _glif(p, start):
    inner = GLIF(
        tau_mem=p["tau_mem"],
        tau_asc=jnp.stack([p["tau_asc_fast"], p["tau_asc_slow"]]),
        jump_asc=jnp.stack([p["jump_asc_fast"], p["jump_asc_slow"]]),
        tau_theta=p["tau_theta"],
        jump_theta=p["jump_theta"],
        v_th=p["v_th"],
        v_reset=p["v_th"] - p["drop"],
        v_init=start,
    )
    following = WRAPPERS.make(
        "accommodation",
        neuron=inner,
        tau=p["tau_accommodation"],
        slope=p["slope"],
        v_half=p["v_half"],
        width=ACCOMMODATION_WIDTH,
    )
    return WRAPPERS.make("refractory", neuron=following, tau_ref=p["tau_ref"])


def _ohmic(p, current):
    return p["E_L"] + MILLI * p["R"] * current


_ADEX = DRIFT | {
    "C": Range(10.0, 1000.0, "pF", True),
    "g_L": Range(0.5, 50.0, "nS", True),
    "E_L": Range(-100.0, -30.0, "mV"),
    "V_T": Range(-60.0, 0.0, "mV"),
    "Delta_T": Range(0.5, 8.0, "mV", True),
    "tau_w": Range(10.0, 1000.0, "ms", True),
    "a": Range(-2.0, 20.0, "nS"),
    "b": Range(0.0, 300.0, "pA"),
    "drop": Range(2.0, 40.0, "mV"),
    "tau_ref": Range(1.0, 20.0, "ms", True),
    "R_s": Range(0.0, 100.0, "MOhm"),
}
CUT_OFF = 5.0
"""AdEx spikes are cut off this many ``Delta_T`` above ``V_T``."""


def _adex(p, start):
    named = {name: p[name] for name in ("C", "g_L", "E_L", "V_T", "Delta_T", "tau_w", "a", "b")}
    inner = AdEx(**named, v_th=p["V_T"] + CUT_OFF * p["Delta_T"], v_reset=p["V_T"] - p["drop"], v_init=start)
    return WRAPPERS.make("refractory", neuron=inner, tau_ref=p["tau_ref"])


_HODGKIN_HUXLEY = DRIFT | {
    "area": Range(500.0, 60000.0, "um2", True),
    "g_Na": Range(5.0, 200.0, "mS/cm2", True),
    "g_K": Range(0.5, 60.0, "mS/cm2", True),
    "g_M": Range(0.002, 2.0, "mS/cm2", True),
    "g_L": Range(0.005, 0.5, "mS/cm2", True),
    "E_L": Range(-100.0, -30.0, "mV"),
    "E_K": Range(-110.0, -60.0, "mV"),
    "V_T": Range(-75.0, -30.0, "mV"),
    "tau_max": Range(50.0, 3000.0, "ms", True),
    "R_s": Range(0.0, 100.0, "MOhm"),
}
DAMPING = 0.05
"""Between spikes a neuron that decides slowly whether to fire multiplies small differences, and does so again
after every spike: over half a second the exact gradient of the loss is between 1 and 1e15, and no descent
follows it. Damped, it remembers 20 ms."""


def _hodgkin_huxley(p, start):
    named = {name: p[name] for name in ("g_Na", "g_K", "g_M", "g_L", "E_L", "E_K", "V_T", "tau_max")}
    return HodgkinHuxley(**named, kinetics="cortical", v_init=start)


MODELS: Mapping[str, ClampModel] = {
    "lif": ClampModel(_PASSIVE, _lif, _ohmic),
    "glif": ClampModel(_PASSIVE | _AFTER, _glif, _ohmic),
    "adex": ClampModel(
        _ADEX,
        _adex,
        drive=lambda p, current: current,
        zones=lambda p, height: height / p["Delta_T"] + CUT_OFF - AT_THRESHOLD,
    ),
    "hodgkin_huxley": ClampModel(
        _HODGKIN_HUXLEY,
        _hodgkin_huxley,
        drive=lambda p, current: DENSITY * current / p["area"],
        resets=False,
        damping=DAMPING,
    ),
}
"""The families by name."""
