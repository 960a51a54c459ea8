"""How good a gradient is: its size, its noise over trials, and whether the loss falls as it says."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from ..adjoints import Costate
from ..losses import AbstractLoss
from ..network import Network
from ..noise import Noise
from ..parameters import trainable
from ..simulators import AbstractSimulator, ClockDriven
from ..tasks import Trial
from ..training.step import run_trial


class GradientReport(NamedTuple):
    """The gradient in a network's trained parameters on a batch of trials, in scalars."""

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
    simulator: AbstractSimulator,
    *,
    fields: tuple[str, ...] = ("weight", "bias"),
    span: float = 1e-3,
    noise: Noise | None = None,
) -> GradientReport:
    """Gradient of the mean loss in the parameters named by `fields`, one trial at a time.

    **Arguments:** `trials`: a batch; `simulator`: its adjoint may bias the gradient; `span`: length of a half
    of the secant relative to the norm of the parameters; `noise`: what is random within a trial.
    """
    params, fixed = eqx.partition(network, trainable(network, fields))
    simulators = (simulator,)
    if isinstance(simulator, ClockDriven) and not simulator.adjoint.exact:
        simulators = (simulator, simulator.clocked(simulator.gate, simulator.dt, Costate()))

    def objective(params, trial, simulator):
        solution = run_trial(eqx.combine(params, fixed), trial, simulator, save=loss.series, noise=noise)
        return loss(solution, trial)[0]

    means = _mean_gradients(objective, params, trials, simulators)
    own, exact = means[0], means[-1]
    norm, exact_norm = optax.tree.norm(own.gradient), optax.tree.norm(exact.gradient)
    step = span * optax.tree.norm(params) / _positive(norm)

    def at(sign: float):
        moved = jax.tree.map(lambda p, g: p + sign * step * g, params, own.gradient)
        return jnp.mean(jax.lax.map(lambda trial: objective(moved, trial, simulator), trials))

    rise = at(1.0) - at(-1.0)
    cosine = jnp.asarray(optax.tree.vdot(own.gradient, exact.gradient)) / _positive(norm * exact_norm)
    return GradientReport(
        loss=own.loss,
        norm=norm,
        noise=(own.square - norm**2) / _positive(norm**2),
        agreement=rise / (2 * step * _positive(norm**2)),
        alignment=cosine,
        exact_norm=exact_norm,
        exact_noise=(exact.square - exact_norm**2) / _positive(exact_norm**2),
    )


class _Means(NamedTuple):
    """Over the trials."""

    loss: Float[Array, ""]
    gradient: PyTree
    square: Float[Array, ""]
    """Squared norm of the gradient of a trial."""


def _mean_gradients(
    objective: Callable[[PyTree, Trial, AbstractSimulator], Float[Array, ""]],
    params: PyTree,
    trials: Trial,
    simulators: tuple[AbstractSimulator, ...],
) -> tuple[_Means, ...]:
    """The means for each of the simulators."""

    def one(totals, trial):
        found = []
        for simulator in simulators:
            value, gradient = jax.value_and_grad(objective)(params, trial, simulator)
            found.append(_Means(value, gradient, optax.tree.norm(gradient, squared=True)))
        # A running sum rather than all gradients at once, which a large network has no room for.
        return jax.tree.map(jnp.add, totals, tuple(found)), None

    zero = _Means(jnp.zeros(()), jax.tree.map(jnp.zeros_like, params), jnp.zeros(()))
    zero = jax.tree.map(lambda x: x.astype(jnp.result_type(float)), zero)
    totals, _ = jax.lax.scan(one, (zero,) * len(simulators), trials)
    return jax.tree.map(lambda x: x / trials.stimulus.shape[0], totals)


def _positive(x: Float[Array, ""]) -> Float[Array, ""]:
    """A divisor that is not 0."""
    return jnp.where(x > 0, x, 1.0)


__all__ = ["GradientReport", "gradient_report"]
