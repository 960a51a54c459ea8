"""Fitting the receptor neuron to sound recordings: maximum likelihood of the spikes in bins, by gradient; and
its scores against a GLM."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from ...stimulus import steps_in
from ..escape import binned_hazard, hazard, log_likelihood_of_spikes, mean_response
from ..glm import fit_glm
from ..laplace import standard_errors
from ..ranges import prior
from ..recordings import Resample, SoundSpikes, bin_spikes, samples_per_step
from ..scores import bits_per_spike
from .model import Basis, SoundModel, features, make_basis

__all__ = [
    "BinnedSound",
    "FittedSound",
    "Score",
    "Segments",
    "fit_sound",
    "penalised_loss",
    "predict_sound",
    "prepare_sound",
    "segments",
    "sound_scores",
    "sound_standard_errors",
]

FLOOR = 1e-9
"""Expected spikes in a bin below which a recorded one is no less likely."""
WARM_UP = 500.0
"""Part before each training segment that only brings the state up, ms."""
SEGMENT = 500.0
"""Length of a training segment, ms: segments run side by side."""


class BinnedSound(NamedTuple):
    """A recording on the grid of bins and steps."""

    dt: float
    """Time step, ms."""
    sub: int
    """Steps in a bin."""
    train: int
    """Bins to fit; the rest are for testing."""
    stimulus: Float[np.ndarray, "trials bins"]
    """Mean amplitude in each bin."""
    features: Float[np.ndarray, "features steps trials"]
    """Linear inputs of the model (see `spikejax.fitting.sound.model.features`)."""
    spikes: Float[np.ndarray, "trials bins"]
    """1 for a bin with a spike."""
    steps: Float[np.ndarray, "bins sub trials"]
    """Spikes in each step."""
    basis: Basis
    """Of the stimulus filters."""


def prepare_sound(
    recording: SoundSpikes,
    dt: float,
    width: float,
    train: float,
    length: float,
    resample: Resample,
    basis: Basis | None = None,
) -> BinnedSound:
    """The recording averaged over steps of `dt` ms, in bins of `width` ms, of which the fraction `train` is
    fitted.

    **Arguments:** `length` of the stimulus filters, ms; `resample`: what to do if `dt` is not the sampling
    step; `basis`: of the recording that was fitted, for a further one of which nothing is (`train` of 0).

    **Raises:** `ValueError` if dt is no whole multiple of the sampling step (see `samples_per_step`) or does
    not divide the bin, and if training or test part has no spike.
    """
    m = samples_per_step(recording.sample, dt, resample, "the stimulus")
    sub = round(steps_in(width, dt, "the bin"))
    if sub < 1 or abs(width / dt - sub) > 1e-6:
        raise ValueError(f"dt of {dt:g} ms does not divide the bin of {width:g} ms")
    bins = recording.stimulus.shape[1] // (m * sub)
    if bins < 10:
        raise ValueError(f"the stimulus of {recording.duration:g} ms has fewer than 10 bins of {width:g} ms")
    steps = bins * sub
    averaged = recording.stimulus[:, : steps * m].reshape(-1, steps, m).mean(axis=2)
    spikes = (bin_spikes(recording.spikes, bins, width) > 0).astype(float)
    fine = (bin_spikes(recording.spikes, steps, dt) > 0).astype(float)
    trained = round(train * bins)
    parts = {"test": spikes[:, trained:]}
    if basis is None:
        check_filters(width * trained, stimulus=length)
        parts["training"] = spikes[:, :trained]
        basis = make_basis(averaged, dt, length, trained * sub)
    for name, part in parts.items():
        if not part.any():
            raise ValueError(f"the {name} part of the recording has no spike")
    return BinnedSound(
        dt=dt,
        sub=sub,
        train=trained,
        stimulus=averaged.reshape(-1, bins, sub).mean(axis=2),
        features=features(basis, averaged),
        spikes=spikes,
        steps=fine.T.reshape(bins, sub, -1),
        basis=basis,
    )


def check_filters(longest: float, **lengths: float) -> None:
    """Raise `ValueError` for a filter that is longer than the training part, all in ms."""
    for name, length in lengths.items():
        if length > longest:
            raise ValueError(
                f"a {name} filter of {length:g} ms is longer than the training part of {longest:g} ms"
            )


def _rate(model: SoundModel):
    """The escape rate of a height above the threshold, which is in units of the escape zone's width."""
    return functools.partial(hazard, width=1.0, rate=model.values["rate"])


