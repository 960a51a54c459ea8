"""The paper's costate equations, by hand: a reference to read and to test against, for one recurrent layer.

Nothing here is differentiated by JAX. The forward pass is `spikejax.simulate`; everything backward is written
out. The continuous equations are eqs. 8-13 of Huh & Sejnowski, *Gradient Descent for Spiking Neural
Networks*, NeurIPS 2018:
```
-dP/dt = (df/dv) P - g dL/dt,    -dl/dt = -l/tau + W^T (df/dI P) + O^T dloss/do
grad W = int (df/dI P) s^T dt
```
with P the costate of v after the substitution ``P = p_v + g p_s``. No derivative of g is left in them.

The discrete equations below are not an approximation of these: they are the exact gradient of the discrete
forward pass
```
I_t = W s_t + U x_t + b                   v_{t+1} = F(v_t, I_t)
q_t = resets + G(v_{t+1}) - G(v_t)        s_{k,t+1} = alpha_k s_{k,t} + c_k q_t        o_t = O s_{t+1} + bias
alpha_k = exp(-dt/tau_k)                  c_k = (1 - alpha_k)/(dt rate_unit)
```
With ``p_t`` the cotangent of v_t by way of the later steps, ``l_{k,t}`` that of s_{k,t}, ``L_t = sum_k c_k
l_{k,t}`` that of the charge q_{t-1} and ``xi_t = O^T dloss/do_t``:
```
p_t     = (p_{t+1} + g(v_{t+1}) L_{t+1}) F_v - g(v_t) L_{t+1}
P_t    := p_t + g(v_t) L_t  =  P_{t+1} F_v + g(v_t) (L_t - L_{t+1}),        P_T = g(v_T) L_T
dI_t    = P_{t+1} F_I
l_{k,t} = alpha_k l_{k,t+1} + (W^T dI_t)_k + xi_{k,t-1},                    l_T = xi_{T-1}
grad W  = sum_t dI_t s_t^T,   grad U = sum_t dI_t x_t^T,   grad b = sum_t dI_t
grad O  = sum_t (dloss/do_t) s_{t+1}^T
```
``F_v`` and ``F_I``, the derivatives of one step of the neuron, are all that depends on the neuron.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..connections import Dense
from ..gates import RELEASES, Gate
from ..network import Network
from ..neurons import LIF, NIF, RESETS, AbstractNeuron, AbstractResetNeuron, Split, Theta
from ..parameters import resolve
from ..readouts import LinearReadout
from ..releases import Charge
from ..simulate import simulate
from ..synapses import Exponential


class PaperGradient(NamedTuple):
    """Gradient of the loss in the weights; each has the shape of its parameter."""

    feedforward: Float[Array, "*n channels"]
    recurrent: Float[Array, "*n kinds n"]
    bias: Float[Array, "*n"]
    readout: Float[Array, "out kinds n"]


def nif_step(neuron: NIF, v: Float[Array, "*n"], current: Float[Array, "*n"], dt: float):
    """``F = v + dt I/tau - (resets) (v_th - v_reset)``. The number of resets has no derivative.

    **Returns:** ``(F_v, F_I)``.
    """
    return jnp.ones_like(v), jnp.broadcast_to(dt / neuron.tau_mem, current.shape)


def lif_step(neuron: LIF, v: Float[Array, "*n"], current: Float[Array, "*n"], dt: float):
    """Without a reset ``F = a v + (1 - a) I``, ``a = exp(-dt/tau)``; with one, and ``v_free`` the former,

    ```
    F   = v_reset + (v_free - v_th) R,      R = (I - v_reset)/(I - v_th)
    F_v = a R,    F_I = (1 - a) R + (v_free - v_th) R_I,    R_I = (v_reset - v_th)/(I - v_th)^2
    ```
    R is the saltation factor: the derivative of the crossing time. A grid reset has R = 1, and a wrong
    gradient.

    **Returns:** ``(F_v, F_I)``.
    """
    a = jnp.exp(-dt / neuron.tau_mem)
    free = a * v + (1 - a) * current
    spiked = (free >= neuron.v_th) & (current > neuron.v_th)
    room = jnp.where(spiked, current - neuron.v_th, 1.0)
    ratio = jnp.where(spiked, (current - neuron.v_reset) / room, 1.0)
    ratio_i = jnp.where(spiked, (neuron.v_reset - neuron.v_th) / room**2, 0.0)
    return a * ratio, (1 - a) * ratio + (free - neuron.v_th) * ratio_i


def theta_step(neuron: Theta, v: Float[Array, "*n"], current: Float[Array, "*n"], dt: float):
    """With ``phi = pi (v - 1/2)`` the step turns the vector ``(cos phi, sin phi)`` into ``y``, of which
    phi_hat is the angle:

    ```
    y1 = C cos phi - S sin phi,    y2 = C sin phi + S I cos phi
    C = cos(sqrt(I) h),            S = sin(sqrt(I) h)/sqrt(I)
    F_v = 1/|y|^2                                  (C^2 + I S^2 = 1: the map has determinant 1)
    F_I = (y1 dy2/dI - y2 dy1/dI)/(pi |y|^2)       with dC/dI = -h S/2,  dS/dI = (h C - S)/(2 I)
    ```
    and ``h = 2 pi dt/tau``. The wrap of the circle has no derivative.

    **Returns:** ``(F_v, F_I)``.
    """
    h = 2 * jnp.pi * dt / neuron.tau_mem
    c, s, s_i = _propagator(current, h)
    phi = jnp.pi * (v - 0.5)
    cos, sin = jnp.cos(phi), jnp.sin(phi)
    y1, y2 = c * cos - s * sin, c * sin + s * current * cos
    c_i = -h * s / 2
    y1_i, y2_i = c_i * cos - s_i * sin, c_i * sin + (s + s_i * current) * cos
    norm2 = y1**2 + y2**2
    return 1 / norm2, (y1 * y2_i - y2 * y1_i) / (jnp.pi * norm2)


def _propagator(current, h):
    """C, S and dS/dI, for either sign of I. Near I = 0 by their series in ``z = I h^2``: the closed form of
    dS/dI cancels there."""
    z = current * h**2
    small = jnp.abs(z) < 1e-2
    root = jnp.sqrt(jnp.where(small, 1.0, jnp.abs(z)))
    safe = jnp.where(small, 1.0, current)
    c = jnp.where(current > 0, jnp.cos(root), jnp.cosh(root))
    s = h * jnp.where(current > 0, jnp.sin(root), jnp.sinh(root)) / root
    s_i = (h * c - s) / (2 * safe)
    series_c = 1 - z / 2 * (1 - z / 12 * (1 - z / 30 * (1 - z / 56)))
    series_s = h * (1 - z / 6 * (1 - z / 20 * (1 - z / 42 * (1 - z / 72))))
    # d/dz of 1 - z/6 + z^2/120 - z^3/5040 + z^4/362880 - z^5/39916800, times h dz/dI = h^3.
    series_i = -(h**3) / 6 * (1 - z / 10 * (1 - z / 28 * (1 - z / 54 * (1 - z / 88))))
    return jnp.where(small, series_c, c), jnp.where(small, series_s, s), jnp.where(small, series_i, s_i)


STEPS = {NIF: nif_step, LIF: lif_step, Theta: theta_step}


def gate_density(neuron, gate: Gate, v: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``g(v) = dG/dv``: the zone ends at the threshold, or for the theta neuron is centred on the spike at v
    = 0 = 1."""
    if isinstance(neuron, Theta):
        return gate.density(v - jnp.round(v))
    return gate.density(v - neuron.v_th + gate.support / 2)


