"""Sweeps: what a file expands to, points trained side by side and alone, going on after a kill, several
devices."""

import csv
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from spikejax.cli import main
from spikejax.configuration import alone, load
from spikejax.errors import ConfigError
from spikejax.jobs.run import trained
from spikejax.jobs.sweep import groups, load_sweep, sweep_run
from spikejax.jobs.train import train_run
from spikejax.plotting import save_figures
from spikejax.plotting.sweep import sweep_figures

from ..command_line import environment
from ..configs import PREDICTIVE, toml

BASE = toml(PREDICTIVE)
SWEEP = BASE + '[sweep]\nseeds = [0, 1]\n[sweep.grid]\n"gate.sharpness" = [1.0, 4.0]\n'


def write(folder, text):
    path = folder / "sweep.toml"
    path.write_text(text)
    return path


def params(folder):
    return jax.tree.leaves(trained(folder)[1])


def same_networks(one, other, tolerance):
    for a, b in zip(params(one), params(other), strict=True):
        if np.issubdtype(a.dtype, np.floating):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_points_of_a_grid_a_list_and_seeds(tmp_path):
    text = BASE + (
        "[sweep]\nseeds = [3, 5]\n"
        '[sweep.grid]\n"gate.kernel" = ["boxcar", "triangle"]\n"adjoint.damping" = [0.0, 0.01]\n'
        '[[sweep.list]]\n"gate.release" = "charge"\n'
        '[[sweep.list]]\n"gate.release" = "surrogate"\n"gate.width" = 1.0\n'
    )
    points = load_sweep(write(tmp_path, text))
    assert len(points) == len({p.name for p in points}) == 2 * 2 * 2 * 2
    last = points[-1]
    assert (
        last.config.seed,
        last.config.gate.kernel.kind,
        last.config.gate.width,
        last.config.adjoint.damping,
    ) == (5, "triangle", 1.0, 0.01)
    assert last.name == "release=surrogate,width=1.0,kernel=triangle,damping=0.01,seed=5"
    assert load_sweep(tmp_path / "sweep.toml", [("sweep.seeds", "[7]"), ("dt", "0.25")])[0].config.dt == 0.25


def test_points_with_a_name(tmp_path):
    text = BASE + (
        '[sweep]\nseeds = [0, 1]\n[sweep.grid]\n"gate.kernel" = ["boxcar", "triangle"]\n'
        '[[sweep.list]]\nname = "as it is"\n'
        '[[sweep.list]]\nname = "in two stages"\n'
        '"stages" = [{ training = { steps = 2 } }, '
        "{ gate = { sharpness = 3.0 }, training = { steps = 3 } }]\n"
    )
    points = load_sweep(write(tmp_path, text))
    assert [p.name for p in points[::2]] == [
        f"name={n},kernel={k},seed=0" for n in ("as_it_is", "in_two_stages") for k in ("boxcar", "triangle")
    ]
    assert points[-1].values["name"] == "in two stages"
    assert points[-1].config.stage(1).gate.sharpness == 3.0
    # The name stands for what goes with it: the figure has it on the axis and a colour for every kernel.
    rows = [{"smooth error": 0.1, "hard error": 0.1 + i, "gradient norm": 1.0} for i in range(len(points))]
    paths = save_figures(tmp_path / "figures", sweep_figures([p.values for p in points], rows))
    assert {path.name for path in paths} == {"scores.png", "gradients.png"}