def _hazards(
    model: SoundModel,
    x: Float[Array, "features steps n"],
    spikes: Float[Array, "bins sub n"],
    dt: float,
) -> Float[Array, "bins n"]:
    """Expected escapes in every bin, given the recorded spikes before it."""
    current = model.current(x).reshape(spikes.shape)
    return binned_hazard(model.neuron(), current, spikes, _rate(model), dt)


class Segments(NamedTuple):
    """Parts of the training bins, side by side."""

    features: Float[Array, "features steps n"]
    steps: Float[Array, "bins sub n"]
    """Spikes in each step."""
    spikes: Float[Array, "bins n"]
    """1 for a bin with a spike."""
    counted: Float[Array, "bins n"]
    """1 for a bin whose likelihood counts, 0 for one that only brings the state up."""


def segments(data: BinnedSound) -> Segments:
    """Training bins cut into segments with a warm-up before each."""
    width = data.dt * data.sub
    length, warm = round(SEGMENT / width), round(WARM_UP / width)
    xs, steps, held, counted = [], [], [], []
    for begin in range(0, data.train, length):
        # A segment at the start has an empty warm-up: it runs on into the next ones uncounted.
        bins = np.arange(warm + length) + max(begin - warm, 0)
        rows = np.minimum(bins, data.train - 1)
        fine = (rows[:, None] * data.sub + np.arange(data.sub)).reshape(-1)
        xs.append(data.features[:, fine])
        steps.append(data.steps[rows])
        held.append(data.spikes[:, rows].T)
        inside = (bins >= begin) & (bins < min(begin + length, data.train))
        counted.append(np.broadcast_to(inside[:, None], held[-1].shape))

    def stack(parts):
        return jnp.asarray(np.concatenate(parts, axis=-1), jnp.result_type(float))

    return Segments(stack(xs), stack(steps), stack(held), stack(counted))


def penalised_loss(model: SoundModel, data: Segments, dt: float, ridge: float) -> Float[Array, ""]:
    """Loss of `fit_sound`, nats per spike.

    **Arguments:** `dt` in ms; `ridge`: weight of the penalty on the filters.
    """
    expected = _hazards(model, data.features, data.steps, dt)
    each = log_likelihood_of_spikes(expected, data.spikes, FLOOR)
    penalty = 0.5 * ridge * jnp.sum(model.weight**2) + prior(model.raw)
    return (penalty - jnp.sum(each * data.counted)) / jnp.sum(data.spikes * data.counted)


def sound_standard_errors(model: SoundModel, data: BinnedSound, ridge: float) -> dict[str, float]:
    """Standard errors of the neuron's parameters, in their units, with the stimulus filters held fixed.

    By `standard_errors` of the penalised log-likelihood in bias and parameters; NaN for those that the data
    do not hold.

    **Arguments:** `ridge`: that of the fit.
    """
    parts = segments(data)
    spikes = jnp.sum(parts.spikes * parts.counted)
    rebuilt = lambda fitted: SoundModel(model.weight, *fitted)
    return standard_errors(
        lambda fitted, parts: penalised_loss(rebuilt(fitted), parts, data.dt, ridge) * spikes,
        (model.bias, model.raw),
        parts,
        lambda fitted: rebuilt(fitted).values,
    )


class FittedSound(NamedTuple):
    """A fitted receptor neuron and its predictions."""

    model: SoundModel
    nats: float
    """Training loss: minus the log-likelihood, with the penalties, per spike, nats."""
    with_history: Float[np.ndarray, "trials bins"]
    """Probability of a spike in every bin, given the stimulus and the recorded spikes before the bin."""
    stimulus_only: Float[np.ndarray, "trials bins"]
    """The same given the stimulus alone."""


