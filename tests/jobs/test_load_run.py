"""A run read back into Python: its parts, its time series, its figures, and the page that shows them."""

import re
import shlex

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import spikejax
from spikejax import cli, plotting, simulate
from spikejax.errors import ConfigError
from spikejax.network import Network
from spikejax.training.log import read_metrics

from ..configs import BRAILLE, toml
from ..places import ROOT

PAGE = (ROOT / "docs" / "looking_inside.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small run, where the page has it."""
    place = tmp_path_factory.mktemp("work")
    (place / "braille.toml").write_text(toml(BRAILLE, task={"kind": "braille", "clock": 25.0}))
    out = place / "runs" / "braille"
    assert cli.main(["train", str(place / "braille.toml"), "--out", str(out), "--quiet"]) == 0
    return out


@pytest.fixture(scope="module")
def run(folder):
    return spikejax.load_run(folder)


def test_what_a_run_has(run, folder):
    assert isinstance(run.network, Network)
    assert run.config.training.steps == 4
    assert run.dt == run.simulator.dt == 25.0
    assert run.task.outputs == 27
    assert run.summary["hard"]["loss"] > 0
    lines = read_metrics(folder / "metrics.jsonl")
    np.testing.assert_array_equal(run.metrics["step"], [line["step"] for line in lines])
    np.testing.assert_array_equal(run.metrics["loss"], [line["loss"] for line in lines])
    held = [line.get("held_out/loss", np.nan) for line in lines]
    np.testing.assert_array_equal(run.metrics["held_out/loss"], held)
    assert np.isnan(run.metrics["held_out/loss"]).any()
    assert np.isfinite(run.metrics["held_out/loss"]).any()


def test_it_evaluates_to_its_own_summary(run):
    for gate in ("smooth", "hard"):
        found = run.evaluate(hard=gate == "hard").metrics
        assert found["loss"] == pytest.approx(run.summary[gate]["loss"], rel=1e-12)


def test_trials_are_those_of_the_split(run):
    test = run.task.split("test")
    np.testing.assert_array_equal(run.trials([5, 2]).stimulus, test.stimulus[jnp.array([5, 2])])
    np.testing.assert_array_equal(run.trials(3).label, test.label[:3])
    assert len(run.trials(10**6).stimulus) == len(test.stimulus)
    assert len(run.trials(2, "validation").stimulus) == 2


@pytest.mark.parametrize(
    ("chosen", "split", "line"),
    [
        ([0, 10**6], "test", "`chosen` names trial 1000000, but the test split has"),
        ([-1], "test", "`chosen` is \\[-1\\]: give how many trials, or their numbers from 0"),
        (0, "test", "`chosen` is 0"),
        (3, "train", "`split` is 'train', but must be 'test' or 'validation'"),
    ],
)
def test_trials_that_there_are_not(run, chosen, split, line):
    with pytest.raises(ConfigError, match=line):
        run.trials(chosen, split)


@pytest.mark.parametrize("hard", [True, False])
def test_series_are_those_of_a_simulation(run, hard):
    traces = run.record(("v", "release", "activation", "current"), [4, 1], hard=hard)
    gate = run.gate.hard() if hard else run.gate
    trial = jax.tree.map(lambda x: x[1], run.trials([4, 1]))
    saved = ("v", "release", "activation", "current")
    expected = simulate(run.network, trial.stimulus, gate=gate, dt=run.dt, save=saved)
    for name in saved:
        np.testing.assert_allclose(
            traces[name][1], getattr(expected.layers[0], name), rtol=1e-11, atol=1e-12, err_msg=name
        )
    np.testing.assert_allclose(traces.readout[1], expected.readout, rtol=1e-11, atol=1e-12)
    assert traces.label[1] == trial.label
    assert traces.time[-1] == len(trial.stimulus) * run.dt


def test_the_parts_of_the_current_are_the_current(run):
    traces = run.record(("current", "excitatory", "inhibitory"), 2)
    assert (traces["excitatory"] >= 0).all()
    assert (traces["inhibitory"] <= 0).all()
    np.testing.assert_allclose(traces["excitatory"] + traces["inhibitory"], traces["current"], atol=1e-10)


def test_one_line_for_a_folder_that_is_no_run(folder, tmp_path):
    (tmp_path / "config.toml").write_text("dt = [")
    for given, line in (
        (tmp_path / "none", "there is no folder"),
        (folder / "config.toml", "is a configuration file, not the folder of a run"),
        (tmp_path, "config.toml"),
        (folder.parent, "config.toml"),
    ):
        with pytest.raises(ValueError, match=line) as refused:
            spikejax.load_run(given)
        assert "\n" not in str(refused.value)


def test_a_run_that_has_not_ended_has_no_summary(folder, tmp_path):
    for name in ("config.toml", "best.ckpt", "last.ckpt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    run = spikejax.load_run(str(tmp_path))
    assert run.summary is None
    assert run.metrics == {}


@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_the_commands_of_the_page(folder, tmp_path, monkeypatch, capsys, number):
    """In this process, which has imported what takes seconds."""
    python, option, code = shlex.split(COMMANDS[number])
    assert (python, option) == ("python", "-c")
    (tmp_path / "runs").symlink_to(folder.parent)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "looking_inside.md", "exec"), {})
    shown = capsys.readouterr().out
    if "savefig" in code:
        names = re.findall(r"savefig\('(.*?)'\)", code)
        assert len(names) == 4
        assert all((tmp_path / name).stat().st_size > 5000 for name in names)
    else:
        assert len(shown.splitlines()) >= 2


def test_the_network_of_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (snippet,) = SNIPPETS
    namespace = {}
    exec(compile(snippet, "looking_inside.md", "exec"), namespace)
    assert float(namespace["run"].counts[0].max()) > 3
    assert {path.name for path in tmp_path.iterdir()} == {"raster.png", "v.png", "current.png"}


def test_every_figure_of_the_page_is_public():
    named = re.findall(r"^\| `(\w+)\(", PAGE.split("## Pictures")[1], re.MULTILINE)
    assert set(named) == set(plotting.series.__all__)
    assert set(named) <= set(plotting.__all__)


def test_an_overview_has_a_panel_for_everything(run):
    traces = run.record(("release",), 2)
    figure = plotting.overview(traces, trial=1, labels=run.task.labels, title="one")
    assert isinstance(figure, Figure)
    labels = [ax.get_ylabel() for ax in figure.axes if ax.get_label() != "<colorbar>"]
    assert labels == ["input channel", "neuron", "output"]
