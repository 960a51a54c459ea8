"""Synapses: the released charge, filtered."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .parameters import as_parameter, resolve


class Exponential(eqx.Module):
    """Exponential synapses with one or several time constants side by side, ``tau_k ds_k/dt = -s_k + rho(t)/rate_unit``.

    rho is the rate of release. Within a step it is constant, ``rho = q/dt``, and the step is exact for that:
    ```
    s_k' = exp(-dt/tau_k) s_k + (1 - exp(-dt/tau_k)) q/(dt rate_unit)
    ```
    A spike delivers the area ``1/rate_unit`` at any dt (``q/tau_k`` instead would deliver 27 % too much at dt = tau/2).
    An activation of 1 is a steady rate of `rate_unit`.

    **Arguments:** `tau_syn`: time constants, shape ``(kinds,)`` or ``(kinds, *n)`` (ms); a float makes one kind;
    `rate_unit`: spikes per ms at which the activation is 1; with 1 the activation is in 1/ms, as in the paper.

    **Reference:** Huh & Sejnowski 2018, eq. 3; the increment is derived here.
    """

    tau_syn: Float[Array, "kinds *n"]
    rate_unit: float = eqx.field(static=True)

    def __init__(self, tau_syn=(10.0,), rate_unit: float = 1.0):
        tau = as_parameter(tau_syn)
        self.tau_syn = jax.tree.map(jnp.atleast_1d, tau)
        self.rate_unit = rate_unit

    @property
    def kinds(self) -> int:
        """Number of time constants."""
        return resolve(self.tau_syn).shape[0]

    def init(self, shape: tuple[int, ...], dtype=None) -> Float[Array, "kinds *n"]:
        """Activation at the start of a trial: 0."""
        return jnp.zeros((self.kinds, *shape), dtype or jnp.result_type(float))

    def step(self, activation: Float[Array, "kinds *n"], release: Float[Array, "*n"], dt: float) -> Float[Array, "kinds *n"]:
        """Activation after a step of `dt` ms in which the charge `release` was released."""
        tau = self.tau_syn.reshape(self.tau_syn.shape + (1,) * (activation.ndim - self.tau_syn.ndim))
        decay = jnp.exp(-dt / tau)
        return decay * activation + (1 - decay) / (dt * self.rate_unit) * release


__all__ = ["Exponential"]
