"""A receptor neuron that hears: the sound's envelope through filters into a stochastic GLIF neuron."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...neurons import GLIF, WRAPPERS, AbstractResetNeuron
from ..ranges import Range, Values, physical, unbounded

__all__ = ["Basis", "SoundModel", "features", "make_basis"]

FINE = 0.5
"""Distance of the knots of the stimulus filter up to `COARSE`, ms: receptor neurons follow the envelope to
within a millisecond."""
COARSE = 12.0
"""From here on, ms, their distance grows with the lag."""
ADAPTATION = (30.0, 100.0, 1000.0, 4000.0)
"""Time constants of adaptation to the stimulus, ms."""

RANGES = {
    "tau_mem": Range(0.2, 5.0, "ms", True),
    "tau_ref": Range(0.3, 5.0, "ms", True),
    "v_reset": Range(-20.0, 0.0, ""),
    "tau_theta": Range(0.5, 50.0, "ms", True),
    "jump_theta": Range(-5.0, 40.0, ""),
    "tau_asc_1": Range(0.5, 5.0, "ms", True),
    "tau_asc_2": Range(2.0, 20.0, "ms", True),
    "tau_asc_3": Range(20.0, 200.0, "ms", True),
    "jump_asc_1": Range(-40.0, 20.0, ""),
    "jump_asc_2": Range(-20.0, 10.0, ""),
    "jump_asc_3": Range(-5.0, 5.0, ""),
    "rate": Range(0.05, 20.0, "1/ms", True),
}
START = {
    "tau_mem": 0.7,
    "tau_ref": 1.5,
    "v_reset": -4.0,
    "tau_theta": 3.0,
    "jump_theta": 2.0,
    "tau_asc_1": 2.0,
    "tau_asc_2": 6.0,
    "tau_asc_3": 50.0,
    "jump_asc_1": -1.0,
    "jump_asc_2": -1.0,
    "jump_asc_3": -0.2,
    "rate": 0.5,
}


class SoundModel(eqx.Module):
    """The trained numbers; `neuron` and `current` make the model of them.

    ```
    I(t) = bias + sum_c sum_lag f_c(lag) x_c(t - lag) + sum_j a_j A_j(t)
    tau_j dA_j/dt = -A_j + log(1 + s/floor),    A_j(0) = 0
    ```
    with x_c the standardised amplitude s, log s and s^2, and A_j the adaptation to the level, from silence.
    f is piecewise linear between knots. I drives a GLIF neuron with three spike-triggered currents, a
    spike-triggered threshold and absolute refractoriness; v is in units of the width of its escape zone, the
    threshold at rest is 0.
    """

    weight: Float[Array, " features"]
    """Weights of the rows of `features`, in units of the escape zone's width."""
    bias: Float[Array, ""]
    """In the same unit."""
    raw: Values
    """Parameters of the neuron and the escape rate, as unbounded numbers (see `RANGES`)."""

    @classmethod
    def start(cls, features: int) -> "SoundModel":
        """Where a fit begins: no filter, an ordinary refractory neuron."""
        return cls(jnp.zeros(features), jnp.asarray(0.0), unbounded(RANGES, START))

    @property
    def values(self) -> Values:
        """The neuron's parameters and the escape rate in their units."""
        return physical(RANGES, self.raw)

    def units(self) -> dict[str, str]:
        """Units of `values`; an empty string for multiples of the width of the escape zone."""
        return {name: RANGES[name].unit for name in self.raw}

    def neuron(self) -> AbstractResetNeuron:
        """The refractory GLIF neuron."""
        p = self.values
        inner = GLIF(
            tau_mem=p["tau_mem"],
            tau_asc=jnp.stack([p[f"tau_asc_{k}"] for k in range(1, 4)]),
            jump_asc=jnp.stack([p[f"jump_asc_{k}"] for k in range(1, 4)]),
            tau_theta=p["tau_theta"],
            jump_theta=p["jump_theta"],
            v_th=jnp.asarray(0.0),
            v_reset=p["v_reset"],
            v_init=jnp.asarray(0.0),
        )
        return WRAPPERS.make("refractory", neuron=inner, tau_ref=p["tau_ref"])

    def current(self, features: Float[Array, "features time n"]) -> Float[Array, "time n"]:
        """I of every step, in units of the escape zone's width."""
        return jnp.tensordot(self.weight, features, 1) + self.bias


class Basis(NamedTuple):
    """How a stimulus becomes features, with the constants of the training part."""

    knots: Float[np.ndarray, " knots"]
    """Lags of the piecewise linear filters, ms; the filters are 0 from the last on."""
    centre: Float[np.ndarray, " channels"]
    """Mean of each channel in the training part."""
    scale: Float[np.ndarray, " channels"]
    """Its standard deviation there."""
    floor: float
    """Added to the amplitude in the logarithm."""
    dt: float
    """Time step, ms."""


def make_basis(stimulus: Float[np.ndarray, "trials steps"], dt: float, length: float, train: int) -> Basis:
    """The basis of filters of `length` ms, standardised on the first `train` steps.

    **Arguments:** `stimulus`: mean amplitude in every step of `dt` ms.
    """
    spacing = max(FINE, dt)
    fine = np.arange(0.0, min(COARSE, length), spacing)
    knots = list(fine)
    while knots[-1] + 1e-9 < length:
        knots.append(min(length, knots[-1] + max(spacing, 0.2 * (knots[-1] - COARSE) + 1.0)))
    part = stimulus[:, :train]
    floor = 1e-3 * float(part.max()) or 1.0
    channels = _channels(part, floor)
    scale = channels.std(axis=(1, 2))
    return Basis(np.asarray(knots), channels.mean(axis=(1, 2)), np.where(scale > 0, scale, 1.0), floor, dt)


def features(
    basis: Basis, stimulus: Float[np.ndarray, "trials steps"]
) -> Float[np.ndarray, "features steps trials"]:
    """The linear inputs of the model: every channel through every filter, then the adaptation variables,
    which start at 0.

    **Arguments:** `stimulus`: mean amplitude in every step of ``basis.dt`` ms.
    """
    steps = stimulus.shape[1]
    channels = (_channels(stimulus, basis.floor) - basis.centre[:, None, None]) / basis.scale[:, None, None]
    taps = np.arange(round(basis.knots[-1] / basis.dt) + 1) * basis.dt
    kernels = [np.interp(taps, basis.knots, row) for row in np.eye(len(basis.knots))[:-1]]
    # Each kernel has an area of one knot spacing. With unit norm every row varies by as much for a white
    # stimulus, and the ridge weighs all weights alike.
    kernels = [kernel / np.sqrt(np.sum(kernel**2)) for kernel in kernels]
    size = 1 << (steps + len(taps)).bit_length()
    spectrum = np.fft.rfft(channels, size)
    rows = [
        np.fft.irfft(spectrum[c] * np.fft.rfft(kernel, size), size)[:, :steps]
        for c in range(len(channels))
        for kernel in kernels
    ]
    # The sound begins at time 0, after silence: adaptation starts from 0 and has a slow transient.
    level = np.log(stimulus / basis.floor + 1.0)
    rows += [_lowpass(level, tau, basis.dt) for tau in ADAPTATION]
    return np.stack(rows).transpose(0, 2, 1)


def _channels(stimulus, floor):
    return np.stack([stimulus, np.log(stimulus + floor), stimulus**2])


def _lowpass(x, tau, dt):
    from scipy.signal import lfilter

    decay = np.exp(-dt / tau)
    return lfilter([1 - decay], [1, -decay], x, axis=-1)
