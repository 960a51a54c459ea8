"""A current-clamp fit from its configuration to its scores, predictions and figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from ...configuration import CurrentClampFit
from ...configuration.making import at
from ...gates import Gate
from ...kernels import KERNELS
from ...plotting import save_figures
from ..ranges import described
from ..recordings import CurrentClamp, Stepped, read_current_clamp, step_current_clamp
from ..scores import SpikeScores, interpolate, mean_scores, spike_scores
from .figures import Shown, clamp_figures
from .fit import ClampFit, ClampFits, ClampPlan, Descent, Report, Search, clamp_standard_errors, fit_clamp
from .loss import Weights, sweeps_to_fit
from .models import MODELS, ClampModel, with_ranges
from .predict import Predicted, predict_deterministic, predict_stochastic

__all__ = ["ClampJob", "plan_of", "split"]


class ClampJob:
    """The recording, the model and the sweeps of a configuration; what `fit` finds is kept for `draw`.

    **Raises:** `ValueError` for a recording that cannot be used with the configuration, a gate that is wider
    than the way from reset to threshold can be, and a plan without a step.
    """

    def __init__(self, config: CurrentClampFit):
        self.config, data = config, config.data
        self.recording = read_current_clamp(data.file, data.recording)
        where = str(data.file)
        self.stepped = at(where, step_current_clamp, self.recording, config.dt, data.resample)
        self.model = with_ranges(MODELS[config.model.kind], config.model.ranges)
        self.left_out, self.kept = split(len(self.recording.sweeps), data.hold_out_first, data.hold_out_every)
        if not len(self.kept) or not sum(len(self.recording.spikes[i]) for i in self.kept):
            raise ValueError(f"{where}: no sweep of {data.recording} with a spike is left for the fit")
        self.sweeps = at(where, sweeps_to_fit, self.stepped, self.kept, data.window)
        self.further = None if data.test_file is None else self._further(data.test_file)
        self.gate = _gate(config, self.model)
        self.plan = plan_of(config)
        self.steps = _steps(self.plan, self.model)
        self.scores: dict[str, SpikeScores] = {}
        self.predicted: dict[str, list[Predicted]] = {}

    def _further(self, path: Path) -> tuple[CurrentClamp, Stepped]:
        """The sweeps of `data.test_file`, which have to go with those that are fitted."""
        own, data = self.recording, self.config.data
        recording = read_current_clamp(path, own.name)
        twice = sorted(set(recording.sweeps.tolist()) & set(own.sweeps.tolist()))
        if twice:
            raise ValueError(f"{path}: sweep {twice[0]} of {recording.name} is in {data.file} too")
        if recording.sample != own.sample or recording.current.shape[1] != own.current.shape[1]:
            raise ValueError(
                f"{path}: sweeps of {recording.name} have another length or sampling step than in {data.file}"
            )
        return recording, at(str(path), step_current_clamp, recording, self.config.dt, data.resample)

    def fit(self, report: Report) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Fit, and predict every sweep.

        **Returns:** what ``fit.json`` holds, and arrays by name: predicted spikes and voltages.
        """
        key = jax.random.key(self.config.seed)
        found = fit_clamp(
            self.model, self.sweeps, self.gate, self.config.dt, self.plan, key=key, report=report
        )
        fits = {kind: fit for kind, fit in found._asdict().items() if fit is not None}
        for kind, fit in fits.items():
            self.predicted[kind] = self._runs(kind, fit, self.stepped)
        self.scores = self._all_scores(fits)
        scores = {name: score._asdict() for name, score in self.scores.items()}
        arrays = {"sweep": self.recording.sweeps}
        for kind, runs in self.predicted.items():
            arrays |= _saved(kind, runs)
        return self._facts() | self._described(found) | {"scores": scores}, arrays

    def _all_scores(self, fits: dict[str, ClampFit]) -> dict[str, SpikeScores]:
        """Scores of the fitted neurons and of the interpolation, on each part of the sweeps."""
        scores = {}
        for kind, fit in fits.items():
            for name, which in {"fitted sweeps": self.kept, "left-out sweeps": self.left_out}.items():
                scores[f"{name}, {kind}"] = self._score(self.recording, self.predicted[kind], which)
            if self.further is not None:
                recording, stepped = self.further
                runs = self._runs(kind, fit, stepped)
                scores[f"sweeps of test_file, {kind}"] = self._score(recording, runs, _every(recording))
        scores["left-out sweeps, interpolated"] = self._interpolated(self.recording, self.left_out)
        if self.further is not None:
            recording, _ = self.further
            scores["sweeps of test_file, interpolated"] = self._interpolated(recording, _every(recording))
        return scores

    def _facts(self) -> dict[str, Any]:
        """What was fitted to what."""
        return {
            "recording": self.recording.name,
            "model": self.config.model.kind,
            "dt_ms": self.config.dt,
            "sampling_ms": self.recording.sample,
            "resample": self.config.data.resample,
            "sweeps": {
                "fitted": self.recording.sweeps[self.kept].tolist(),
                "left_out": self.recording.sweeps[self.left_out].tolist(),
            },
        }

    def _described(self, found: ClampFits) -> dict[str, Any]:
        """The fitted neurons by kind: parameters with their uncertainty, loss and its terms."""
        result = {}
        if found.stochastic is not None:
            errors = clamp_standard_errors(
                self.model, found.stochastic, self.sweeps, self.config.dt, self.plan.weights
            )
            result["stochastic"] = self._fit(found.stochastic, standard_error=errors)
            result["stochastic"]["standard_error"] = "from the inverse Hessian of the stochastic fit's loss"
        if found.deterministic is not None:
            result["deterministic"] = self._fit(found.deterministic)
        return result

    def _fit(self, fit: ClampFit, **errors: dict[str, float]) -> dict[str, Any]:
        return {
            "parameters": described(self.model.ranges, fit.values, spread=fit.spread, **errors),
            "spread": f"standard deviation over the {fit.good} best starts",
            "loss": fit.loss,
            "loss_terms": fit.parts,
            "losses": fit.losses,
        }

    def _runs(self, kind: str, fit: ClampFit, stepped: Stepped) -> list[Predicted]:
        every = _every(stepped)
        if kind == "stochastic":
            key = jax.random.fold_in(jax.random.key(self.config.seed), 2)
            return predict_stochastic(self.model, fit.values, stepped, every, self.config.samples, key=key)
        return [predict_deterministic(self.model, fit.values, stepped, every, self.gate)]

    def _duration(self) -> float:
        return self.recording.current.shape[1] * self.recording.sample

    def _score(self, recording: CurrentClamp, runs: list[Predicted], which: np.ndarray) -> SpikeScores:
        recorded, window = tuple(recording.spikes[i] for i in which), self.config.coincidence
        own = [
            spike_scores(recorded, tuple(run.spikes[i] for i in which), self._duration(), window=window)
            for run in runs
        ]
        return mean_scores(own)

    def _interpolated(self, recording: CurrentClamp, which: np.ndarray) -> SpikeScores:
        own = self.recording
        amount = np.concatenate([own.current[self.kept].mean(axis=1), recording.current[which].mean(axis=1)])
        kept = np.arange(len(self.kept))
        recorded = tuple(recording.spikes[i] for i in which)
        spikes = tuple(own.spikes[i] for i in self.kept) + recorded
        counts, times = interpolate(amount, spikes, np.arange(len(kept), len(amount)), kept)
        return spike_scores(recorded, times, self._duration(), window=self.config.coincidence, counts=counts)

    def draw(self, folder: Path, formats: Sequence[str]) -> None:
        """Write the figures of what `fit` found into `folder`, in these `formats`."""
        shown = Shown(
            name=f"{self.recording.name}, {self.config.model.kind}",
            recording=self.recording,
            predicted=self.predicted,
            dt=self.config.dt,
            kept=self.kept,
            left_out=self.left_out,
            interpolated=self.scores["left-out sweeps, interpolated"].predicted,
        )
        save_figures(folder, clamp_figures(shown), formats)


