"""Losses of one trial; `jax.vmap` over trials and average."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .simulate import Series, Solution
from .tasks.base import Trial


class AbstractLoss(eqx.Module):
    """``loss(solution, trial, dt)`` of one trial: the loss, and named scalars to report beside it."""

    @property
    def series(self) -> frozenset[Series]:
        """Time series that the solution has to have saved."""
        return frozenset()

    @abc.abstractmethod
    def __call__(
        self, solution: Solution, trial: Trial, dt: float
    ) -> tuple[Float[Array, ""], dict[str, Array]]: ...


class SquaredError(AbstractLoss):
    """``1/2 <|o(t) - y(t)|^2>``, averaged over time (where the mask is True) and summed over outputs.

    The scalar beside it, `error`, is normalised: the squared error over that of a readout that stays at 0.
    """

    def __call__(self, solution, trial, dt):
        del dt
        weight = _time_weight(trial.mask, solution.readout.shape[0], solution.readout.dtype)
        squared = weight @ jnp.sum((solution.readout - trial.target) ** 2, axis=-1)
        power = weight @ jnp.sum(trial.target**2, axis=-1)
        return 0.5 * squared, {"error": squared / power}


class ResponseError(AbstractLoss):
    """Squared error of a readout that owes one pulse, ``<w(t) (o(t) - y(t))^2>/2``, and the decision that the
    pulse expresses.

    The amplitude ``a = sum_t template(t) o(t)`` is 1 for the readout ``+shape``; the answer is "+" above 1/2,
    "-" below -1/2 and "none" between. With `margin` > 0 the softmax cross-entropy of that decision is added,
    ``margin * CE(4 (-a - 1/2), 0, 4 (a - 1/2))``.

    For trials whose target is a `spikejax.tasks.delayed_xor.Response`. The scalars beside it: `squared` (the
    error without the half), `accuracy` and the predicted `label`.
    """

    margin: float = eqx.field(static=True, default=0.0)

    def __call__(self, solution, trial, dt):
        del dt
        o, target = solution.readout[:, 0], trial.target
        squared = target.weight @ (o - target.signal[:, 0]) ** 2
        amplitude = target.template @ o
        label = jnp.where(amplitude > 0.5, 2, jnp.where(amplitude < -0.5, 0, 1))
        loss = 0.5 * squared
        if self.margin:
            logits = 4 * jnp.stack([-amplitude - 0.5, jnp.zeros_like(amplitude), amplitude - 0.5])
            loss = loss - self.margin * jax.nn.log_softmax(logits)[trial.label]
        return loss, {"squared": squared, "accuracy": (label == trial.label).astype(o.dtype), "label": label}


class CrossEntropy(AbstractLoss):
    """Softmax cross-entropy of readouts averaged over windows of the trial and summed, ``logits = sum_w
    <o_w(t)>_w``.

    The trial is cut into `windows` equal windows, each with readouts of its own, so the network has ``windows
    * classes`` outputs; with one window the logits are the plain time average. A mask restricts every
    average; a window that lies after the trial's end counts nothing.

    **Arguments:** `windows`; `smoothing`: label smoothing, the probability spread over all classes.

    The scalars beside it: `accuracy` (0 or 1) and the predicted `label`.
    """

    windows: int = eqx.field(static=True, default=1)
    smoothing: float = eqx.field(static=True, default=0.0)

    def logits(
        self, solution: Solution, mask: Bool[Array, " time"] | None = None
    ) -> Float[Array, " classes"]:
        """One logit per class."""
        o = solution.readout
        steps = o.shape[0]
        o = o.reshape(steps, self.windows, -1)
        window = (jnp.arange(steps) * self.windows) // steps
        inside = window[:, None] == jnp.arange(self.windows)
        if mask is not None:
            inside = inside & mask[:, None]
        weight = inside / jnp.maximum(inside.sum(0), 1)
        return jnp.einsum("tw,twc->c", weight.astype(o.dtype), o)

    def __call__(self, solution, trial, dt):
        del dt
        logits = self.logits(solution, trial.mask)
        target = jax.nn.one_hot(trial.target, logits.shape[-1], dtype=logits.dtype)
        target = (1 - self.smoothing) * target + self.smoothing / logits.shape[-1]
        loss = -jnp.sum(target * jax.nn.log_softmax(logits))
        label = jnp.argmax(logits)
        return loss, {"accuracy": (label == trial.target).astype(logits.dtype), "label": label}


class RateBand(AbstractLoss):
    """Firing-rate regulariser ``weight <relu(low - r)^2 + relu(r - high)^2>`` over the neurons of all layers,
    rates r in Hz.

    Zero for rates within the band; keeps silent neurons trainable and loud ones in bounds.

    **Arguments:** `weight` (per Hz^2); `low`, `high` (Hz).
    """

    weight: float = eqx.field(static=True)
    low: float = eqx.field(static=True, default=0.0)
    high: float = eqx.field(static=True, default=100.0)

    def __call__(self, solution, trial, dt):
        rates = _rates(solution, trial, dt)
        outside = jax.nn.relu(self.low - rates) ** 2 + jax.nn.relu(rates - self.high) ** 2
        return self.weight * jnp.mean(outside), {}


class ActivityCost(AbstractLoss):
    """``weight/2 <sum_j s_j(t)^2>``, s the activation of each neuron's last synapse, summed over neurons,
    averaged over time.

    The last time constant is meant to be the slowest, whose activation is the smoothest measure of the rate.
    """

    weight: float = eqx.field(static=True)

    @property
    def series(self):
        return frozenset({"activation"})

    def __call__(self, solution, trial, dt):
        del dt
        per_step = sum(
            jnp.sum(record.activation[:, -1].reshape(len(solution.readout), -1) ** 2, axis=1)
            for record in solution.layers
        )
        return 0.5 * self.weight * (_time_weight(trial.mask, *per_step.shape, per_step.dtype) @ per_step), {}


class LogRate(AbstractLoss):
    """``weight/2 mean_j (log(r_j + 1) - log(target + 1))^2`` over the neurons' rates r (Hz): keeps every
    neuron in the game, with the same force on a rate of half and of twice the `target` (Hz)."""

    weight: float = eqx.field(static=True)
    target: float = eqx.field(static=True, default=20.0)

    def __call__(self, solution, trial, dt):
        # A smooth count can be slightly negative: a neuron that starts within the zone and leaves it
        # downwards.
        distance = jnp.log1p(jnp.maximum(_rates(solution, trial, dt), 0.0)) - math.log1p(self.target)
        return 0.5 * self.weight * jnp.mean(distance**2), {}


class LowVoltage(AbstractLoss):
    """``weight/2 <mean_j relu(low - v_j(t))^2>``: calls back neurons that inhibition has driven far below
    `low` (in units of v)."""

    weight: float = eqx.field(static=True)
    low: float = eqx.field(static=True, default=-1.0)

    @property
    def series(self):
        return frozenset({"v"})

    def __call__(self, solution, trial, dt):
        del dt
        v = jnp.concatenate(
            [record.v.reshape(len(solution.readout), -1) for record in solution.layers], axis=1
        )
        per_step = jnp.mean(jax.nn.relu(self.low - v) ** 2, axis=1)
        return 0.5 * self.weight * (_time_weight(trial.mask, *per_step.shape, per_step.dtype) @ per_step), {}


class WholeCharge(AbstractLoss):
    """``weight <mean_j 4 c_j (1 - c_j)>``, c the charge that neuron j has released so far, without its whole
    spikes: the fraction of time that neurons spend in the active zone.

    A smooth gate lets a network compute with partial charge, from a voltage that lingers in the zone or turns
    around there. A hard threshold does not, so this is what is lost with it. Neurons are taken to start below
    the zone.
    """

    weight: float = eqx.field(static=True)

    @property
    def series(self):
        return frozenset({"release"})

    def __call__(self, solution, trial, dt):
        del dt
        release = jnp.concatenate(
            [record.release.reshape(len(solution.readout), -1) for record in solution.layers], axis=1
        )
        charge = jnp.cumsum(release, axis=0)
        part = charge - jax.lax.stop_gradient(jnp.floor(charge))
        per_step = jnp.mean(4 * part * (1 - part), axis=1)
        return self.weight * (_time_weight(trial.mask, *per_step.shape, per_step.dtype) @ per_step), {}


class Sum(AbstractLoss):
    """The sum of several losses; reports what the parts report."""

    parts: tuple[AbstractLoss, ...]

    @property
    def series(self):
        return frozenset().union(*(part.series for part in self.parts))

    def __call__(self, solution, trial, dt):
        total, scalars = jnp.zeros(()), {}
        for part in self.parts:
            loss, more = part(solution, trial, dt)
            total, scalars = total + loss, scalars | more
        return total, scalars


def _rates(solution: Solution, trial: Trial, dt: float) -> Float[Array, " neurons"]:
    """Rates of the neurons of all layers in the trial, Hz."""
    steps = solution.readout.shape[0] if trial.mask is None else jnp.maximum(trial.mask.sum(), 1)
    return jnp.concatenate([c.reshape(-1) for c in solution.counts]) * (1e3 / (steps * dt))


def _time_weight(mask, steps: int, dtype) -> Float[Array, " time"]:
    """Weights that average over the steps of a trial."""
    if mask is None:
        return jnp.full(steps, 1 / steps, dtype)
    return mask.astype(dtype) / jnp.maximum(mask.sum(), 1).astype(dtype)


__all__ = [
    "AbstractLoss",
    "ActivityCost",
    "CrossEntropy",
    "LogRate",
    "LowVoltage",
    "RateBand",
    "ResponseError",
    "SquaredError",
    "Sum",
    "WholeCharge",
]
