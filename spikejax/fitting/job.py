"""Fits on disk: ``spikejax fit CONFIG``.

```
RUN/config.toml      the resolved configuration
RUN/versions.json    of Python, JAX and the rest
RUN/metrics.jsonl    one line a step: the name of the fit or search, and its loss
RUN/fit.json         parameters, their uncertainty, scores and baselines
RUN/model.npz        sound: the fitted numbers; current clamp: predicted spikes and voltages
RUN/figures/*.png
```
"""

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..configuration import CurrentClampFit, SoundFit, dump
from ..errors import ConfigError
from ..files import write_atomically, write_json, write_text
from ..jobs.run import check_inside, locked, versions
from ..training.log import MetricsLog
from .clamp.job import ClampJob
from .sound.job import SoundJob

__all__ = ["fit_run", "show"]


def fit_run(config: CurrentClampFit | SoundFit, folder: Path, *, progress: bool = True) -> dict[str, Any]:
    """Fit, predict what was left out, write everything into `folder`; returns what ``fit.json`` holds.

    **Raises:** `ConfigError`, before anything is computed, for a folder that holds a run or cannot be
    written, and for recordings that cannot be used with the configuration; if the fit diverges.
    """
    folder = Path(folder)
    with locked(folder):
        check_inside(folder)
        if (folder / "config.toml").exists():
            raise ConfigError(f"{folder} already holds a run: choose another folder with --out")
        return _fit(config, folder, progress)


def _fit(config: CurrentClampFit | SoundFit, folder: Path, progress: bool) -> dict[str, Any]:
    job = _job(config)
    write_text(folder / "config.toml", dump(config))
    write_json(folder / "versions.json", versions())
    begin = time.perf_counter()
    result, arrays = _fitted(job, folder, progress)
    saved: dict[str, Any] = {**arrays}
    result |= {"minutes": round((time.perf_counter() - begin) / 60, 2), "seed": config.seed}
    write_atomically(folder / "model.npz", lambda file: np.savez_compressed(file, **saved))
    write_json(folder / "fit.json", _plain(result))
    job.draw(folder / "figures")
    return result


def _job(config: CurrentClampFit | SoundFit) -> ClampJob | SoundJob:
    try:
        return ClampJob(config) if isinstance(config, CurrentClampFit) else SoundJob(config)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _fitted(
    job: ClampJob | SoundJob, folder: Path, progress: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Fit with a progress bar and ``metrics.jsonl``."""
    log, done = MetricsLog(folder / "metrics.jsonl"), itertools.count(1)
    try:
        with tqdm(total=job.steps, disable=not progress, unit="step") as bar:

            def report(stage: str, step: int, loss: float) -> None:
                log.write(next(done), {"stage": stage, "loss": loss})
                bar.set_postfix_str(f"{stage}: loss {loss:.4f}", refresh=False)
                bar.update()

            return job.fit(report)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    finally:
        log.close()


def show(result: dict[str, Any]) -> str:
    """The scores of a fit in lines for the terminal."""
    if "bits_per_spike" in result:
        return "\n".join(
            f"bits per spike, test part, {name}: {score['test']:.3f}"
            for name, score in result["bits_per_spike"].items()
        )
    return "\n".join(
        f"{name} ({len(s['recorded'])}): count off by {s['count_error']:.2f}, "
        f"within 1 in {s['within_one']:.0%}, Gamma {s['gamma']:.2f}"
        for name, s in result["scores"].items()
    )


def _plain(x: Any) -> Any:
    """JSON has no NaN: null."""
    if isinstance(x, dict):
        return {key: _plain(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(value) for value in x]
    if isinstance(x, float | np.floating):
        return float(x) if np.isfinite(x) else None
    return x
