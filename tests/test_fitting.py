"""Fits to recordings: readers, time steps, scores, the baseline, the escaping neuron, sound, and the command."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejax import LIF, cli
from spikejax.fitting import (
    binned_hazard,
    bits_per_spike,
    coincidence_factor,
    escape,
    fit_glm,
    force,
    hazard,
    interpolate,
    mean_response,
    mean_scores,
    prepare_sound,
    read_current_clamp,
    read_sound_spikes,
    recording_names,
    spike_scores,
    step_current_clamp,
)
from spikejax.fitting.recordings import binned
from spikejax.fitting.run import split
from spikejax.fitting.scores import coincidences
from spikejax.fitting.sound_fit import fit_sound, penalised_loss, uncertainty
from spikejax.fitting.sound_model import SoundModel, features, make_basis
from spikejax.training.log import read_metrics

from .command_line import fails
from .real_neurons import CLAMP, SOUND, R, ramp

KEY = jax.random.key(0)


def changed(tmp_path, source, leave_out=(), **arrays):
    with np.load(source) as file:
        content = {name: file[name] for name in file.files if name not in leave_out}
    np.savez(tmp_path / "changed.npz", **(content | arrays))
    return tmp_path / "changed.npz"


# Reading


def test_reads_current_clamp():
    recording = read_current_clamp(CLAMP, R)
    assert recording_names(CLAMP) == (R,)
    assert recording.sample == pytest.approx(0.1)
    assert recording.current.shape == recording.voltage.shape == (7, 5600)
    assert [len(times) for times in recording.spikes] == [0, 4, 6, 7, 8, 9, 9]
    for times, voltage in zip(recording.spikes, recording.voltage, strict=True):
        peaks = np.round(times / recording.sample).astype(int)
        assert all(voltage[k] == voltage[k - 10 : k + 11].max() for k in peaks)


def test_reads_sound():
    recording = read_sound_spikes(SOUND)
    assert recording.sample == pytest.approx(0.05)
    assert recording.stimulus.shape == (2, 40000)
    assert recording.duration == pytest.approx(2000.0)
    assert all(np.all(np.diff(times) > 3.0) for times in recording.spikes)


@pytest.mark.parametrize(
    ("leave_out", "arrays", "words"),
    [
        ([f"{R}/i_pA"], {}, ["no array", f"{R}/i_pA"]),
        (["dt_s"], {}, ["no array", "dt_s"]),
        ([], {"dt_s": np.float64(0.0)}, ["dt_s", "above 0"]),
        ([], {f"{R}/i_pA": np.zeros((7, 3))}, ["i_pA", "(7, 3)", "(7, 5600)"]),
        ([], {f"{R}/i_pA": np.full((7, 5600), np.nan)}, ["i_pA", "not finite"]),
        ([], {f"{R}/i_pA": np.zeros(5)}, ["i_pA", "2 axes"]),
        ([], {f"{R}/sweep": np.arange(6)}, ["sweep", "6 entries", "7 sweeps"]),
        ([], {f"{R}/sweep": np.zeros(7, int)}, ["sweep", "twice"]),
        ([], {f"{R}/sweep": np.arange(7.0)}, ["sweep", "whole numbers"]),
        ([], {f"{R}/spike_count": np.arange(7)}, ["spike_count", "adds up to 21", "43"]),
        ([], {f"{R}/spike_sample": np.arange(43) * 200}, ["spike_sample", "outside", "5600"]),
        ([], {f"{R}/spike_sample": np.arange(43)[::-1].copy()}, ["spike_sample", "order"]),
    ],
)
def test_bad_current_clamp(tmp_path, leave_out, arrays, words):
    path = changed(tmp_path, CLAMP, leave_out, **arrays)
    with pytest.raises(ValueError, match=words[0]) as error:
        read_current_clamp(path, R)
    assert all(word in str(error.value) for word in [str(path), *words])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("leave_out", "arrays", "words"),
    [
        (["spike_times_2"], {}, ["no array", "spike_times_2"]),
        ([], {"spike_times_1": np.array([0.1, 2.0])}, ["spike_times_1", "2 s", "outside"]),
        ([], {"spike_times_1": np.array([-0.1])}, ["spike_times_1", "-0.1 s"]),
        ([], {"spike_times_1": np.array([0.2, 0.1])}, ["spike_times_1", "order"]),
        ([], {"spike_times_1": np.array([np.inf])}, ["spike_times_1", "not finite"]),
        ([], {"stimulus": -np.ones((2, 10))}, ["stimulus", "negative"]),
        ([], {"stimulus": np.array([["a"], ["b"]])}, ["stimulus", "not numbers"]),
    ],
)
def test_bad_sound(tmp_path, leave_out, arrays, words):
    path = changed(tmp_path, SOUND, leave_out, **arrays)
    with pytest.raises(ValueError, match=words[0]) as error:
        read_sound_spikes(path)
    assert all(word in str(error.value) for word in [str(path), *words])


def test_files_that_are_no_recordings(tmp_path):
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(CLAMP.read_bytes()[:5000])
    text = tmp_path / "text.npz"
    text.write_text("current,voltage")
    np.save(tmp_path / "one.npy", np.zeros(3))
    for path in (tmp_path / "absent.npz", damaged, text, tmp_path / "one.npy", tmp_path):
        with pytest.raises(ValueError, match=r"cannot be read|is one array") as error:
            read_current_clamp(path, R)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=f"no recording 'x': choose from {R}"):
        read_current_clamp(CLAMP, "x")


# Time steps


def test_resampling_is_as_stated():
    stepped = step_current_clamp(ramp(), 0.5, "average")
    assert stepped.current.shape == (1, 8)
    np.testing.assert_allclose(stepped.current[0, :2], [20.0, 70.0])  # means of samples 0 to 4 and 5 to 9
    np.testing.assert_allclose(stepped.voltage[0, :2], [5.0, 10.0])  # samples 5 and 10, at the ends of the steps
    np.testing.assert_array_equal(stepped.counts[0], [2, 2, 0, 0, 0, 0, 0, 1])  # a spike at the end of a step belongs to it
    same = step_current_clamp(ramp(), 0.1, "refuse")
    np.testing.assert_array_equal(same.voltage[0], np.arange(1.0, 41.0))


@pytest.mark.parametrize(
    ("dt", "how", "words"), [(0.25, "average", "whole multiple"), (0.05, "average", "whole multiple"), (0.2, "refuse", "average")]
)
def test_other_steps_are_refused(dt, how, words):
    with pytest.raises(ValueError, match=words) as error:
        step_current_clamp(ramp(), dt, how)
    assert "0.1 ms" in str(error.value)
    with pytest.raises(ValueError, match=words):
        prepare_sound(read_sound_spikes(SOUND)._replace(sample=0.1), dt, 1.0, 0.75, 30.0, how)


def test_bins_keep_every_spike():
    recording = read_sound_spikes(SOUND)
    for width in (0.05, 0.25, 1.0):
        counts = binned(recording.spikes, round(2000 / width), width)
        assert counts.sum() == sum(len(times) for times in recording.spikes)
    # 6.7 ms, a multiple of 0.05 ms that binary fractions do not hold, is in the bin that begins there.
    assert binned((np.array([6.699999999999999]),), 40, 0.1 * 67 / 67)[0].sum() == 0
    assert binned((np.array([0.15000000000000002, 0.3 - 1e-12]),), 8, 0.05)[0].tolist() == [0, 0, 0, 1, 0, 0, 1, 0]


# Scores


def test_coincidence_factor_by_hand():
    recorded, predicted = np.array([10.0, 50.0, 90.0]), np.array([12.0, 60.0])
    chance = 2 * 4.0 * 2 / 1000
    expected = (1 - chance * 3) / 2.5 / (1 - chance)
    assert coincidence_factor(recorded, predicted, 1000.0) == pytest.approx(expected)
    assert coincidence_factor(recorded, recorded, 1000.0) == pytest.approx(1.0)
    assert np.isnan(coincidence_factor(np.array([]), np.array([]), 1000.0))
    assert coincidence_factor(recorded, np.array([]), 1000.0) == 0.0
    assert np.isnan(coincidence_factor(recorded, np.arange(0.0, 100.0, 5.0), 100.0))


def test_coincidences_by_chance_are_subtracted():
    rng = np.random.default_rng(0)
    duration, gammas = 20000.0, []
    for _ in range(40):
        a, b = (np.sort(rng.uniform(0, duration, 200)) for _ in range(2))
        gammas.append(coincidence_factor(a, b, duration))
    assert abs(np.mean(gammas)) < 4 * np.std(gammas) / np.sqrt(40) + 0.01


times = st.lists(st.floats(0, 50), max_size=6).map(lambda x: np.array(x, float))


@given(times, times)
@settings(max_examples=60, deadline=None)
def test_greedy_pairs_are_the_most(a, b):
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    near = np.abs(a[:, None] - b[None]) <= 4.0
    best = (maximum_bipartite_matching(csr_array(near), perm_type="column") >= 0).sum() if near.size else 0
    assert coincidences(a, b, 4.0) == best


def test_spike_scores():
    recorded = (np.array([10.0, 20.0]), np.array([]), np.array([5.0, 100.0, 200.0]))
    score = spike_scores(recorded, (recorded[0], np.array([3.0]), np.array([5.0])), 1000.0)
    assert (score.recorded, score.predicted) == ((2, 0, 3), (2.0, 1.0, 1.0))
    assert score.count_error == pytest.approx(1.0)
    assert score.within_one == pytest.approx(2 / 3)
    assert score.gamma == pytest.approx(np.mean([score.gammas[0], score.gammas[2]]))


def test_scores_of_several_runs_are_those_of_their_mean():
    recorded = (np.array([10.0, 20.0]), np.array([]))
    runs = [spike_scores(recorded, own, 1000.0) for own in (recorded, (np.array([10.0]), np.array([5.0])))]
    mean = mean_scores(runs)
    assert mean.predicted == (1.5, 0.5)
    assert (mean.count_error, mean.within_one) == (0.5, 1.0)
    assert mean.gammas[0] == pytest.approx((1 + runs[1].gammas[0]) / 2)
    assert mean.gamma == mean.gammas[0]  # of sweeps with recorded spikes alone
    assert mean_scores(runs[:1])[:5] == runs[0][:5]


def test_interpolation():
    amount = np.array([0.0, 1.0, 4.0, 9.0])
    spikes = (np.array([10.0]), np.array([]), np.array([6.0, 20.0, 30.0]), np.array([1.0, 2.0]))
    counts, times = interpolate(amount, spikes, np.array([1, 3]), np.array([0, 2]))
    assert counts == (1.5, 3.0)  # linear in the current; past the last sweep that was kept, its count
    np.testing.assert_allclose(times[0], [9.0, 20.0])  # a quarter of the way from 10 to 6; the second spike has one neighbour alone
    np.testing.assert_allclose(times[1], spikes[2])


def test_bits_per_spike():
    y = np.array([[0.0, 1.0, 0.0, 0.0]])
    assert bits_per_spike(np.full_like(y, 0.25), y) == pytest.approx(0.0)
    p = np.array([[0.1, 0.8, 0.1, 0.1]])
    expected = np.log2(0.8) + 3 * np.log2(0.9) - np.log2(0.25) - 3 * np.log2(0.75)
    assert bits_per_spike(p, y) == pytest.approx(expected)
    assert bits_per_spike(np.full_like(y, 0.4), y) < 0
    with pytest.raises(ValueError, match="bins with a spike"):
        bits_per_spike(p, np.zeros_like(y))


def test_left_out_sweeps_are_inside():
    left_out, kept = split(11, 2, 4)
    assert left_out.tolist() == [2, 6]  # never the last, beyond which nothing could be interpolated
    assert sorted([*left_out, *kept]) == list(range(11))


# The baseline


def test_glm_finds_its_own_filters():
    rng = np.random.default_rng(1)
    n, f, h = 40000, np.array([0.0, 1.2, 0.6]), np.array([-3.0, -1.0])
    x = rng.normal(size=n)
    drive = np.convolve(x, f)[:n] - 1.5
    y = np.zeros(n)
    for k in range(n):
        past = sum(h[j] * y[k - 1 - j] for j in range(2) if k > j)
        y[k] = rng.uniform() < 1 / (1 + np.exp(-drive[k] - past))
    glm = fit_glm(x[None], y[None], 30000, stimulus_lags=3, history_lags=2)
    np.testing.assert_allclose(glm.stimulus / glm.scale, f, atol=0.1)
    np.testing.assert_allclose(glm.history, h, atol=0.35)
    alone = fit_glm(x[None], y[None], 30000, stimulus_lags=3, history_lags=0)
    test = slice(30000, None)
    bits = [bits_per_spike(m.probability(x[None], y[None])[:, test], y[None, test]) for m in (alone, glm)]
    assert 0 < bits[0] < bits[1]
    # A later spike cannot change an earlier probability.
    later = y.copy()
    later[20000] = 1 - later[20000]
    a, b = (glm.probability(x[None], z[None])[0] for z in (y, later))
    np.testing.assert_array_equal(a[:20001], b[:20001])
    assert not np.allclose(a[20001:20003], b[20001:20003])


# The escaping neuron


def test_forced_neuron_is_the_closed_form():
    neuron, dt = LIF(tau_mem=10.0, v_th=1.0, v_reset=-0.5), 0.5
    spikes = jnp.zeros((40, 1)).at[9, 0].set(1.0)
    run = force(neuron, jnp.full((40, 1), 2.0), spikes, dt)
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
    again = force(neuron, current, spikes, dt)
    np.testing.assert_allclose(v, again.v, rtol=1e-12)
    # The number of spikes is the sum of their probabilities, to a few of its standard deviations.
    expected = -np.expm1(-dt * np.asarray(rate(again.height)))
    count = np.asarray(spikes).sum(axis=0)
    assert count[1] > 50
    np.testing.assert_array_less(np.abs(count - expected.sum(axis=0)), 4 * np.sqrt((expected * (1 - expected)).sum(axis=0)))


def test_bins_do_not_see_their_own_spike():
    neuron, dt = LIF(tau_mem=2.0, v_reset=-3.0), 0.25
    current = 0.5 * jax.random.normal(KEY, (20, 4, 1))
    nothing = jnp.zeros((20, 4, 1))
    early, late = nothing.at[10, 0, 0].set(1.0), nothing.at[10, 3, 0].set(1.0)
    base, a, b = (binned_hazard(neuron, current, y, dt, 0.3, 1.0)[:, 0] for y in (nothing, early, late))
    np.testing.assert_allclose(a[:11], base[:11], rtol=1e-12)
    assert a[11] < base[11]
    assert abs(a[11] - b[11]) > 1e-3 * base[11]  # the next bin knows when it was
    # Without spikes the bins are sums over the steps of the plain run.
    run = force(neuron, current.reshape(80, 1), jnp.zeros((80, 1)), dt)
    np.testing.assert_allclose(base, hazard(run.height, 0.3, 1.0).reshape(20, 4).sum(axis=1) * dt, rtol=1e-12)


def test_mean_response_of_a_memoryless_neuron():
    # A reset that no one feels: then the mean over free runs is 1 - exp(-H).
    neuron = LIF(tau_mem=1e-3, v_th=1.0, v_reset=0.0)
    current = jnp.linspace(-1.0, 2.0, 30)[:, None, None] * jnp.ones((30, 2, 1))
    p = mean_response(neuron, current, 0.5, 0.4, 0.5, 4000, key=KEY)[:, 0]
    expected = -jnp.expm1(-binned_hazard(neuron, current, jnp.zeros((30, 2, 1)), 0.5, 0.4, 0.5)[:, 0])
    error = np.sqrt(np.asarray(expected * (1 - expected)) / 4000)
    assert np.all(np.abs(np.asarray(p - expected)) < 5 * error + 5e-4)


# Sound


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
    from spikejax.fitting import sound_fit

    model = SoundModel.start(len(sound.features))
    model = SoundModel(0.02 * jax.random.normal(KEY, model.weight.shape), model.bias, model.raw)
    arrays = sound_fit._segments(sound)
    assert float(arrays[3].sum()) == 2 * sound.train
    parts = float(penalised_loss(model, arrays, sound.dt, 1.0))
    x, steps, held = (
        jnp.asarray(a) for a in (sound.features[:, : sound.train], sound.steps[: sound.train], sound.spikes[:, : sound.train].T)
    )
    whole = float(penalised_loss(model, (x, steps, held, jnp.ones_like(held)), sound.dt, 1.0))
    assert parts == pytest.approx(whole, rel=1e-3)  # what a warm-up of 500 ms leaves


def test_sound_fit_beats_chance(sound):
    seen = []
    fit = fit_sound(sound, ridge=30.0, steps=10, samples=40, key=KEY, report=lambda step, loss: seen.append(loss))
    assert seen == sorted(seen, reverse=True)
    assert fit.with_history.shape == fit.stimulus_only.shape == sound.spikes.shape
    test = slice(sound.train, None)
    alone, past = (bits_per_spike(p[:, test], sound.spikes[:, test]) for p in (fit.stimulus_only, fit.with_history))
    assert alone > 0.2
    assert past > alone + 0.2


@pytest.mark.slow
def test_uncertainty_is_that_of_the_curvature(sound):
    fit = fit_sound(sound, ridge=30.0, steps=80, samples=1, key=KEY)
    errors = uncertainty(fit.model, sound, 30.0)
    assert set(errors) == set(fit.model.values)
    assert 0 < errors["tau_ref"] < 2.0


# The command


CLAMP_CONFIG = f"""
kind = "current_clamp"
dt = 1.0
samples = 3
[data]
file = "{CLAMP}"
recording = "{R}"
resample = "average"
hold_out_every = 3
[model]
kind = "lif"
[fit]
draws = 8
starts = 2
keep = 1
driven_steps = 3
search_rounds = 1
free_steps = 2
"""
SOUND_CONFIG = f"""
kind = "sound"
dt = 0.5
[data]
file = "{SOUND}"
resample = "average"
[model]
filter = 20.0
[fit]
steps = 2
samples = 2
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "clamp.toml"
    path.write_text(CLAMP_CONFIG)
    return path