def plan_of(config: CurrentClampFit) -> ClampPlan:
    """How a configuration wants the neuron to be fitted."""
    fit, gate = config.fit, config.gate
    weights = Weights(
        anchor=fit.deterministic.anchor_weight,
        trains=fit.deterministic.trains_weight,
        counts=fit.deterministic.counts_weight,
        sigma=fit.sigma,
        tau=fit.deterministic.tau,
    )
    return ClampPlan(
        draws=fit.draws,
        starts=fit.starts,
        keep=fit.keep,
        stochastic=Descent(fit.stochastic.steps, fit.stochastic.learning_rate),
        search=Search(fit.search.rounds, fit.search.step),
        deterministic=Descent(fit.deterministic.steps, fit.deterministic.learning_rate),
        sharpness=(gate.sharpness, gate.sharpness_end),
        weights=weights,
    )


def _gate(config: CurrentClampFit, model: ClampModel) -> Gate:
    width = config.gate.width
    if model.resets and width > model.ranges["drop"].low * (1 + 1e-6):
        raise ValueError(
            f"gate.width of {width:g} mV is more than model.ranges.drop, the way from reset to threshold, "
            f"can be ({model.ranges['drop'].low:g} mV)"
        )
    return Gate(KERNELS.make(config.gate.kernel), width=jnp.asarray(width))


def _steps(plan: ClampPlan, model: ClampModel) -> int:
    """Steps of the descents and rounds of the search, together."""
    steps = plan.stochastic.steps * model.resets
    if plan.deterministic.steps:
        steps += plan.search.rounds + plan.deterministic.steps
    if not steps:
        raise ValueError(
            "fit.stochastic.steps and fit.deterministic.steps leave this model no step to fit in"
        )
    return steps


def _saved(kind: str, runs: list[Predicted]) -> dict[str, np.ndarray]:
    """Counts of all runs; spikes and voltage of the first."""
    counts = np.array([[len(times) for times in run.spikes] for run in runs])
    return {
        f"{kind}_spike_counts": counts,
        f"{kind}_spike_times_ms": np.concatenate([*runs[0].spikes, []]),
        f"{kind}_v_mV": runs[0].voltage.astype(np.float32),
    }


def _every(recording: CurrentClamp | Stepped) -> Int[np.ndarray, " sweeps"]:
    return np.arange(len(recording.sweeps))


def split(
    sweeps: int, first: int, every: int
) -> tuple[Int[np.ndarray, " left_out"], Int[np.ndarray, " kept"]]:
    """Positions of the sweeps left out, every `every`-th from `first` but not the last, and of the rest."""
    left_out = np.arange(first, max(sweeps - 1, 0), every)
    return left_out, np.setdiff1d(np.arange(sweeps), left_out)
