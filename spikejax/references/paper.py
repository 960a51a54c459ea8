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
q_t = resets + G(v_{t+1}) - G(v_t)        p_t = what of it arrives in its own step
y_t = p_t + q_{t-1} - p_{t-1}             s_{k,t+1} = alpha_k s_{k,t} + c_k y_t        o_t = O s_{t+1} + bias
alpha_k = exp(-dt/tau_k)                  c_k = (1 - alpha_k)/(dt rate_unit)
```
With ``p^v_t`` the cotangent of v_t by way of the later steps, ``l_{k,t}`` that of s_{k,t}, ``L_t = sum_k c_k
l_{k,t+1}`` that of y_t, so that q_t has ``L_{t+1}`` and p_t the difference ``D_t = L_t - L_{t+1}``, and
``xi_t = O^T dloss/do_t``:
```
P_t    := p^v_t + g(v_t) L_t  =  P_{t+1} F_v + (g(v_t) + p_v) D_t,          P_T = 0,  L_T = 0
dI_t    = P_{t+1} F_I + p_I D_t
l_{k,t} = alpha_k l_{k,t+1} + (W^T dI_t)_k + xi_{k,t-1},                    l_T = xi_{T-1}
grad W  = sum_t dI_t s_t^T,   grad U = sum_t dI_t x_t^T,   grad b = sum_t dI_t
grad O  = sum_t (dloss/do_t) s_{t+1}^T
```
``F_v``, ``F_I``, ``p_v`` and ``p_I``, the derivatives of one step of the neuron, are all that depends on the
neuron. D_t is ``-dt dL/dt``: where the paper has the derivative of the costate in time, the step has a
difference, taken where the charge is released.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..connections import Dense
from ..gates import RELEASES, Gate, Level
from ..network import Network
from ..neurons import LIF, NIF, RESETS, AbstractNeuron, AbstractResetNeuron, Split, State, Theta
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


class Step(NamedTuple):
    """Derivatives of one step of a neuron by v and by I; each ``(*n)``."""

    end: tuple[Array, Array]
    """Of ``F``, the v after the step."""
    first: tuple[Array, Array]
    """Of the time t_1 of the first spike, as a fraction of the step."""
    last: tuple[Array, Array]
    """Of the time t_n of the last."""


def nif_step(
    neuron: NIF, v: Float[Array, "*n"], current: Float[Array, "*n"], dt: float, count: Float[Array, "*n"]
) -> Step:
    """With ``h = dt/tau`` and n the number of resets, which has no derivative:

    ```
    F = v + h I - n (v_th - v_reset),  t_1 = (v_th - v)/(h I),  t_n = t_1 + (n - 1) (v_th - v_reset)/(h I)
    ```
    """
    h, rise = dt / neuron.tau_mem, jnp.where(count > 0, current, 1.0) * dt / neuron.tau_mem
    first = (neuron.v_th - v) / rise
    last = first + (count - 1) * (neuron.v_th - neuron.v_reset) / rise
    end = (jnp.ones_like(v), jnp.broadcast_to(h, current.shape))
    return Step(end, (-1 / rise, -first * h / rise), (-1 / rise, -last * h / rise))


def lif_step(
    neuron: LIF, v: Float[Array, "*n"], current: Float[Array, "*n"], dt: float, count: Float[Array, "*n"]
) -> Step:
    """With ``h = dt/tau``, ``a = exp(-h)`` and ``v_free = a v + (1 - a) I``, after n spikes

    ```
    F   = I - (I - v_free) R^n,    R = (I - v_reset)/(I - v_th),    R_I = (v_reset - v_th)/(I - v_th)^2
    F_v = a R^n,    F_I = 1 - a R^n - (I - v_free) n R^(n-1) R_I
    t_1 = log((I - v)/(I - v_th))/h,    t_n = t_1 + (n - 1) log(R)/h
    ```
    R is the saltation factor: the derivative of the crossing time. A grid reset has R = 1, and a wrong
    gradient.
    """
    h = dt / neuron.tau_mem
    a = jnp.exp(-h)
    free = a * v + (1 - a) * current
    spiked = count > 0
    room = jnp.where(spiked, current - neuron.v_th, 1.0)
    ratio = jnp.where(spiked, (current - neuron.v_reset) / room, 1.0)
    ratio_i = jnp.where(spiked, (neuron.v_reset - neuron.v_th) / room**2, 0.0)
    end_i = 1 - a * ratio**count - (current - free) * count * ratio ** (count - 1) * ratio_i
    start = jnp.where(spiked, current - v, 1.0)
    first = (-1 / (h * start), (1 / start - 1 / room) / h)
    last = (first[0], first[1] + (count - 1) * ratio_i / (ratio * h))
    return Step((a * ratio**count, end_i), first, last)


def theta_step(
    neuron: Theta, v: Float[Array, "*n"], current: Float[Array, "*n"], dt: float, count: Float[Array, "*n"]
) -> Step:
    """With ``phi = pi (v - 1/2)`` the step turns the vector ``(cos phi, sin phi)`` into ``y``, of which
    phi_hat is the angle:

    ```
    y1 = C cos phi - S sin phi,    y2 = C sin phi + S I cos phi
    C = cos(sqrt(I) h),            S = sin(sqrt(I) h)/sqrt(I)
    F_v = 1/|y|^2                                  (C^2 + I S^2 = 1: the map has determinant 1)
    F_I = (y1 dy2/dI - y2 dy1/dI)/(pi |y|^2)       with dC/dI = -h S/2,  dS/dI = (h C - S)/(2 I)
    ```
    and ``h = 2 pi dt/tau``. The wrap of the circle has no derivative. With f(v) the speed of the phase, 2/tau
    at a spike, and F over the time t_1 alone,
    ```
    dt t_1,v = -1/f(v),    dt t_1,I = -F_I(t_1) tau/2,    dt t_n = dt t_1 + (n - 1) tau/(2 sqrt(I))
    ```
    """
    spiked = count > 0
    end = _theta_flow(neuron, v, current, jnp.asarray(dt))
    _, path = neuron.travel(State(v), current, dt)
    assert path.first is not None, "a theta neuron knows its time"
    _, by_i = _theta_flow(neuron, v, current, jnp.where(spiked, path.first, 0.5) * dt)
    cosine = jnp.cos(2 * jnp.pi * v)
    speed = ((1 + cosine) + (1 - cosine) * current) / neuron.tau_mem
    first = (-1 / (jnp.where(spiked, speed, 1.0) * dt), -by_i * neuron.tau_mem / (2 * dt))
    turning = jnp.where(count > 1, current, 1.0)
    last = (first[0], first[1] - (count - 1) * neuron.tau_mem / (4 * turning**1.5 * dt))
    return Step(end, first, last)


def _theta_flow(neuron: Theta, v, current, dt):
    """``(F_v, F_I)`` of the theta neuron over `dt`, an array."""
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


def way(gate: Gate, start: Level, end: Level, by_start: Array | float, by_end: Array | float):
    """``A(a, b)``, the `Gate.prompt` of the straight way from a to b, and its derivatives by a and b, given
    the densities there. With ``w = b - a``, ``B = area(b) - area(a) - w G(a)`` and e a hundredth of the zone,

    ```
    A   = (B w + e^2 (G(b) - G(a))/2)/(w^2 + e^2)
    A_a = (2 w A - B - (w^2 + e^2/2) g(a))/(w^2 + e^2)
    A_b = ((G(b) - G(a)) w + B + e^2 g(b)/2 - 2 w A)/(w^2 + e^2)
    ```
    """
    w, charge, square = end.u - start.u, end.charge - start.charge, (0.01 * gate.support) ** 2
    rest, below = end.area - start.area - w * start.charge, w**2 + square
    value = (rest * w + 0.5 * square * charge) / below
    by_a = (2 * w * value - rest - (w**2 + 0.5 * square) * by_start) / below
    by_b = (charge * w + rest + 0.5 * square * by_end - 2 * w * value) / below
    return value, by_a, by_b


def prompt_derivatives(
    neuron: AbstractNeuron, gate: Gate, v: Float[Array, "*n"], current: Float[Array, "*n"], dt: float
) -> tuple[Step, Float[Array, "*n"], Float[Array, "*n"]]:
    """Derivatives of a step, and ``(p_v, p_I)`` of what arrives in it (`AbstractNeuron.released`):

    ```
    p   = A(v, F)                                                                                 n = 0
    p   = t_1 A(v, v_th) + (1 - t_1) (G(v_th) - G(v)) + (1 - t_n) A(v_reset, F)
          + (n - 1) (1 - (t_1 + t_n)/2) + (t_n - t_1) (A(v_reset, v_th) - 1/2)                    n > 0
    ```
    """
    end, path = neuron.travel(State(v), current, dt)
    assert path.first is not None and path.last is not None, "split"  # noqa: PT018
    spiked, n, first, last = path.count > 0, path.count, path.first, path.last
    step = STEPS[type(neuron)](neuron, v, current, dt, n)
    start, stop = neuron.level(gate, State(v)), neuron.level(gate, end)
    top, foot = neuron.ends(gate, path.landed)
    g_start, g_stop = gate_density(neuron, gate, v), gate_density(neuron, gate, end.v)
    _, straight_a, straight_b = way(gate, start, stop, g_start, g_stop)
    climb, climb_a, _ = way(gate, start, top, g_start, 0.0)
    again, _, again_b = way(gate, foot, stop, 0.0, g_stop)
    between, _, _ = way(gate, foot, top, 0.0, 0.0)
    by_first = climb - (top.charge - start.charge) - 0.5 * (n - 1) - (between - 0.5)
    by_last = -again - 0.5 * (n - 1) + (between - 0.5)
    direct = (first * climb_a - (1 - first) * g_start, jnp.zeros_like(v))
    found = []
    for i in range(2):
        after = by_first * step.first[i] + by_last * step.last[i] + (1 - last) * again_b * step.end[i]
        before = straight_b * step.end[i] + (straight_a if i == 0 else 0.0)
        found.append(jnp.where(spiked, direct[i] + after, before))
    return step, *found


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
    step, by_v, by_i = prompt_derivatives(neuron, gate, v[:-1], jnp.asarray(solution.layers[0].current), dt)
    xi = jnp.einsum("to,okn->tkn", readout_cotangent, readout)
    charge = (gate_density(neuron, gate, v[:-1]) + by_v, by_i)
    d_current = _current_costate(synapse, weight, dt, step.end, charge, xi)
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
    step: tuple[Float[Array, "time n"], Float[Array, "time n"]],
    charge: tuple[Float[Array, "time n"], Float[Array, "time n"]],
    xi: Float[Array, "time kinds n"],
) -> Float[Array, "time n"]:
    """``dI_t``, by the recursion back in time.

    **Arguments:** `weight`: of the recurrence; `step`: ``F_v`` and ``F_I``; `charge`: ``g(v_t) + p_v`` and
    ``p_I``; `xi`: costate that the readout gives to ``s_{t+1}``.
    """
    tau = synapse.tau_syn.reshape(synapse.tau_syn.shape + (1,) * (xi.ndim - 1 - synapse.tau_syn.ndim))
    alpha = jnp.exp(-dt / tau)
    c = (1 - alpha) / (dt * synapse.rate_unit)

    def back(costate, x):
        big_p, ell, later = costate
        step, charge, xi_before = x
        arrival = jnp.sum(c * ell, axis=0)
        d_charge = arrival - later
        d_current = big_p * step[1] + charge[1] * d_charge
        ell = alpha * ell + jnp.einsum("n,nkm->km", d_current, weight) + xi_before
        return (big_p * step[0] + charge[0] * d_charge, ell, arrival), d_current

    # No readout sees s_0: its xi is 0. What is pending at the end arrives nowhere.
    xi_before = jnp.concatenate([jnp.zeros_like(xi[:1]), xi[:-1]])
    nothing = jnp.zeros_like(step[0][-1])
    return jax.lax.scan(back, (nothing, xi[-1], nothing), (step, charge, xi_before), reverse=True)[1]


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


__all__ = [
    "PaperGradient",
    "Step",
    "gate_density",
    "lif_step",
    "nif_step",
    "paper_gradient",
    "prompt_derivatives",
    "theta_step",
    "way",
]
