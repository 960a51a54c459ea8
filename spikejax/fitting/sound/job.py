"""A fit to sound from its configuration to its scores, predictions and figures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...configuration import SoundFit
from ...configuration.making import at
from ...plotting import save_figures
from ..ranges import described
from ..recordings import read_sound_spikes
from .figures import sound_figures
from .fit import (
    BinnedSound,
    FittedSound,
    Score,
    check_filters,
    fit_sound,
    predict_sound,
    prepare_sound,
    sound_scores,
    sound_standard_errors,
)
from .model import RANGES

__all__ = ["SoundJob"]


class SoundJob:
    """The recording of a configuration, in bins; what `fit` finds is kept for `draw`.

    **Raises:** `ValueError` for a recording that cannot be used with the configuration.
    """

    def __init__(self, config: SoundFit):
        self.config, score = config, config.score
        recording = read_sound_spikes(config.data.file)
        self.data = at(
            str(config.data.file),
            prepare_sound,
            recording,
            config.dt,
            score.bin,
            config.data.train,
            config.model.filter,
            config.data.resample,
        )
        trained = self.data.train * self.data.sub * self.data.dt
        at("score", check_filters, trained, stimulus=score.glm_stimulus, history=score.glm_history)
        self.sampling, self.steps = recording.sample, config.fit.steps
        self.further = None if config.data.test_file is None else self._further(config.data.test_file)
        self.found: FittedSound | None = None
        self.scores: dict[str, Score] = {}

    def _further(self, path: Path) -> BinnedSound:
        """The trials of `data.test_file`, as those that are fitted."""
        config, recording = self.config, read_sound_spikes(path)
        options = config.dt, config.score.bin, 0.0, config.model.filter, config.data.resample
        return at(str(path), prepare_sound, recording, *options, self.data.basis)

    def fit(self, report: Callable[[str, int, float], None]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Fit, and predict every bin.

        **Returns:** what ``fit.json`` holds, and arrays by name: the fitted numbers and predicted
        probabilities.
        """
        fit, score = self.config.fit, self.config.score
        found = self.found = fit_sound(
            self.data,
            ridge=fit.ridge,
            steps=fit.steps,
            samples=fit.samples,
            key=jax.random.key(self.config.seed),
            report=lambda step, loss: report("likelihood", step, loss),
        )
        errors = sound_standard_errors(found.model, self.data, fit.ridge)
        values = {name: float(x) for name, x in found.model.values.items()}
        lengths = score.glm_stimulus, score.glm_history
        self.scores = sound_scores(self.data, found, *lengths)
        more = {} if self.further is None else self._predicted(found, self.further, lengths)
        result = {
            "dt_ms": self.config.dt,
            "sampling_ms": self.sampling,
            "resample": self.config.data.resample,
            "parameters": described(RANGES, values, standard_error=errors),
            "standard_error": (
                "from the inverse Hessian of the penalised log-likelihood, with the stimulus filters held "
                "fixed"
            ),
            "loss_nats_per_spike": found.nats,
            "bits_per_spike": {name: score._asdict() for name, score in self.scores.items()},
            **more,
        }
        arrays = {"weight": np.asarray(found.model.weight), "bias": np.asarray(found.model.bias)}
        return result, arrays | {"with_history": found.with_history, "stimulus_only": found.stimulus_only}

    def _predicted(
        self, found: FittedSound, further: BinnedSound, lengths: tuple[float, float]
    ) -> dict[str, Any]:
        """Scores on the trials of `data.test_file`."""
        key = jax.random.fold_in(jax.random.key(self.config.seed), 1)
        predicted = predict_sound(found.model, further, samples=self.config.fit.samples, key=key)
        there = further, FittedSound(found.model, found.nats, *predicted)
        scores = sound_scores(self.data, found, *lengths, further=there)
        return {"bits_per_spike_test_file": {name: score._asdict() for name, score in scores.items()}}

    def draw(self, folder: Path, formats: Sequence[str]) -> None:
        """Write the figures of what `fit` found into `folder`, in these `formats`.

        **Raises:** `ValueError` before the fit.
        """
        if self.found is None:
            raise ValueError("nothing is fitted yet: call `fit` first")
        save_figures(folder, sound_figures(self.data, self.found, self.scores), formats)