def paper_gradient(
    network: Network,
    stimulus: Float[Array, "time channels"],
    readout_cotangent: Float[Array, "time out"],
    *,
    gate: Gate,
    dt: float,
) -> PaperGradient:
    """Gradient of a loss in the weights of one recurrent layer with a linear readout, by the module's
    recursion.

    **Arguments:** `network`: one recurrent layer of NIF, LIF (reset ``"split"``) or Theta neurons, any number
    of synaptic time constants, `LinearReadout`; `stimulus`: ``(time, channels)``; `readout_cotangent`:
    ``dloss/do_t``, ``(time, out)``; `gate`: with charge release; `dt` in ms.

    **Returns:** a `PaperGradient`.

    **Raises:** `ValueError` for any other network or release.

    **Reference:** Huh & Sejnowski 2018, eqs. 8-13; the discrete form is derived in the module's docstring.

    !!! example
        >>> from spikejax import Exponential
        >>> key, synapse = jax.random.key(0), Exponential(10.0)
        >>> network = Network.dense(2, (5,), 1, neuron=LIF(), synapse=synapse, key=key)
        >>> paper_gradient(network, jnp.ones((20, 2)), jnp.ones((20, 1)), gate=Gate(), dt=1.0).recurrent.shape
        (5, 1, 5)
    """
    network = resolve(network)
    neuron, synapse, weight, readout = _parts(network, gate)
    solution = simulate(network, stimulus, gate=gate, dt=dt, save=("v", "activation", "current"))
    start = network.init().layers[0]
    # Of the first step on, and before it.
    v, s = (
        jnp.concatenate([jnp.asarray(first)[None], jnp.asarray(later)])
        for first, later in (
            (start.neuron.v, solution.layers[0].v),
            (start.activation, solution.layers[0].activation),
        )
    )
    step_v, step_i = STEPS[type(neuron)](neuron, v[:-1], jnp.asarray(solution.layers[0].current), dt)
    g = gate_density(neuron, gate, v)
    xi = jnp.einsum("to,okn->tkn", readout_cotangent, readout)
    d_current = _current_costate(synapse, weight, dt, step_v, step_i, g, xi)
    return PaperGradient(
        feedforward=jnp.einsum("tn,tc->nc", d_current, stimulus),
        recurrent=jnp.einsum("tn,tkm->nkm", d_current, s[:-1]),
        bias=jnp.sum(d_current, axis=0),
        readout=jnp.einsum("to,tkn->okn", readout_cotangent, s[1:]),
    )