def fit_sound(
    data: BinnedSound,
    *,
    ridge: float,
    steps: int,
    samples: int,
    key: PRNGKeyArray,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> FittedSound:
    """Maximum likelihood of the spikes in bins, given stimulus and earlier spikes, by L-BFGS on the exact
    gradient.

    ```
    loss = (-sum_k [y_k log(1 - exp(-H_k)) - (1 - y_k) H_k] + ridge |f|^2/2 + PRIOR |u|^2/2)/N
    ```
    H from `binned_hazard`. The prediction from the stimulus alone is that of the same model, averaged over
    `samples` free runs.

    **Arguments:** `steps`: most iterations; `key` of the free runs; `report`: called after every iteration
    with its number and the loss, and before the first with 0 and NaN.
    """
    # Here for start-up time: scipy.optimize is slow to import.
    from scipy.optimize import minimize

    parts = segments(data)
    start, unravel = ravel_pytree(SoundModel.start(len(data.features)))
    gradient = jax.jit(
        jax.value_and_grad(lambda vector, parts: penalised_loss(unravel(vector), parts, data.dt, ridge))
    )
    done = 0
    report(0, math.nan)

    def objective(vector):
        value, slope = gradient(jnp.asarray(vector, start.dtype), parts)
        return float(value), np.asarray(slope, np.float64)

    def callback(intermediate_result):
        nonlocal done
        done += 1
        report(done, float(intermediate_result.fun))

    result: Any = minimize(
        objective,
        np.asarray(start, np.float64),
        jac=True,
        method="L-BFGS-B",
        callback=callback,
        options={"maxiter": steps, "maxcor": 20, "ftol": 1e-7},
    )
    model = unravel(jnp.asarray(result.x, start.dtype))
    return FittedSound(model, float(result.fun), *predict_sound(model, data, samples=samples, key=key))


def predict_sound(
    model: SoundModel, data: BinnedSound, *, samples: int, key: PRNGKeyArray
) -> tuple[Float[np.ndarray, "trials bins"], Float[np.ndarray, "trials bins"]]:
    """Probability of a spike in every bin: with the recorded spikes before it, and from the stimulus alone
    (`samples` free runs)."""
    x, fine = (jnp.asarray(a, jnp.result_type(float)) for a in (data.features, data.steps))
    with_history = -jnp.expm1(-eqx.filter_jit(_hazards)(model, x, fine, data.dt))

    @eqx.filter_jit
    def alone(model, x):
        current = model.current(x).reshape(fine.shape)
        return mean_response(model.neuron(), current, _rate(model), data.dt, samples, key=key)

    return np.asarray(with_history).T, np.asarray(alone(model, x)).T


class Score(NamedTuple):
    """Bits per spike of one prediction."""

    test: float
    """On the test part, all trials together."""
    trials: list[float]
    """On the test part of each trial."""
    train: float
    """On the training part, NaN of a recording that was not fitted."""


def sound_scores(
    data: BinnedSound,
    fit: FittedSound,
    stimulus_ms: float,
    history_ms: float,
    further: tuple[BinnedSound, FittedSound] | None = None,
) -> dict[str, Score]:
    """Bits per spike of the model and of the GLM, from the stimulus alone and with the spikes before.

    **Arguments:** `stimulus_ms`, `history_ms`: lengths of the GLM's filters; `further`: a recording on the
    basis of `data`, and the fit with its predictions there, which are scored in the place of those of `data`;
    the GLM is that of `data` all the same.
    """
    scored, fit = (data, fit) if further is None else further
    width = data.dt * data.sub
    check_filters(width * data.train, stimulus=stimulus_ms, history=history_ms)
    lags, past = round(stimulus_ms / width), round(history_ms / width)

    def glm(history_lags):
        fitted = fit_glm(
            data.stimulus, data.spikes, data.train, stimulus_lags=lags, history_lags=history_lags
        )
        return fitted.probability(scored.stimulus, scored.spikes)

    def score(p):
        held, train = scored.spikes, scored.train
        return Score(
            test=bits_per_spike(p[:, train:], held[:, train:]),
            trials=[bits_per_spike(a[train:], b[train:]) for a, b in zip(p, held, strict=True)],
            train=bits_per_spike(p[:, :train], held[:, :train]) if train else math.nan,
        )

    predictions = {
        "model, stimulus alone": fit.stimulus_only,
        "glm, stimulus alone": glm(0),
        "model, with history": fit.with_history,
        "glm, with history": glm(past),
    }
    return {name: score(p) for name, p in predictions.items()}
