"""The escaping neuron, and its fit to sound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import LIF
from spikejax.fitting import (
    binned_hazard,
    bits_per_spike,
    escape,
    fit_sound,
    hazard,
    log_likelihood_of_spikes,
    mean_response,
    prepare_sound,
    read_sound_spikes,
    sound_standard_errors,
    teacher_forced,
)
from spikejax.fitting.sound.fit import Segments, penalised_loss, segments
from spikejax.fitting.sound.model import SoundModel, features, make_basis

from .real_neurons import SOUND

KEY = jax.random.key(0)


def test_teacher_forced_neuron_is_the_closed_form():
    neuron, dt = LIF(tau_mem=10.0, v_th=1.0, v_reset=-0.5), 0.5
    spikes = jnp.zeros((40, 1)).at[9, 0].set(1.0)
    run = teacher_forced(neuron, jnp.full((40, 1), 2.0), spikes, dt)
    t = dt * np.arange(1, 41)
    since = np.where(t <= 5.0, t, t - 5.0)
    expected = 2.0 + (np.where(t <= 5.0, 0.0, -0.5) - 2.0) * np.exp(-since / 10.0)
    np.testing.assert_allclose(run.v[:, 0], expected, rtol=1e-12)
    np.testing.assert_allclose(run.height, run.v - 1.0, rtol=1e-12)


def test_an_escaping_neuron_feels_the_spikes_it_draws():
    # In units in which its rate is 0.02 per ms at the threshold and doubles every 0.1 above.
    neuron, dt, current = LIF(tau_mem=10.0, v_reset=-0.5), 0.5, jnp.full((4000, 2), jnp.array([0.3, 1.2]))
    rate = lambda height: 0.02 * 2 ** (height / 0.1)
    v, spikes = escape(neuron, current, rate, dt, key=KEY)
    again = teacher_forced(neuron, current, spikes, dt)
    np.testing.assert_allclose(v, again.v, rtol=1e-12)
    # The number of spikes is the sum of their probabilities, to a few of its standard deviations.
    expected = -np.expm1(-dt * np.asarray(rate(again.height)))
    count = np.asarray(spikes).sum(axis=0)
    assert count[1] > 50
    np.testing.assert_array_less(
        np.abs(count - expected.sum(axis=0)), 4 * np.sqrt((expected * (1 - expected)).sum(axis=0))
    )


def test_bins_do_not_see_their_own_spike():
    neuron, dt = LIF(tau_mem=2.0, v_reset=-3.0), 0.25
    current, rate = 0.5 * jax.random.normal(KEY, (20, 4, 1)), lambda height: hazard(height, 0.3, 1.0)
    nothing = jnp.zeros((20, 4, 1))
    early, late = nothing.at[10, 0, 0].set(1.0), nothing.at[10, 3, 0].set(1.0)
    base, a, b = (binned_hazard(neuron, current, y, rate, dt)[:, 0] for y in (nothing, early, late))
    np.testing.assert_allclose(a[:11], base[:11], rtol=1e-12)
    assert a[11] < base[11]
    assert abs(a[11] - b[11]) > 1e-3 * base[11]  # the next bin knows when it was
    # Without spikes the bins are sums over the steps of the plain run.
    run = teacher_forced(neuron, current.reshape(80, 1), jnp.zeros((80, 1)), dt)
    np.testing.assert_allclose(base, rate(run.height).reshape(20, 4).sum(axis=1) * dt, rtol=1e-12)


def test_likelihood_of_recorded_spikes():
    expected, spikes = jnp.array([0.3, 0.3, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0, 1.0])
    found = log_likelihood_of_spikes(expected, spikes, 1e-6)
    np.testing.assert_allclose(found[:3], [-0.3, np.log(1 - np.exp(-0.3)), 0.0], rtol=1e-5)
    # A spike where none was expected costs no more than the floor says, and has a finite slope.
    assert found[3] == pytest.approx(np.log(1e-6), rel=1e-6)
    slope = jax.grad(lambda x: log_likelihood_of_spikes(x, spikes, 1e-6).sum())(expected)
    assert bool(jnp.all(jnp.isfinite(slope)))


def test_mean_response_of_a_memoryless_neuron():
    # A reset that no one feels: then the mean over free runs is 1 - exp(-H).
    neuron = LIF(tau_mem=1e-3, v_th=1.0, v_reset=0.0)
    current = jnp.linspace(-1.0, 2.0, 30)[:, None, None] * jnp.ones((30, 2, 1))
    rate = lambda height: hazard(height, 0.4, 0.5)
    p = mean_response(neuron, current, rate, 0.5, 4000, key=KEY)[:, 0]
    expected = -jnp.expm1(-binned_hazard(neuron, current, jnp.zeros((30, 2, 1)), rate, 0.5)[:, 0])
    error = np.sqrt(np.asarray(expected * (1 - expected)) / 4000)
    assert np.all(np.abs(np.asarray(p - expected)) < 5 * error + 5e-4)


@pytest.fixture(scope="module")
def sound():
    return prepare_sound(read_sound_spikes(SOUND), 1.0, 1.0, 0.75, 20.0, "average")


def test_features_are_causal():
    rng = np.random.default_rng(0)
    stimulus = rng.uniform(0.1, 1.0, (1, 400))
    basis = make_basis(stimulus, 0.5, 20.0, 300)
    later = stimulus.copy()
    later[0, 200] = 1.5
    a, b = features(basis, stimulus), features(basis, later)
    np.testing.assert_allclose(a[:, :200], b[:, :200], atol=1e-9)
    assert np.abs(a[:, 200] - b[:, 200]).max() > 1e-3


def test_segments_have_the_loss_of_the_whole(sound):
    model = SoundModel.start(len(sound.features))
    model = SoundModel(0.02 * jax.random.normal(KEY, model.weight.shape), model.bias, model.raw)
    cut = segments(sound)
    assert float(cut.counted.sum()) == 2 * sound.train
    parts = float(penalised_loss(model, cut, sound.dt, 1.0))
    x, steps, held = (
        jnp.asarray(a)
        for a in (
            sound.features[:, : sound.train],
            sound.steps[: sound.train],
            sound.spikes[:, : sound.train].T,
        )
    )
    whole = float(penalised_loss(model, Segments(x, steps, held, jnp.ones_like(held)), sound.dt, 1.0))
    assert parts == pytest.approx(whole, rel=1e-3)  # what a warm-up of 500 ms leaves


def test_sound_fit_beats_chance(sound):
    seen = []
    fit = fit_sound(
        sound, ridge=30.0, steps=10, samples=40, key=KEY, report=lambda step, loss: seen.append(loss)
    )
    assert seen == sorted(seen, reverse=True)
    assert fit.with_history.shape == fit.stimulus_only.shape == sound.spikes.shape
    test = slice(sound.train, None)
    alone, past = (
        bits_per_spike(p[:, test], sound.spikes[:, test]) for p in (fit.stimulus_only, fit.with_history)
    )
    assert alone > 0.2
    assert past > alone + 0.2


@pytest.mark.slow
def test_uncertainty_is_that_of_the_curvature(sound):
    fit = fit_sound(sound, ridge=30.0, steps=80, samples=1, key=KEY)
    errors = sound_standard_errors(fit.model, sound, 30.0)
    assert set(errors) == set(fit.model.values)
    assert 0 < errors["tau_ref"] < 2.0