def _current_costate(
    synapse: Exponential,
    weight: Float[Array, "n kinds n"],
    dt: float,
    step_v: Float[Array, "time n"],
    step_i: Float[Array, "time n"],
    g: Float[Array, "time+1 n"],
    xi: Float[Array, "time kinds n"],
) -> Float[Array, "time n"]:
    """``dI_t``, by the recursion back in time.

    **Arguments:** `weight`: of the recurrence; `step_v`, `step_i`: ``F_v`` and ``F_I``; `g`: gate density at
    the start of every step and at the end of the last; `xi`: costate that the readout gives to ``s_{t+1}``.
    """
    tau = synapse.tau_syn.reshape(synapse.tau_syn.shape + (1,) * (xi.ndim - 1 - synapse.tau_syn.ndim))
    alpha = jnp.exp(-dt / tau)
    c = (1 - alpha) / (dt * synapse.rate_unit)

    def back(costate, x):
        big_p, ell, charge = costate
        step_v, step_i, g, xi_before = x
        d_current = big_p * step_i
        ell = alpha * ell + jnp.einsum("n,nkm->km", d_current, weight) + xi_before
        new_charge = jnp.sum(c * ell, axis=0)
        return (big_p * step_v + g * (new_charge - charge), ell, new_charge), d_current

    charge = jnp.sum(c * xi[-1], axis=0)
    # No readout sees s_0: its xi is 0.
    xi_before = jnp.concatenate([jnp.zeros_like(xi[:1]), xi[:-1]])
    end = (g[-1] * charge, xi[-1], charge)
    return jax.lax.scan(back, end, (step_v, step_i, g[:-1], xi_before), reverse=True)[1]


def _parts(network: Network, gate: Gate) -> tuple[AbstractNeuron, Exponential, Array, Array]:
    """Neuron, synapse, recurrent weights and readout weights of a network that the recursion is for."""
    if len(network.layers) != 1 or network.layers[0].recurrent is None:
        count = len(network.layers)
        raise ValueError(
            f"`paper_gradient` takes one recurrent layer, not {count} layers with or without recurrence"
        )
    (layer,) = network.layers
    neuron, synapse, readout = layer.neuron, layer.synapse, network.readout
    if not isinstance(readout, LinearReadout):
        raise ValueError(f"`paper_gradient` takes a LinearReadout, not a {type(readout).__name__}")
    if type(neuron) not in STEPS:
        known = ", ".join(cls.__name__ for cls in STEPS)
        raise ValueError(f"`paper_gradient` knows the step of {known}, not of {type(neuron).__name__}")
    if layer.reversal is not None or not isinstance(synapse, Exponential):
        raise ValueError("`paper_gradient` takes current-based `Exponential` synapses")
    if isinstance(neuron, AbstractResetNeuron) and not isinstance(neuron.reset, Split):
        raise ValueError(
            f"`paper_gradient` takes reset='split', not {RESETS.name_of(neuron.reset)!r}: "
            "grid resets have another, wrong, derivative"
        )
    if not isinstance(gate.release, Charge):
        raise ValueError(f"`paper_gradient` takes release='charge', not {RELEASES.name_of(gate.release)!r}")
    weights = []
    for connection in (layer.recurrent, readout.connection):
        if not isinstance(connection, Dense):
            raise ValueError(f"`paper_gradient` takes dense connections, not {type(connection).__name__}")
        weights.append(jnp.asarray(connection.weight))
    return neuron, synapse, *weights


__all__ = ["PaperGradient", "gate_density", "lif_step", "nif_step", "paper_gradient", "theta_step"]
