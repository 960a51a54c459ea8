"""How good a gradient is: its size, its noise over trials, and whether the loss falls as it says."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ..adjoints import AbstractAdjoint
from ..gates import Gate
from ..losses import AbstractLoss
from ..network import Network
from ..parameters import trainable
from ..simulate import simulate
from ..tasks import Trial


class GradientReport(NamedTuple):
    """Of a network's trained parameters on a batch of trials. All scalars."""

    loss: Float[Array, ""]
    norm: Float[Array, ""]
    """Norm of the mean gradient."""
    noise: Float[Array, ""]
    """Variance over trials, summed over parameters, relative to the squared norm: the batch size at which noise and gradient are equally
    large."""
    agreement: Float[Array, ""]
    """Secant of the loss along the gradient over what the gradient promises, ``(L(p + e g) - L(p - e g))/(2 e |g|^2)``: 1 for the exact
    gradient of a smooth loss, near 0 for one that the loss does not follow."""


def gradient_report(
    network: Network,
    trials: Trial,
    loss: AbstractLoss,
    gate: Gate,
    *,
    dt: float,
    adjoint: AbstractAdjoint,
    fields: tuple[str, ...] = ("weight", "bias"),
    span: float = 1e-3,
) -> GradientReport:
    """Gradient of the mean loss in the parameters named by `fields`, one trial at a time.

    **Arguments:** `trials`: a batch; `dt` in ms; `adjoint`: how the gradient is computed, which may bias it; `span`: length of a half of
    the secant relative to the norm of the parameters.
    """
    params, fixed = eqx.partition(network, trainable(network, fields))

    def objective(params, trial):
        network = eqx.combine(params, fixed)
        solution = simulate(network, trial.stimulus, gate=gate, dt=dt, adjoint=adjoint, mask=trial.mask, save=loss.series)
        return loss(solution, trial, dt)[0]

    def one(total, trial):
        value, gradient = jax.value_and_grad(objective)(params, trial)
        squared = optax.tree.norm(gradient, squared=True)
        # A running sum rather than all gradients at once, which a large network has no room for.
        return jax.tree.map(jnp.add, total, (value, gradient, squared)), None

    zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params), jnp.zeros(()))
    count = trials.stimulus.shape[0]
    total, _ = jax.lax.scan(one, jax.tree.map(lambda x: x.astype(jnp.result_type(float)), zero), trials)
    value, mean, squared = jax.tree.map(lambda x: x / count, total)
    norm = optax.tree.norm(mean)
    step = span * optax.tree.norm(params) / jnp.where(norm > 0, norm, 1.0)
    moved = lambda sign: jax.tree.map(lambda p, g: p + sign * step * g, params, mean)
    at = lambda params: jnp.mean(jax.lax.map(lambda trial: objective(params, trial), trials))
    rise = at(moved(1.0)) - at(moved(-1.0))
    safe = jnp.where(norm > 0, norm**2, 1.0)
    return GradientReport(value, norm, (squared - norm**2) / safe, rise / (2 * step * safe))


__all__ = ["GradientReport", "gradient_report"]
