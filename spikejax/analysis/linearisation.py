"""The stability of a trajectory: how small differences of the state grow from step to step."""

import os
from concurrent.futures import ThreadPoolExecutor

import equinox as eqx
import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Complex, Float

from ..adjoints import Autodiff
from ..network import Network, NetworkState
from ..simulators import ClockDriven
from ..stimulus import Stimulus, as_array


@eqx.filter_jit
def jacobians(
    network: Network,
    stimulus: Stimulus,
    simulator: ClockDriven,
    state: NetworkState | None = None,
) -> Float[Array, "time state state"]:
    """Jacobian of the one-step map (membrane potentials, activations and pending charge of all layers) at
    every step of one trial.

    The reset is part of the map: where a neuron spikes, its row carries the derivative through the reset.

    **Arguments:** `simulator`: with a smooth gate; `state`: before the first step.
    """
    state = network.init() if state is None else state
    z, unravel = ravel_pytree(state)
    # Forward mode, which the other adjoints do not have.
    simulator = ClockDriven(simulator.gate, simulator.dt, Autodiff())

    def step(z, x):
        return ravel_pytree(simulator(network, x[None], state=unravel(z)).state)[0]

    def both(z, x):
        return step(z, x), jax.jacfwd(step)(z, x)

    return jax.lax.scan(both, z, as_array(stimulus))[1]


def one_step_eigenvalues(
    jacobian: Float[np.ndarray, "time state state"],
) -> Complex[np.ndarray, "time state"]:
    """Eigenvalues of the one-step map at every step: size 1 is a direction that neither grows nor shrinks,
    and a real value x < 1 one that decays with the time constant ``-dt/log x``."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(np.linalg.eigvals, np.asarray(jacobian, float)))
    return np.stack(found).astype(complex)


def growth(
    jacobian: Float[np.ndarray, "time state state"], dt: float, directions: int | None = None
) -> Float[np.ndarray, " directions"]:
    """Finite-time Lyapunov exponents over the whole stretch, 1/s, largest first: the mean rates at which
    differences of the state grow, from the QR factors of the product of the one-step maps.

    **Arguments:** `directions`: number of the exponents, the first that are found, which are about the
    largest; default: all.

    **Reference:** Eckmann & Ruelle, Rev. Mod. Phys. 57, 1985.
    """
    basis = np.eye(jacobian.shape[1])[:, :directions]
    total = np.zeros(basis.shape[1])
    for one in np.asarray(jacobian, float):
        basis, r = np.linalg.qr(one @ basis)
        total += np.log(np.maximum(np.abs(np.diag(r)), 1e-300))
    return np.sort(total / (len(jacobian) * dt * 1e-3))[::-1]


__all__ = ["growth", "jacobians", "one_step_eigenvalues"]
