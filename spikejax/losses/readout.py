"""Losses of the readout of a network."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..component import option
from ..simulate import Solution
from .base import LOSSES, AbstractLoss, known_class, time_weights


@LOSSES.register("cross_entropy")
class CrossEntropy(AbstractLoss):
    """Softmax cross-entropy of readouts averaged over windows of the trial and summed, ``logits = sum_w
    <o_w(t)>_w``.

    The trial is cut into `windows` equal windows, each with readouts of its own, so the network has ``windows
    * classes`` outputs; with one window the logits are the plain time average. Where a mask ends the trial,
    the steps before its end are cut, however many follow; a window that has no step counts nothing.

    **Arguments:** `windows`; `smoothing`: label smoothing, the probability spread over all classes.

    The scalars beside it: `accuracy` (0 or 1) and the predicted `label`.

    A trial whose class is none of the network's has a loss of NaN, with a gradient of NaN: tasks check their
    classes, but a label that is traced can only be found wrong by what becomes of it.

    **Raises:** `ValueError` for fewer than one window, or a smoothing outside [0, 1); from the loss, for a
    class that is no whole number.
    """

    targets: ClassVar = frozenset({"class"})
    reports: ClassVar = {"accuracy": True}
    score: ClassVar = "accuracy"

    windows: int = option(
        1, doc="equal time windows with readouts of their own", at_least=1.0, at_most=10_000, staged=False
    )
    smoothing: float = option(0.0, doc="label smoothing", at_least=0.0, below=1.0)

    def outputs(self, task):
        return self.windows * task.outputs

    def logits(
        self, solution: Solution, mask: Bool[Array, " time"] | None = None
    ) -> Float[Array, " classes"]:
        """One logit per class."""
        o = solution.readout
        steps = o.shape[0]
        if o.shape[1] % self.windows:
            raise ValueError(
                f"CrossEntropy: the network has {o.shape[1]} outputs, which {self.windows} `windows` cannot "
                "share: give it windows times the number of classes"
            )
        o = o.reshape(steps, self.windows, -1)
        there = jnp.ones(steps, bool) if mask is None else mask
        # Of the trial itself: how far its batch was padded is no property of it.
        window = ((jnp.cumsum(there) - 1) * self.windows) // jnp.maximum(there.sum(), 1)
        inside = (window[:, None] == jnp.arange(self.windows)[None]) & there[:, None]
        weight = inside.astype(o.dtype) / jnp.maximum(inside.sum(0, keepdims=True), 1).astype(o.dtype)
        return jnp.einsum("tw,twc->c", weight, o)

    def __call__(self, solution, trial):
        logits = self.logits(solution, trial.mask)
        known = known_class("CrossEntropy", trial.target, logits.shape[-1])
        target = jax.nn.one_hot(trial.target, logits.shape[-1], dtype=logits.dtype)
        target = (1 - self.smoothing) * target + self.smoothing / logits.shape[-1]
        target = jnp.where(known, target, jnp.nan)
        loss = -jnp.sum(target * jax.nn.log_softmax(logits))
        label = jnp.argmax(logits)
        right = (label == trial.target).astype(logits.dtype)
        return loss, {"accuracy": jnp.where(known, right, jnp.nan), "label": label}


@LOSSES.register("squared_error")
class SquaredError(AbstractLoss):
    """``1/2 <|o(t) - y(t)|^2>``, averaged over time (where the mask is True) and summed over outputs.

    The scalar beside it, `error`, is normalised: the squared error over that of a readout that stays at 0.
    For a target that is 0 throughout it is the squared error itself.
    """

    targets: ClassVar = frozenset({"signal"})
    reports: ClassVar = {"error": False}

    def __call__(self, solution, trial):
        if solution.readout.shape != trial.target.shape:
            raise ValueError(
                f"SquaredError: the readout has shape {solution.readout.shape}, but the target "
                f"{trial.target.shape}: both are (time, outputs)"
            )
        weight = time_weights(solution, trial)
        target = trial.target.astype(solution.readout.dtype)
        squared = weight @ jnp.sum((solution.readout - target) ** 2, axis=-1)
        power = weight @ jnp.sum(target**2, axis=-1)
        return 0.5 * squared, {"error": squared / jnp.where(power > 0, power, 1.0)}


@LOSSES.register("response")
class ResponseError(AbstractLoss):
    """Squared error of a readout that owes one pulse, ``<w(t) (o(t) - y(t))^2>/2``, and the decision that the
    pulse expresses.

    The amplitude ``a = sum_t template(t) o(t)`` is 1 for the readout ``+shape``; the answer is "+" above 1/2,
    "-" below -1/2 and "none" between. With `margin` > 0 the softmax cross-entropy of that decision is added,
    ``margin * CE(4 (-a - 1/2), 0, 4 (a - 1/2))``.

    For trials whose target is a `spikejax.tasks.delayed_xor.Response`. The scalars beside it: `squared` (the
    error without the half), `accuracy` and the predicted `label`. The answer (`Trial.label`) is 0 for "-", 1
    for "none" and 2 for "+"; another one makes NaN, as in `CrossEntropy`.

    **Raises:** `ValueError` for a negative margin; from the loss, for an answer that is no whole number.
    """

    targets: ClassVar = frozenset({"response"})
    reports: ClassVar = {"squared": False, "accuracy": True}

    margin: float = option(0.0, doc="weight of the cross-entropy of the decision", at_least=0.0)

    def __call__(self, solution, trial):
        if len(solution.readout) != len(trial.target.signal):
            raise ValueError(
                f"ResponseError: the readout has {len(solution.readout)} steps, the response "
                f"{len(trial.target.signal)}: give both at one time step"
            )
        o, target = solution.readout[:, 0], trial.target
        known = known_class("ResponseError", trial.label, 3)
        squared = jnp.where(known, target.weight, jnp.nan) @ (o - target.signal[:, 0]) ** 2
        amplitude = target.template @ o
        label = jnp.where(amplitude > 0.5, 2, jnp.where(amplitude < -0.5, 0, 1))
        loss = 0.5 * squared
        if self.margin:
            logits = 4 * jnp.stack([-amplitude - 0.5, jnp.zeros_like(amplitude), amplitude - 0.5])
            loss = loss - self.margin * jax.nn.log_softmax(logits)[trial.label]
        right = (label == trial.label).astype(o.dtype)
        return loss, {"squared": squared, "accuracy": jnp.where(known, right, jnp.nan), "label": label}


__all__ = ["CrossEntropy", "ResponseError", "SquaredError"]
