"""How good a gradient is: its size, its noise over trials, and whether the loss falls as it says."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ..adjoints import AbstractAdjoint, Costate
from ..gates import Gate
from ..losses import AbstractLoss
from ..network import Network
from ..noise import Noise
from ..parameters import trainable
from ..simulators import ClockDriven
from ..tasks import Trial
from ..training.step import run_trial


class GradientReport(NamedTuple):
    """Of a network's trained parameters on a batch of trials. All scalars."""

    loss: Float[Array, ""]
    norm: Float[Array, ""]
    """Norm of the mean gradient."""
    noise: Float[Array, ""]
    """Variance over trials, summed over parameters, relative to the squared norm: the batch size at which
    noise and gradient are equally large."""
    agreement: Float[Array, ""]
    """Secant of the loss along the gradient over what the gradient promises, ``(L(p + e g) - L(p - e g))/(2 e
    |g|^2)``: 1 for the exact gradient of a smooth loss, near 0 for one that the loss does not follow."""
    alignment: Float[Array, ""]
    """Cosine between the mean gradient and that without damping and clipping of the costate, whose bias it
    shows."""
    exact_norm: Float[Array, ""]
    exact_noise: Float[Array, ""]
    """Norm and noise without damping and clipping; with neither, these are the same gradient's."""


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
    noise: Noise | None = None,
) -> GradientReport:
    """Gradient of the mean loss in the parameters named by `fields`, one trial at a time.

    **Arguments:** `trials`: a batch; `dt` in ms; `adjoint`: how the gradient is computed, which may bias it;
    `span`: length of a half of the secant relative to the norm of the parameters; `noise`: what is random
    within a trial.
    """
    params, fixed = eqx.partition(network, trainable(network, fields))
    adjoints = (adjoint,) if adjoint.exact else (adjoint, Costate())

    def objective(params, trial, adjoint):
        network = eqx.combine(params, fixed)
        simulator = ClockDriven(gate, dt, adjoint)
        return loss(run_trial(network, trial, simulator, save=loss.series, noise=noise), trial)[0]

    def one(totals, trial):
        found = []
        for adjoint in adjoints:
            value, gradient = jax.value_and_grad(objective)(params, trial, adjoint)
            found.append((value, gradient, optax.tree.norm(gradient, squared=True)))
        # A running sum rather than all gradients at once, which a large network has no room for.
        return jax.tree.map(jnp.add, totals, tuple(found)), None

    zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params), jnp.zeros(()))
    zero = jax.tree.map(lambda x: x.astype(jnp.result_type(float)), zero)
    count = trials.stimulus.shape[0]
    totals, _ = jax.lax.scan(one, (zero,) * len(adjoints), trials)
    (value, mean, squared), (_, exact, exact_squared) = jax.tree.map(
        lambda x: x / count, (totals[0], totals[-1])
    )
    norm, exact_norm = optax.tree.norm(mean), optax.tree.norm(exact)

    def positive(x):
        return jnp.where(x > 0, x, 1.0)

    step = span * optax.tree.norm(params) / positive(norm)
    moved = lambda sign: jax.tree.map(lambda p, g: p + sign * step * g, params, mean)
    at = lambda params: jnp.mean(jax.lax.map(lambda trial: objective(params, trial, adjoint), trials))
    rise = at(moved(1.0)) - at(moved(-1.0))
    return GradientReport(
        loss=value,
        norm=norm,
        noise=(squared - norm**2) / positive(norm**2),
        agreement=rise / (2 * step * positive(norm**2)),
        alignment=jnp.asarray(optax.tree.vdot(mean, exact)) / positive(norm * exact_norm),
        exact_norm=exact_norm,
        exact_noise=(exact_squared - exact_norm**2) / positive(exact_norm**2),
    )


__all__ = ["GradientReport", "gradient_report"]