def test_fit_command(config, tmp_path, capsys):
    out = tmp_path / "out"
    assert (
        cli.main(["fit", str(config), "--out", str(out), "--quiet", "--data.recording", R, "--data.test_file", str(further(tmp_path))]) == 0
    )
    assert "Gamma" in capsys.readouterr().out
    result = json.loads((out / "fit.json").read_text())
    assert result["sweeps"]["left_out"] == [14, 24]
    for kind in ("noisy", "deterministic"):
        assert result[kind]["parameters"]["R"]["unit"] == "MOhm"
    assert set(result["scores"]) == {
        f"{part}, {kind}" for part in ("fitted sweeps", "left-out sweeps", "sweeps of test_file")
        for kind in ("noisy", "deterministic", "interpolated") if (part, kind) != ("fitted sweeps", "interpolated")
    }  # fmt: skip
    with np.load(out / "model.npz") as file:
        assert file["noisy_spike_counts"].shape == (3, 7)
        assert file["deterministic_spike_counts"].shape == (1, 7)
        assert file["noisy_spike_counts"][0].sum() == len(file["noisy_spike_times_ms"])
    assert {p.name for p in (out / "figures").iterdir()} == {"traces.png", "counts.png"}
    assert [m["step"] for m in read_metrics(out / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    before = (out / "fit.json").read_bytes()
    assert "already holds a run" in fails(capsys, "fit", config, "--out", out)
    assert (out / "fit.json").read_bytes() == before


def further(tmp_path):
    """A file with the same sweeps under other numbers."""
    with np.load(CLAMP) as file:
        return changed(tmp_path, CLAMP, **{f"{R}/sweep": file[f"{R}/sweep"] + 100})


@pytest.mark.slow
def test_fit_command_for_sound(tmp_path, capsys):
    path = tmp_path / "sound.toml"
    path.write_text(SOUND_CONFIG)
    assert cli.main(["fit", str(path), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert "model, stimulus alone" in capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert set(result["bits_per_spike"]) == {f"{who}, {what}" for who in ("model", "glm") for what in ("stimulus alone", "with history")}
    assert {p.name for p in (tmp_path / "out" / "figures").iterdir()} == {"rate.png", "bits.png", "filters.png"}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["--data.resample", "refuse"], ["dt of 1 ms", "0.1 ms", "average"]),
        (["--dt", "0.25"], ["whole multiple", "0.1 ms"]),
        (["--data.recording", "x"], ["no recording 'x'", R]),
        (["--data.recording", "1871_3001"], ["no recording '1871_3001'"]),
        (["--data.file", "absent.npz"], ["absent.npz", "No such file"]),
        (["--data.file", str(SOUND)], ["no array 'recordings'"]),
        (["--data.test_file", str(CLAMP)], ["sweep 4", "too"]),
        (["--data.window", "[500.0, 900.0]"], ["window", "559 ms"]),
        (["--data.window", "[50.0, 9.0]"], ["window begins at 50 ms"]),
        (["--data.hold_out_first", "7"], ["hold_out_first", "below"]),
        (["--model.kind", "izhikevich"], ["model.kind", "izhikevich"]),
        (["--model.ranges.vth", "[-50.0, -40.0]"], ["model.ranges.vth", "no such parameter", "v_th"]),
        (["--model.ranges.R", "[-50.0, -40.0]"], ["model.ranges.R", "no range"]),
        (["--gate.width", "6.0"], ["gate.width", "drop", "2 mV"]),
        (["--fit.keep", "5"], ["keep (5)", "starts (2)"]),
        (["--fit.starts", "9"], ["starts (9)", "draws (8)"]),
        (["--fit.driven_steps", "0", "--fit.free_steps", "0"], ["no step to fit in"]),
        (["--fit.stats", "5"], ["unknown key fit.stats", "starts"]),
        (["--kind", "voltage_clamp"], ["kind", "current_clamp, sound", "voltage_clamp"]),
    ],
)
def test_bad_fit(config, tmp_path, capsys, overrides, words):
    error = fails(capsys, "fit", config, "--out", tmp_path / "out", "--quiet", *overrides)
    assert all(word in error for word in words), error
    assert not (tmp_path / "out").exists()


def test_shipped_configurations(tmp_path, capsys):
    configs = Path(__file__).parent.parent / "configs"
    for name in ("patchclamp", "grasshopper"):
        error = fails(capsys, "fit", configs / f"{name}.toml", "--out", tmp_path / "out", "--quiet", "--data.file", tmp_path / "none.npz")
        assert "data.file" in error
