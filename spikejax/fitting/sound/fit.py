"""Fitting the receptor neuron to sound recordings: maximum likelihood of the spikes in bins, by gradient; and
its scores against a GLM."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from scipy.optimize import minimize

from ..escape import binned_hazard, mean_response
from ..glm import fit_glm
from ..laplace import standard_errors
from ..recordings import Resample, SoundSpikes, binned, samples_per_step
from ..scores import bits_per_spike
from .model import SoundModel, features, make_basis

PRIOR = 0.1
"""Weight of ``u^2/2`` of the unbounded neuron parameters: a normal prior that keeps them off the ends of
their ranges."""
WARM_UP = 500.0
"""Part before each training segment that only brings the state up, ms."""
SEGMENT = 500.0
"""Length of a training segment, ms: segments run side by side."""


class SoundData(NamedTuple):
    """A recording on the grid of bins and steps."""

    dt: float
    sub: int
    """Steps in a bin."""
    train: int
    """Bins to fit; the rest are for testing."""
    stimulus: Float[np.ndarray, "trials bins"]
    """Mean amplitude in each bin."""
    features: Float[np.ndarray, "features steps trials"]
    spikes: Float[np.ndarray, "trials bins"]
    """1 for a bin with a spike."""
    steps: Float[np.ndarray, "bins sub trials"]
    """Spikes in each step."""
    knots: Float[np.ndarray, " knots"]
    """Lags of the stimulus filters, ms."""


def prepare_sound(
    recording: SoundSpikes, dt: float, width: float, train: float, length: float, resample: Resample
) -> SoundData:
    """The recording averaged over steps of `dt` ms, in bins of `width` ms, of which the fraction `train` is
    fitted.

    **Arguments:** `length` of the stimulus filters, ms.

    **Raises:** `ValueError` if dt is no whole multiple of the sampling step (see `samples_per_step`) or does
    not divide the bin, and if training or test part has no spike.
    """
    m = samples_per_step(recording.sample, dt, resample, "the stimulus")
    sub = round(width / dt)
    if sub < 1 or abs(width / dt - sub) > 1e-6:
        raise ValueError(f"dt of {dt:g} ms does not divide the bin of {width:g} ms")
    bins = recording.stimulus.shape[1] // (m * sub)
    if bins < 10:
        raise ValueError(f"the stimulus of {recording.duration:g} ms has fewer than 10 bins of {width:g} ms")
    steps = bins * sub
    averaged = recording.stimulus[:, : steps * m].reshape(-1, steps, m).mean(axis=2)
    spikes = (binned(recording.spikes, bins, width) > 0).astype(float)
    fine = (binned(recording.spikes, steps, dt) > 0).astype(float)
    trained = round(train * bins)
    for part, name in ((spikes[:, :trained], "training"), (spikes[:, trained:], "test")):
        if not part.any():
            raise ValueError(f"the {name} part of the recording has no spike")
    basis = make_basis(averaged, dt, length, trained * sub)
    return SoundData(
        dt,
        sub,
        trained,
        averaged.reshape(-1, bins, sub).mean(axis=2),
        features(basis, averaged),
        spikes,
        fine.T.reshape(bins, sub, -1),
        basis.knots,
    )


def _hazards(model: SoundModel, x, spikes, dt):
    bins, sub = spikes.shape[:2]
    current = model.current(x).reshape(bins, sub, *spikes.shape[2:])
    return binned_hazard(model.neuron(), current, spikes, dt, 1.0, model.values["rate"])


def _segments(data: SoundData):
    """Training bins cut into segments with a warm-up before each, side by side: features, spikes by step, and
    by bin with a mask."""
    width = data.dt * data.sub
    length, warm = round(SEGMENT / width), round(WARM_UP / width)
    xs, steps, held, counted = [], [], [], []
    for begin in range(0, data.train, length):
        # A segment at the start has an empty warm-up: it runs on into the next ones uncounted.
        first = max(begin - warm, 0)
        rows = np.minimum(np.arange(first, first + warm + length), data.train - 1)
        fine = (rows[:, None] * data.sub + np.arange(data.sub)).reshape(-1)
        xs.append(data.features[:, fine])
        steps.append(data.steps[rows])
        held.append(data.spikes[:, rows].T)
        inside = (np.arange(first, first + warm + length) >= begin) & (
            np.arange(first, first + warm + length) < min(begin + length, data.train)
        )
        counted.append(np.broadcast_to(inside[:, None], held[-1].shape))
    stack = lambda parts: jnp.asarray(np.concatenate(parts, axis=-1), jnp.result_type(float))
    return stack(xs), stack(steps), stack(held), stack(counted)


def penalised_loss(model: SoundModel, arrays, dt: float, ridge: float) -> Float[Array, ""]:
    """Loss of `fit_sound` on the arrays of `_segments`, nats per spike."""
    x, fine, held, counted = arrays
    expected = _hazards(model, x, fine, dt)
    each = jnp.where(held > 0, jnp.log(-jnp.expm1(-expected) + 1e-9), -expected)
    penalty = 0.5 * ridge * jnp.sum(model.weight**2) + 0.5 * PRIOR * sum(
        jnp.sum(u**2) for u in model.raw.values()
    )
    return (penalty - jnp.sum(each * counted)) / jnp.sum(held * counted)


def uncertainty(model: SoundModel, data: SoundData, ridge: float) -> dict[str, float]:
    """Standard errors of the neuron's parameters, in their units, with the stimulus filters held fixed.

    By `standard_errors` of the penalised log-likelihood in bias and parameters; NaN for those that the data
    do not hold.
    """
    arrays = _segments(data)
    vector, unravel = ravel_pytree((model.bias, model.raw))
    rebuild = lambda vector: SoundModel(model.weight, *unravel(vector))
    spikes = jnp.sum(arrays[2] * arrays[3])
    slope = jax.jit(
        jax.grad(lambda vector, arrays: penalised_loss(rebuild(vector), arrays, data.dt, ridge) * spikes)
    )
    values = lambda vector: jnp.stack([rebuild(vector).values[name] for name in model.raw])
    return dict(
        zip(
            model.raw,
            standard_errors(lambda vector: slope(vector, arrays), vector, values).tolist(),
            strict=True,
        )
    )


class SoundFit(NamedTuple):
    """A fitted receptor neuron and its predictions."""

    model: SoundModel
    nats: float
    """Training loss: minus the log-likelihood and the penalties, per spike, nats."""
    with_history: Float[np.ndarray, "trials bins"]
    """Probability of a spike in every bin, given the stimulus and the recorded spikes before the bin."""
    stimulus_only: Float[np.ndarray, "trials bins"]
    """The same given the stimulus alone."""


def fit_sound(
    data: SoundData,
    *,
    ridge: float,
    steps: int,
    samples: int,
    key,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> SoundFit:
    """Maximum likelihood of the spikes in bins, given stimulus and earlier spikes, by L-BFGS on the exact
    gradient.

    ```
    loss = (-sum_k [y_k log(1 - exp(-H_k)) - (1 - y_k) H_k] + ridge |f|^2/2 + PRIOR |u|^2/2)/N
    ```
    H from `binned_hazard`. The prediction from the stimulus alone is that of the same model, averaged over
    `samples` free runs.
    """
    arrays = _segments(data)
    start, unravel = ravel_pytree(SoundModel.start(len(data.features)))
    loss = lambda vector, arrays: penalised_loss(unravel(vector), arrays, data.dt, ridge)
    gradient = jax.jit(jax.value_and_grad(loss))
    done = 0

    def objective(vector):
        value, slope = gradient(jnp.asarray(vector, start.dtype), arrays)
        return float(value), np.asarray(slope, np.float64)

    def callback(intermediate_result):
        nonlocal done
        done += 1
        report(done, float(intermediate_result.fun))

    options = {"maxiter": steps, "maxcor": 20, "ftol": 1e-7}
    result = minimize(
        objective,
        np.asarray(start, np.float64),
        jac=True,
        method="L-BFGS-B",
        callback=callback,
        options=options,
    )
    model = unravel(jnp.asarray(result.x, start.dtype))
    return SoundFit(model, float(result.fun), *predict_sound(model, data, samples=samples, key=key))


def predict_sound(
    model: SoundModel, data: SoundData, *, samples: int, key
) -> tuple[Float[np.ndarray, "trials bins"], Float[np.ndarray, "trials bins"]]:
    """Probability of a spike in every bin: with the recorded spikes before it, and from the stimulus alone
    (`samples` free runs)."""
    x, fine = (jnp.asarray(a, jnp.result_type(float)) for a in (data.features, data.steps))
    with_history = -jnp.expm1(-eqx.filter_jit(_hazards)(model, x, fine, data.dt))

    @eqx.filter_jit
    def alone(model, x):
        current = model.current(x).reshape(fine.shape)
        return mean_response(model.neuron(), current, data.dt, 1.0, model.values["rate"], samples, key=key)

    return np.asarray(with_history).T, np.asarray(alone(model, x)).T


def sound_scores(
    data: SoundData, fit: SoundFit, stimulus_ms: float, history_ms: float
) -> dict[str, dict[str, float | list[float]]]:
    """Bits per spike of the model and of the GLM, on the test part (all trials together, and each), and on
    the training part."""
    width = data.dt * data.sub
    lags, past = round(stimulus_ms / width), round(history_ms / width)
    alone = fit_glm(data.stimulus, data.spikes, data.train, stimulus_lags=lags, history_lags=0)
    both = fit_glm(data.stimulus, data.spikes, data.train, stimulus_lags=lags, history_lags=past)
    predictions = {
        "model, stimulus alone": fit.stimulus_only,
        "glm, stimulus alone": alone.probability(data.stimulus, data.spikes),
        "model, with history": fit.with_history,
        "glm, with history": both.probability(data.stimulus, data.spikes),
    }
    test, train = slice(data.train, None), slice(0, data.train)
    bits = lambda p, part: bits_per_spike(p[:, part], data.spikes[:, part])
    return {
        name: {
            "test": bits(p, test),
            "trials": [bits_per_spike(a[test], b[test]) for a, b in zip(p, data.spikes, strict=True)],
            "train": bits(p, train),
        }
        for name, p in predictions.items()
    }