def test_points_that_are_one_program_are_together(tmp_path):
    text = SWEEP + '"gate.release" = ["charge", "surrogate"]\n"training.learning_rate" = [0.01, 0.02]\n'
    sizes = [len(g) for g in groups(load_sweep(write(tmp_path, text)))]
    assert sizes == [8, 8]
    text = SWEEP + '"network.layers.0.neuron.tau_mem" = [5.0, 10.0]\n"network.layers.0.size" = [6, 7]\n'
    assert [len(g) for g in groups(load_sweep(write(tmp_path, text)))] == [8, 8]
    # Batches of which the seed draws the length: those of one seed.
    text = toml(
        PREDICTIVE | {"task": {"kind": "delayed_xor", "buckets": [40.0, 80.0], "odds": [1, 1]}},
        dt=2.0,
        loss={"kind": "response"},
        sweep={"seeds": [0, 1], "grid": {"gate.sharpness": [1.0, 4.0]}},
    )
    assert [[p.config.seed for p in g] for g in groups(load_sweep(write(tmp_path, text)))] == [[0, 0], [1, 1]]
    # So are gates with a value for every layer.
    text = SWEEP.replace("[1.0, 4.0]", "[1.0, 4.0, [2.0]]")
    assert sorted(len(g) for g in groups(load_sweep(write(tmp_path, text)))) == [2, 4]
    # A damping that is on is another program than none, and batches of another size are too.
    text = SWEEP + '"adjoint.damping" = [0.0, 0.01, 0.02]\n'
    assert sorted(len(g) for g in groups(load_sweep(write(tmp_path, text)))) == [4, 8]
    # The time step of an update is drawn by the seed: these are trained one by one.
    points = load_sweep(write(tmp_path, SWEEP + '"training.half_step_fraction" = [0.0, 0.5]\n'))
    assert sorted(len(g) for g in groups(points)) == [1, 1, 1, 1, 4]
    assert all(alone(p.config) == (p.config.training.half_step_fraction > 0) for p in points)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BASE, ["no [sweep] table"]),
        (BASE + "[sweep]\nseed = [1]\n", ["unknown key sweep.seed", "seeds"]),
        (BASE + '[sweep.grid]\n"gate.sharpnes" = [1.0]\n', ["gate.sharpnes", "sharpness"]),
        (BASE + '[sweep.grid]\n"gate.sharpness" = []\n', ['sweep.grid."gate.sharpness" is empty']),
        (
            BASE + '[sweep.grid]\n"gate.sharpness" = [1.0, -2.0]\n',
            ['(sweep.grid."gate.sharpness" = -2.0): gate.sharpness is -2', "above 0", "sharpness=-2.0"],
        ),
        (BASE + '[sweep.grid]\n"seed" = [1]\n', ["seeds"]),
        (BASE + "[sweep]\n[[sweep.list]]\nname = 3\n", ["a name is text"]),
        (
            BASE + '[sweep.grid]\n"gate.width" = [0.2]\n[[sweep.list]]\n"gate.width" = 0.3\n',
            ['sweep.grid."gate.width"', "grid and in list", 'sweep.list.0."gate.width"'],
        ),
        (BASE + '[sweep.grid]\n"gate.width" = [0.2, 0.2]\n', ["twice"]),
        (BASE + '[sweep.grid]\n"gate.width" = 0.2\n', ['sweep.grid."gate.width" is 0.2', "a list"]),
        (BASE + "[sweep.grid]\ngate.width = [0.2]\n", ['in quotes, sweep.grid."gate.width"']),
        (
            BASE + '[sweep.grid]\n"gate.width.x" = [0.2]\n',
            ['sweep.grid."gate.width.x": gate.width is a'],
        ),
        (BASE + '[[sweep.list]]\n"gate.widht" = 0.3\n', ['sweep.list.0."gate.widht" = 0.3', "unknown key"]),
    ],
)
def test_one_line_for_a_sweep_that_cannot_be(tmp_path, text, words):
    with pytest.raises(ConfigError) as error:
        load_sweep(write(tmp_path, text))
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_train_and_sweep_do_not_take_each_others_files(tmp_path, capsys):
    assert main(["train", str(write(tmp_path, SWEEP))]) == 2
    assert "spikejax sweep" in capsys.readouterr().err
    assert main(["sweep", str(write(tmp_path, BASE))]) == 2
    assert "[sweep]" in capsys.readouterr().err


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    assert main(["sweep", str(write(folder, SWEEP)), "--out", str(folder / "out"), "--quiet"]) == 0
    return folder


