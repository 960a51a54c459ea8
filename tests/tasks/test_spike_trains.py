"""Regression of spike trains: the shipped pair, a user's own, what is refused, and the figure."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from spikejax.jobs.plot import shown_target
from spikejax.plotting.run import ShownTrial, spikes
from spikejax.simulate import Solution
from spikejax.state import Record
from spikejax.tasks import TASKS
from spikejax.tasks.spike_trains import SpikeTrains


def bs1(neurons, times_us) -> bytes:
    rows = [
        (n >> 8, n & 255, 128 | (t >> 16), (t >> 8) & 255, t & 255)
        for n, t in zip(neurons, times_us, strict=True)
    ]
    return bytes(x for row in rows for x in row)


def test_the_shipped_pair():
    task = SpikeTrains(1.0)
    trial = task.batch(None, 0, 1)
    assert trial.stimulus.shape == trial.target.shape == (1, 1889, 200)
    assert (float(trial.stimulus.sum()), float(trial.target.sum())) == (1889.0, 10361.0)
    assert (task.trials, task.outputs, TASKS.name_of(task)) == (1, 200, "spike_trains")
    coarse = SpikeTrains(5.0, duration=100.0).split("test")
    np.testing.assert_array_equal(coarse.target[0], trial.target[0, :100].reshape(20, 5, 200).sum(1))
    assert shown_target("spikes", type(trial)(trial.stimulus[0], trial.target[0])).shape == (1889, 200)


def test_other_files(tmp_path):
    given, wanted = tmp_path / "in.bs1", tmp_path / "out.bs1"
    given.write_bytes(bs1([2, 0], [900, 4100]))
    wanted.write_bytes(bs1([1, 1, 0], [0, 300, 2000]))
    task = SpikeTrains(1.0, input=given, output=wanted)
    trial = task.split("validation")
    assert (task.channels, task.outputs) == (3, 2)
    assert np.argwhere(np.asarray(trial.stimulus[0])).tolist() == [[0, 2], [4, 0]]
    assert trial.target[0, :3].tolist() == [[0, 2], [0, 0], [1, 0]]
    wanted.write_bytes(wanted.read_bytes()[:-2])
    with pytest.raises(ValueError, match="out.bs1"):
        task.split("test")
    with pytest.raises(ValueError, match="more than a trial can have"):
        SpikeTrains(1e-5, input=given, output=given, duration=1000.0).split("test")


def test_the_figure_shows_both():
    wanted, found = np.zeros((10, 3)), np.zeros((10, 3))
    wanted[2, 1] = wanted[5, 0] = found[3, 1] = 1
    solution = Solution(None, (), (Record(release=found),), None, None)
    shown = ShownTrial("a trial", wanted, solution, None, None, 2.0, wanted=wanted)
    figure = spikes(shown)
    assert isinstance(figure, Figure)
    dots = [ax.collections[0].get_offsets().tolist() for ax in figure.axes]
    assert dots == [[[6.0, 1.0], [12.0, 0.0]], [[8.0, 1.0]]]
