"""A current-clamp fit from its configuration to its scores, predictions and figures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...config import CurrentClampFit
from ...gates import Gate
from ..recordings import CurrentClamp, Stepped, read_current_clamp, step_current_clamp
from ..scores import SpikeScores, interpolate, mean_scores, spike_scores
from . import figures
from .fit import ClampFit, ClampFits, Plan, fit_clamp, uncertainty
from .loss import Weights, sweeps_to_fit
from .models import MODELS, ClampModel
from .predict import Predicted, predict_clamp, predict_noisy

WIDTH = {"hodgkin_huxley": 30.0}
"""Width of the active zone in mV by kind of model, where it is not `USUAL_WIDTH`: the way up of a spike that
is part of the equations."""
USUAL_WIDTH = 1.5
"""Less than the least distance from reset to threshold: a neuron that waits inside the zone would be counted
as half a spike."""


class ClampRun:
    """The recording, the model and the sweeps of a configuration."""

    def __init__(self, config: CurrentClampFit):
        self.config, data = config, config.data
        self.recording = read_current_clamp(data.file, data.recording)
        self.stepped = step_current_clamp(self.recording, config.dt, data.resample)
        self.model = with_ranges(MODELS[config.model.kind], config.model.ranges)
        self.left_out, self.kept = split(len(self.recording.sweeps), data.hold_out_first, data.hold_out_every)
        if not len(self.kept) or not sum(len(self.recording.spikes[i]) for i in self.kept):
            raise ValueError(f"recording {data.recording}: no sweep with a spike is left for the fit")
        self.sweeps = sweeps_to_fit(self.stepped, self.kept, data.window)
        self.further = None if data.test_file is None else self._further(data.test_file)
        width = config.gate.width or WIDTH.get(config.model.kind, USUAL_WIDTH)
        if self.model.resets and width > self.model.ranges["drop"].low * (1 + 1e-6):
            raise ValueError(
                f"gate.width of {width:g} mV is more than model.ranges.drop, the way from reset to threshold, can be "
                f"({self.model.ranges['drop'].low:g} mV)"
            )
        self.gate = Gate(config.gate.kernel, width=width)
        fit = config.fit
        self.steps = fit.driven_steps * self.model.resets + (
            fit.search_rounds + fit.free_steps if fit.free_steps else 0
        )
        if not self.steps:
            raise ValueError("fit.free_steps and fit.driven_steps leave this model no step to fit in")

    def _further(self, path: Path) -> tuple[CurrentClamp, Stepped]:
        recording = read_current_clamp(path, self.recording.name)
        twice = sorted(set(recording.sweeps.tolist()) & set(self.recording.sweeps.tolist()))
        if twice:
            raise ValueError(
                f"{path}: sweep {twice[0]} of {recording.name} is in {self.config.data.file} too"
            )
        if (
            recording.sample != self.recording.sample
            or recording.current.shape[1] != self.recording.current.shape[1]
        ):
            raise ValueError(
                f"{path}: sweeps of {recording.name} have another length or sampling step than in {self.config.data.file}"
            )
        return recording, step_current_clamp(recording, self.config.dt, self.config.data.resample)

    def fit(self, report: Callable[[str, int, float], None]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        fit, gate, weights = self.config.fit, self.config.gate, self._weights()
        sharpness = (gate.sharpness, gate.sharpness_end)
        steps, rates = (
            (fit.driven_steps, fit.search_rounds, fit.free_steps),
            (fit.driven_rate, fit.search_step, fit.free_rate),
        )
        plan = Plan(fit.draws, fit.starts, fit.keep, *steps, *rates, sharpness, weights)
        key = jax.random.key(self.config.seed)
        found = fit_clamp(self.model, self.sweeps, self.gate, self.config.dt, plan, key=key, report=report)
        return self.judge(found)

    def _weights(self) -> Weights:
        fit = self.config.fit
        return Weights(fit.driven_weight, fit.trains_weight, fit.counts_weight, fit.sigma, fit.tau)

    def judge(self, found: ClampFits) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Scores of the fitted models and of the interpolation."""
        self.scores: dict[str, SpikeScores] = {}
        self.predicted: dict[str, list[Predicted]] = {}
        fits = {kind: fit for kind, fit in found._asdict().items() if fit is not None}
        arrays = {"sweep": self.recording.sweeps}
        for kind, fit in fits.items():
            runs = self.predicted[kind] = self._runs(kind, fit, self.stepped)
            self.scores |= {
                f"{name}, {kind}": self._score(self.recording, runs, which)
                for name, which in self._parts().items()
            }
            arrays |= _saved(kind, runs)
            if self.further is not None:
                recording, stepped = self.further
                own = self._runs(kind, fit, stepped)
                self.scores[f"sweeps of test_file, {kind}"] = self._score(
                    recording, own, np.arange(len(recording.sweeps))
                )
        self.scores["left-out sweeps, interpolated"] = self._interpolated(self.recording, self.left_out)
        if self.further is not None:
            recording, _ = self.further
            self.scores["sweeps of test_file, interpolated"] = self._interpolated(
                recording, np.arange(len(recording.sweeps))
            )
        result = {
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
        result |= {kind: self._described(fit) for kind, fit in fits.items()}
        if found.noisy is not None:
            errors = uncertainty(self.model, found.noisy, self.sweeps, self.config.dt, self._weights())
            for name, entry in result["noisy"]["parameters"].items():
                entry["standard_error"] = errors[name]
            result["noisy"]["standard_error"] = "from the inverse Hessian of the first stage's loss"
        return result | {"scores": {name: score._asdict() for name, score in self.scores.items()}}, arrays

    def _parts(self) -> dict[str, np.ndarray]:
        return {"fitted sweeps": self.kept, "left-out sweeps": self.left_out}

    def _runs(self, kind: str, fit: ClampFit, stepped: Stepped) -> list[Predicted]:
        every = np.arange(len(stepped.sweeps))
        if kind == "noisy":
            key = jax.random.fold_in(jax.random.key(self.config.seed), 2)
            return predict_noisy(self.model, fit.values, stepped, every, self.config.samples, key=key)
        return [predict_clamp(self.model, fit.values, stepped, every, self.gate)]

    def _described(self, fit: ClampFit) -> dict[str, Any]:
        parameters = {
            name: {"value": value, "spread": fit.spread[name], "unit": self.model.ranges[name].unit}
            for name, value in fit.values.items()
        }
        spread = f"standard deviation over the {fit.good} best starts"
        return {
            "parameters": parameters,
            "spread": spread,
            "loss": fit.loss,
            "loss_terms": fit.parts,
            "losses": fit.losses,
        }

    def _duration(self) -> float:
        return self.recording.current.shape[1] * self.recording.sample

    def _score(self, recording: CurrentClamp, runs: list[Predicted], which) -> SpikeScores:
        recorded, window = tuple(recording.spikes[i] for i in which), self.config.coincidence
        own = [
            spike_scores(recorded, tuple(run.spikes[i] for i in which), self._duration(), window=window)
            for run in runs
        ]
        return mean_scores(own)

    def _interpolated(self, recording: CurrentClamp, which) -> SpikeScores:
        own = self.recording
        amount = np.concatenate([own.current[self.kept].mean(axis=1), recording.current[which].mean(axis=1)])
        kept = np.arange(len(self.kept))
        spikes = tuple(own.spikes[i] for i in self.kept) + tuple(recording.spikes[i] for i in which)
        counts, times = interpolate(amount, spikes, np.arange(len(kept), len(amount)), kept)
        recorded = tuple(recording.spikes[i] for i in which)
        return spike_scores(recorded, times, self._duration(), window=self.config.coincidence, counts=counts)

    def draw(self, folder: Path) -> None:
        baseline = self.scores["left-out sweeps, interpolated"].predicted
        name = f"{self.recording.name}, {self.config.model.kind}"
        figures.clamp_figures(
            folder, name, self.recording, self.predicted, self.config.dt, self.kept, self.left_out, baseline
        )


def _saved(kind: str, runs: list[Predicted]) -> dict[str, np.ndarray]:
    """Counts of all runs; spikes and voltage of the first."""
    counts = np.array([[len(times) for times in run.spikes] for run in runs])
    return {
        f"{kind}_spike_counts": counts,
        f"{kind}_spike_times_ms": np.concatenate([*runs[0].spikes, []]),
        f"{kind}_v_mV": runs[0].voltage.astype(np.float32),
    }


def split(sweeps: int, first: int, every: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the sweeps left out, every `every`-th from `first` but not the last, and of the rest."""
    left_out = np.arange(first, max(sweeps - 1, 0), every)
    return left_out, np.setdiff1d(np.arange(sweeps), left_out)


def with_ranges(model: ClampModel, ranges: dict[str, tuple[float, float]]) -> ClampModel:
    """`model` with other physical ranges.

    **Raises:** `ValueError` for a parameter that it does not have, and a range that is empty or that its unit
    forbids.
    """
    new = dict(model.ranges)
    for name, (low, high) in ranges.items():
        if name not in new:
            raise ValueError(
                f"model.ranges.{name}: the model has no such parameter: choose from {', '.join(new)}"
            )
        if low >= high or (new[name].log and low <= 0):
            raise ValueError(
                f"model.ranges.{name}: {low:g} to {high:g} {new[name].unit} is no range of this parameter"
            )
        new[name] = new[name]._replace(low=low, high=high)
    return model._replace(ranges=new)