@pytest.mark.nightly
def test_side_by_side_is_as_alone(done, tmp_path):
    for point in load_sweep(done / "sweep.toml")[1:3]:
        train_run(point.config, tmp_path / point.name, progress=False)
        there = done / "out" / "points" / point.name
        # Rounding grows by what the gradient of a sharp gate multiplies it with.
        same_networks(tmp_path / point.name, there, 1e-7)
        one, other = (json.loads((f / "summary.json").read_text()) for f in (tmp_path / point.name, there))
        assert one["hard"]["loss"] == pytest.approx(other["hard"]["loss"], rel=1e-7)
        lines = [(f / "metrics.jsonl").read_text().splitlines() for f in (tmp_path / point.name, there)]
        assert len(lines[0]) == len(lines[1]) == 5
        a, b = (json.loads(x[3]) for x in lines)
        assert a.keys() == b.keys()
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-8)


def test_the_table_and_the_figures(done):
    out = done / "out"
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    assert [(r["gate.sharpness"], r["seed"]) for r in rows] == [
        ("1.0", "0"),
        ("1.0", "1"),
        ("4.0", "0"),
        ("4.0", "1"),
    ]
    # The gradient of a smooth gate is that of its loss.
    assert all(0.5 < float(r["gradient agreement"]) < 2 for r in rows if r["gate.sharpness"] == "1.0")
    assert all(float(r["gradient norm"]) > 0 and float(r["gradient noise"]) > 0 for r in rows)
    assert {p.name for p in (out / "figures").glob("*.png")} == {"scores.png", "gradients.png"}
    assert main(["evaluate", str(out / "points" / "sharpness=4.0,seed=1")]) == 0
    assert not list(out.glob("*.ckpt"))


def test_finished_points_are_not_run_again(done, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("spikejax.jobs.sweep.job.train_together", refuse)
    before = (done / "out" / "table.csv").read_text()
    sweep_run(load_sweep(done / "sweep.toml"), done / "out", progress=False)
    assert (done / "out" / "table.csv").read_text() == before
    with pytest.raises(ConfigError, match="training.steps"):
        sweep_run(load_sweep(done / "sweep.toml", [("training.steps", "6")]), done / "out", progress=False)


def test_a_point_that_is_lost_leaves_the_others(tmp_path):
    text = BASE.replace("learning_rate = 0.01", "learning_rate = 0.01\ngradient_limit = 1e-12").replace(
        "steps = 5", "steps = 24"
    )
    points = load_sweep(write(tmp_path, text + "[sweep]\nseeds = [0, 1]\n"))
    rows = sweep_run(points, tmp_path / "out", progress=False)
    assert all("exploded" in row["lost"] for row in rows)
    assert (
        len((tmp_path / "out" / "points" / points[0].name / "metrics.jsonl").read_text().splitlines()) == 20
    )


DEVICES = """
import sys, jax
jax.config.update("jax_enable_x64", True)
from pathlib import Path
from spikejax.jobs.sweep import load_sweep, sweep_run
assert len(jax.devices()) == 2
sweep_run(load_sweep(Path(sys.argv[1])), Path(sys.argv[2]), progress=False)
"""


@pytest.mark.nightly
def test_over_two_devices(done, tmp_path):
    command = [sys.executable, "-c", DEVICES, str(done / "sweep.toml"), str(tmp_path / "out")]
    subprocess.run(command, check=True, env=environment(2), capture_output=True)
    for point in load_sweep(done / "sweep.toml"):
        same_networks(tmp_path / "out" / "points" / point.name, done / "out" / "points" / point.name, 1e-7)
        assert load(tmp_path / "out" / "points" / point.name) == point.config


@pytest.mark.nightly
def test_a_point_that_is_trained_alone(tmp_path):
    points = load_sweep(
        write(
            tmp_path,
            BASE.replace("steps = 5", "steps = 2\nhalf_step_fraction = 0.5") + "[sweep]\nseeds = [0]\n",
        )
    )
    (row,) = sweep_run(points, tmp_path / "out", progress=False)
    summary = json.loads((tmp_path / "out" / "points" / "seed=0" / "summary.json").read_text())
    assert not row["lost"]
    assert row["gradient norm"] > 0
    assert summary["training_minutes"] >= 0
