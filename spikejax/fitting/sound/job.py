"""A fit to sound from its configuration to its scores, predictions and figures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...config import SoundFit
from ..clamp import figures
from ..recordings import read_sound_spikes
from .fit import fit_sound, prepare_sound, sound_scores, uncertainty


class SoundRun:
    """The recording of a configuration, in bins."""

    def __init__(self, config: SoundFit):
        self.config, score = config, config.score
        recording = read_sound_spikes(config.data.file)
        self.data = prepare_sound(
            recording, config.dt, score.bin, config.data.train, config.model.filter, config.data.resample
        )
        self.sampling, self.steps = recording.sample, config.fit.steps

    def fit(self, report: Callable[[str, int, float], None]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        fit, score = self.config.fit, self.config.score
        found = fit_sound(
            self.data,
            ridge=fit.ridge,
            steps=fit.steps,
            samples=fit.samples,
            key=jax.random.key(self.config.seed),
            report=lambda step, loss: report("likelihood", step, loss),
        )
        errors = uncertainty(found.model, self.data, fit.ridge)
        self.found, self.scores = found, sound_scores(self.data, found, score.glm_stimulus, score.glm_history)
        units = found.model.units()
        result = {
            "dt_ms": self.config.dt,
            "sampling_ms": self.sampling,
            "resample": self.config.data.resample,
            "parameters": {
                n: {"value": float(x), "standard_error": errors[n], "unit": units[n]}
                for n, x in found.model.values.items()
            },
            "standard_error": "from the inverse Hessian of the penalised log-likelihood, with the stimulus filters held fixed",
            "loss_nats_per_spike": found.nats,
            "bits_per_spike": self.scores,
        }
        arrays = {"weight": np.asarray(found.model.weight), "bias": np.asarray(found.model.bias)}
        return result, arrays | {"with_history": found.with_history, "stimulus_only": found.stimulus_only}

    def draw(self, folder: Path) -> None:
        figures.sound_figures(folder, self.data, self.found, self.scores)
