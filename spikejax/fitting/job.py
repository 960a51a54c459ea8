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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..configuration import CurrentClampFit, SoundFit, dump
from ..errors import ConfigError
from ..files import write_atomically, write_json, write_text
from ..jobs.run import check_inside, locked, versions
from ..progress import Progress
from ..training.log import MetricsLog
from .clamp.job import ClampJob
from .sound.job import SoundJob

__all__ = ["fit_run", "show"]


def fit_run(
    config: CurrentClampFit | SoundFit,
    folder: Path,
    *,
    progress: bool = True,
    formats: Sequence[str] = ("png",),
) -> dict[str, Any]:
    """Fit, predict what was left out, write everything into `folder`; returns what ``fit.json`` holds.

    **Arguments:** `formats`: of the figures.

    **Raises:** `ConfigError`, before anything is computed, for a folder that holds a run or cannot be
    written, and for recordings that cannot be used with the configuration; if the fit diverges.
    """
    folder = Path(folder)
    with locked(folder):
        check_inside(folder)
        if (folder / "config.toml").exists():
            raise ConfigError(f"{folder} already holds a run: choose another folder with --out")
        return _fit(config, folder, progress, formats)


def _fit(
    config: CurrentClampFit | SoundFit, folder: Path, progress: bool, formats: Sequence[str]
) -> dict[str, Any]:
    job = _job(config)
    write_text(folder / "config.toml", dump(config))
    write_json(folder / "versions.json", versions())
    begin = time.perf_counter()
    # One step more: predictions, scores and figures.
    with Progress(job.steps + 1, shown=progress) as bar:
        result, arrays = _fitted(job, folder, bar)
        saved: dict[str, Any] = {**arrays}
        result |= {"minutes": round((time.perf_counter() - begin) / 60, 2), "seed": config.seed}
        write_atomically(folder / "model.npz", lambda file: np.savez_compressed(file, **saved))
        write_json(folder / "fit.json", _plain(result))
        with bar.part("drawing figures"):
            job.draw(folder / "figures", formats)
    return result


def _job(config: CurrentClampFit | SoundFit) -> ClampJob | SoundJob:
    try:
        return ClampJob(config) if isinstance(config, CurrentClampFit) else SoundJob(config)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _fitted(
    job: ClampJob | SoundJob, folder: Path, bar: Progress
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Fit with a progress bar and ``metrics.jsonl``."""
    log, done = MetricsLog(folder / "metrics.jsonl"), itertools.count(1)

    def report(stage: str, step: int, loss: float) -> None:
        if not step:  # what comes is compiled first
            bar.phase(stage if stage == "screening" else f"compiling: {stage}")
            return
        bar.phase(stage)
        now = next(done)
        log.write(now, {"stage": stage, "loss": loss})
        bar.advance(loss=f"{loss:.4f}")
        bar.result(f"step {now} of {job.steps}, {stage}: loss {loss:.4f}")
        if now == job.steps:
            bar.phase("predicting, and the curvature for standard errors")

    try:
        return job.fit(report)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    finally:
        log.close()


def show(result: dict[str, Any]) -> str:
    """A fit in lines for the terminal: its scores, and the parameters at the border of their range."""
    if "bits_per_spike" in result:
        lines = [
            f"bits per spike, {part}, {name}: {score['test']:.3f}"
            for part, key in (("test part", "bits_per_spike"), ("test_file", "bits_per_spike_test_file"))
            for name, score in result.get(key, {}).items()
        ]
        return "\n".join(lines + _borders("", result["parameters"], ""))
    lines = [
        f"{name} ({len(s['recorded'])}): count off by {s['count_error']:.2f}, "
        f"within 1 in {s['within_one']:.0%}, Gamma {s['gamma']:.2f}"
        for name, s in result["scores"].items()
    ]
    for kind in ("stochastic", "deterministic"):
        if kind in result:
            remedy = "; another range: --model.ranges.{name} '[{low:g}, {high:g}]'"
            lines += _borders(f"{kind} fit: ", result[kind]["parameters"], remedy)
    return "\n".join(lines)


def _borders(which: str, parameters: dict[str, Any], remedy: str) -> list[str]:
    """A line for each parameter that ended at the border of its range."""
    lines = []
    for name, one in parameters.items():
        if one["at_border"]:
            (low, high), unit = one["range"], f" {one['unit']}" if one["unit"] else ""
            lines.append(
                f"{which}{name} ended at the {one['at_border']} border of its range, "
                f"{one['value']:.4g}{unit} of {low:g} to {high:g}{unit}: "
                "the range holds it there, not the data, so it has no error bar"
                + remedy.format(name=name, low=low, high=high)
            )
    return lines


def _plain(x: Any) -> Any:
    """JSON has no NaN: null."""
    if isinstance(x, dict):
        return {key: _plain(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(value) for value in x]
    if isinstance(x, float | np.floating):
        return float(x) if np.isfinite(x) else None
    return x
