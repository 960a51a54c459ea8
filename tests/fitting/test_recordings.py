"""Recordings of real neurons: what is read and what is refused, and the time step that they are brought
to."""

import numpy as np
import pytest

from spikejax.fitting import (
    prepare_sound,
    read_current_clamp,
    read_sound_spikes,
    recording_names,
    step_current_clamp,
)
from spikejax.fitting.recordings import bin_spikes

from .real_neurons import CLAMP, SOUND, R, changed, ramp


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
        ([], {f"{R}/sweep": np.arange(7.0) + 0.5}, ["sweep", "holds 0.5", "whole numbers"]),
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


def test_resampling_is_as_stated():
    stepped = step_current_clamp(ramp(), 0.5, "average")
    assert stepped.current.shape == (1, 8)
    np.testing.assert_allclose(stepped.current[0, :2], [20.0, 70.0])  # means of samples 0 to 4 and 5 to 9
    np.testing.assert_allclose(
        stepped.voltage[0, :2], [5.0, 10.0]
    )  # samples 5 and 10, at the ends of the steps
    np.testing.assert_array_equal(
        stepped.counts[0], [2, 2, 0, 0, 0, 0, 0, 1]
    )  # a spike at the end of a step belongs to it
    same = step_current_clamp(ramp(), 0.1, "refuse")
    np.testing.assert_array_equal(same.voltage[0], np.arange(1.0, 41.0))


@pytest.mark.parametrize(
    ("dt", "how", "words"),
    [(0.25, "average", "whole multiple"), (0.05, "average", "whole multiple"), (0.2, "refuse", "average")],
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
        counts = bin_spikes(recording.spikes, round(2000 / width), width)
        assert counts.sum() == sum(len(times) for times in recording.spikes)
    # 6.7 ms, a multiple of 0.05 ms that binary fractions do not hold, is in the bin that begins there.
    assert bin_spikes((np.array([6.699999999999999]),), 40, 0.1 * 67 / 67)[0].sum() == 0
    assert bin_spikes((np.array([0.15000000000000002, 0.3 - 1e-12]),), 8, 0.05)[0].tolist() == [
        0,
        0,
        0,
        1,
        0,
        0,
        1,
        0,
    ]
