"""What a loss is, and the sum of several."""

import abc
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..component import Component
from ..network import Network
from ..registry import Registry
from ..simulate import Series, Solution
from ..tasks.base import AbstractTask, Trial

LOSSES: Registry["AbstractLoss"] = Registry("loss")
"""The losses that a configuration can name."""


class AbstractLoss(Component):
    """What is minimised: ``loss(solution, trial)`` of one trial, and named scalars to report beside it."""

    targets: ClassVar[frozenset[str]] = frozenset()
    """The kinds of target (`AbstractTask.target`) that it compares the readout with; empty: it asks for none.
    """
    reports: ClassVar[dict[str, bool]] = {}
    """The scalars it reports, and whether a higher one is better."""
    score: ClassVar[str] = "loss"
    """Which of them, or the loss itself, the best checkpoint is chosen by unless another is asked for."""

    @property
    def series(self) -> frozenset[Series]:
        """Time series that the solution has to have saved."""
        return frozenset()

    @abc.abstractmethod
    def __call__(self, solution: Solution, trial: Trial) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The loss of one trial, a scalar, and the scalars beside it.

        **Arguments:** `solution`: of this trial, with the `series` saved; `trial`: what was simulated, with
        its target; where its mask is False, the trial is over.

        **Returns:** the loss; a dictionary with the scalars of `reports`, and for a loss that classifies the
        predicted class of the trial, an integer, as ``"label"``, -1 for a trial without an answer.
        """

    def outputs(self, task: AbstractTask) -> int:
        """How many readouts the network needs for the task."""
        return task.outputs

    def check(self, task: AbstractTask) -> None:
        """Raise `ValueError` if the loss is no measure of the task."""
        if self.targets and task.target not in self.targets:
            raise ValueError(
                f"{type(self).__name__} compares a readout with a {' or '.join(sorted(self.targets))}, "
                f"but the target of {type(task).__name__} is a {task.target}"
            )

    def check_network(self, network: Network) -> None:
        """Raise `ValueError` if the loss asks for what the network does not have; by default it asks for
        nothing."""

    def maximised(self, name: str) -> bool:
        """Whether a higher value of the reported scalar `name` is better; lower is of the loss itself."""
        return self.reports.get(name, False)


class Sum(AbstractLoss):
    """The sum of several losses: the first defines the task of the network, and the others are penalties.
    Reports what the parts report.

    **Raises:** `ValueError` without parts.
    """

    parts: tuple[AbstractLoss, ...]

    def __check_init__(self):
        if not self.parts:
            raise ValueError("Sum: `parts` is empty: give at least one loss")

    @property
    def targets(self) -> frozenset[str]:
        return self.parts[0].targets

    @property
    def reports(self) -> dict[str, bool]:
        return {name: better for part in self.parts for name, better in part.reports.items()}

    @property
    def score(self) -> str:
        return self.parts[0].score

    @property
    def series(self):
        return frozenset[Series]().union(*(part.series for part in self.parts))

    def outputs(self, task):
        return self.parts[0].outputs(task)

    def check(self, task):
        for part in self.parts:
            part.check(task)

    def check_network(self, network):
        for part in self.parts:
            part.check_network(network)

    def __call__(self, solution, trial):
        losses, scalars = [], {}
        for part in self.parts:
            loss, more = part(solution, trial)
            losses, scalars = [*losses, loss], scalars | more
        return sum(losses[1:], start=losses[0]), scalars


def known_class(owner: str, label: Any, classes: int) -> Bool[Array, ""]:
    """Whether a label is a number from 0 to ``classes - 1``.

    Where it is not, what the readout is compared with should be NaN, so that neither the value nor the
    gradient of the trial can be taken for one. (A factor of NaN will not do: XLA drops it beside a mask.)

    **Raises:** `ValueError`, which begins with `owner`, for a label that is absent or no whole number.
    """
    if label is None or not jnp.issubdtype(jnp.result_type(label), jnp.integer):
        kind = "none" if label is None else jnp.result_type(label)
        raise ValueError(f"{owner}: the label of the trial is {kind}, but must be a whole number: its class")
    return (jnp.asarray(label) >= 0) & (jnp.asarray(label) < classes)


def time_weights(solution: Solution, trial: Trial) -> Float[Array, " time"]:
    """Weights that average over the steps of a trial, of the readout's precision."""
    steps, dtype = solution.readout.shape[0], solution.readout.dtype
    if trial.mask is None:
        return jnp.full(steps, 1 / steps, dtype)
    return trial.mask.astype(dtype) / jnp.maximum(trial.mask.sum(), 1).astype(dtype)


__all__ = ["LOSSES", "AbstractLoss", "Sum", "known_class", "time_weights"]
