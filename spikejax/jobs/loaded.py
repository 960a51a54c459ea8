"""A run, read back into Python."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..analysis.traces import Traces, record_series
from ..configuration import Config, build_noise, evaluator
from ..errors import ConfigError, input_errors
from ..gates import Gate
from ..losses import AbstractLoss
from ..network import Network
from ..noise import Noise
from ..simulators import AbstractSimulator, ClockDriven
from ..tasks import AbstractTask, Trial
from ..tasks.base import first_trials
from ..training import Evaluation
from ..training.log import read_metrics
from .run import read_summary, trained


class LoadedRun(NamedTuple):
    """A trained network, what it was trained on, and how it went."""

    folder: Path
    network: Network
    """With its trained parameters: those of the best checkpoint."""
    config: Config
    task: AbstractTask
    loss: AbstractLoss
    gate: Gate
    """At the end of training."""
    simulator: AbstractSimulator
    """What runs the network as it was trained at the end; ``run.simulator.hard()`` with a hard threshold, or
    event-driven without pseudospikes."""
    noise: Noise
    """What is random within a trial."""
    dt: float
    """ms."""
    metrics: dict[str, np.ndarray]
    """What was measured in training, by name: an array with an entry for every line of ``metrics.jsonl``, nan
    where there is none. ``metrics["step"]`` counts the updates, ``metrics["held_out/loss"]`` is of the
    evaluations."""
    summary: dict[str, Any] | None
    """Results on the test split, None for a run that has not ended."""

    def trials(self, chosen: int | Sequence[int] = 10, split: str = "test") -> Trial:
        """Trials of a split, as a batch.

        **Arguments:** `chosen`: their numbers, or how many of the first; `split`: ``"test"`` or
        ``"validation"``.

        **Raises:** `ConfigError` for trials or a split that there are not.
        """
        if split not in ("test", "validation"):
            raise ConfigError(f"`split` is {split!r}, but must be 'test' or 'validation'")
        numbers = range(chosen) if isinstance(chosen, int) else [int(k) for k in chosen]
        if not len(numbers) or min(numbers) < 0:
            raise ConfigError(f"`chosen` is {chosen!r}: give how many trials, or their numbers from 0")
        found = first_trials(self.task.parts(split), max(numbers) + 1)
        there = len(found.stimulus)
        if not isinstance(chosen, int) and max(numbers) >= there:
            raise ConfigError(f"`chosen` names trial {max(numbers)}, but the {split} split has {there}")
        index = jnp.asarray([k for k in numbers if k < there])
        return jax.tree.map(lambda x: x[index], found)

    def record(
        self,
        series: str | Iterable[str] = ("v", "release"),
        chosen: int | Sequence[int] = 10,
        split: str = "test",
        *,
        hard: bool = False,
    ) -> Traces:
        """Time series of chosen trials (`spikejax.analysis.record_series`).

        **Arguments:** `series`: names, as ``("v", "release", "current")``, and of state variables;
        `chosen`, `split`: as in `trials`; `hard`: with a hard threshold in the place of the gate.

        **Raises:** `ConfigError` as `trials`, `ValueError` as `record_series`.
        """
        simulator = self.simulator.hard() if hard else self.simulator
        if not isinstance(simulator, ClockDriven):
            raise ConfigError("an event-driven run has no time series: call `simulator` for its spike times")
        return record_series(self.network, self.trials(chosen, split), simulator, series, noise=self.noise)

    def evaluate(self, split: str = "test", *, hard: bool = False) -> Evaluation:
        """How the network does on a split.

        **Raises:** `ConfigError` for a split that there is not.
        """
        if split not in ("test", "validation"):
            raise ConfigError(f"`split` is {split!r}, but must be 'test' or 'validation'")
        simulator = self.simulator.hard() if hard else self.simulator
        return evaluator(self.config)(self.network, self.task.parts(split), simulator)


def load_run(folder: str | Path) -> LoadedRun:
    """The run in a folder that ``spikejax train`` made.

    **Arguments:** `folder`: such as ``"runs/braille"``. A configuration with plugins needs them to be found
    again.

    **Raises:** `ConfigError`, a `ValueError` with one line, for a folder that is no run or is damaged.
    """
    folder = Path(folder)
    with input_errors():
        run, network, config = trained(folder)
    return LoadedRun(
        folder,
        network,
        config,
        run.task,
        run.loss,
        run.final_gate,
        run.simulator,
        build_noise(config),
        config.dt,
        _columns(read_metrics(folder / "metrics.jsonl")),
        read_summary(folder),
    )


def _columns(lines: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The metrics as arrays; what has one value a layer has an axis for them."""
    names = dict.fromkeys(name for line in lines for name in line)
    columns = {}
    for name in names:
        values = [np.asarray(line.get(name), float) for line in lines]
        # A number of layers that changed in between leaves nan, as a missing value does.
        shape = max((x.shape for x in values), key=lambda shape: (len(shape), shape))
        missing = np.full(shape, np.nan)
        columns[name] = np.stack([x if x.shape == shape else missing for x in values])
    return columns


__all__ = ["LoadedRun", "load_run"]
