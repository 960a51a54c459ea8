"""Excitation, inhibition and their balance."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..connections import Dense
from ..network import Layer
from ..parameters import resolve


def split_currents(
    layer: Layer, stimulus: Float[np.ndarray, "time *in"], activation: Float[np.ndarray, "time kinds *n"]
) -> tuple[Float[np.ndarray, "time n"], Float[np.ndarray, "time n"]]:
    """Excitatory and inhibitory current of every neuron of a dense layer: the sums of the positive and of the
    negative terms ``U_ic x_c(t)``, ``W_ikj s_kj(t)`` and ``b_i``. Neurons are counted through all axes of the
    population; what skips to the layer is left out.

    **Arguments:** `activation`: of the layer's own synapses, before each step.

    **Raises:** `ValueError` for a layer whose connections are not dense.
    """
    layer = resolve(layer)
    bias = np.broadcast_to(np.asarray(layer.bias), layer.shape).reshape(-1)
    excitatory = np.maximum(bias, 0.0) + np.zeros((len(stimulus), 1))
    inhibitory = np.minimum(bias, 0.0) + np.zeros((len(stimulus), 1))
    for connection, x in ((layer.feedforward, stimulus), (layer.recurrent, activation)):
        if connection is None:
            continue
        if not isinstance(connection, Dense):
            raise ValueError(
                f"currents are split for dense connections only, but this is a {type(connection).__name__}"
            )
        weight = np.asarray(connection.weight).reshape(math.prod(layer.shape), -1)
        x = np.asarray(x).reshape(len(stimulus), -1)
        # A term is positive if weight and input have the same sign.
        up, down, on, off = np.maximum(weight, 0), np.minimum(weight, 0), np.maximum(x, 0), np.minimum(x, 0)
        excitatory = excitatory + on @ up.T + off @ down.T
        inhibitory = inhibitory + on @ down.T + off @ up.T
    return excitatory, inhibitory


class Balance(NamedTuple):
    """How closely inhibition follows excitation, averaged over neurons."""

    correlation: float
    """Correlation of the smoothed excitatory current with minus the inhibitory one."""
    ratio: float
    """Root mean square of the net current over that of the excitatory one; 0 is perfect balance."""


def balance(
    excitatory: Float[np.ndarray, "time n"],
    inhibitory: Float[np.ndarray, "time n"],
    dt: float,
    width: float = 20.0,
) -> Balance:
    """Balance of the currents of a population (of the neurons that have both), smoothed by a Gaussian of
    standard deviation `width` ms."""
    # Here for start-up time: it takes 0.2 s to import.
    from scipy.ndimage import gaussian_filter1d

    e, i = (gaussian_filter1d(x, width / dt, axis=0) for x in (excitatory, inhibitory))
    alive = (e.std(axis=0) > 0) & (i.std(axis=0) > 0)
    correlations = [np.corrcoef(a, -b)[0, 1] for a, b in zip(e.T[alive], i.T[alive], strict=True)]
    e, i = e[:, alive], i[:, alive]
    ratio = np.sqrt(np.mean((e + i) ** 2, axis=0)) / np.sqrt(np.mean(e**2, axis=0))
    return Balance(float(np.mean(correlations)), float(np.mean(ratio)))


__all__ = ["Balance", "balance", "split_currents"]
