"""The command line: bad input gets one line and exit code 2, and nothing already written is lost."""

import contextlib
import io
import json
import os
import re

import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import cli
from spikejax.configuration import Config, check, describe, dump, load
from spikejax.errors import ConfigError

from ..by_day import by_day
from ..command_line import fails
from ..configs import BRAILLE, toml
from ..places import CONFIGS, DATA


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(toml(BRAILLE))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.toml").write_text(toml(BRAILLE))
    words = ["train", str(folder / "tiny.toml"), "--out", str(folder / "out"), "--format", "png", "svg"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert cli.main(words) == 0
    (folder / "printed.txt").write_text(printed.getvalue())
    return folder / "out"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["--training.stpes", "3"], ["training.stpes", "training", "did you mean steps?"]),
        (["--learning_rate", "3"], ["unknown key learning_rate", "training.learning_rate"]),
        (["--training.steps", "many"], ["training.steps is 'many'", "a whole number"]),
        (["--training.steps", "0"], ["training.steps is 0", "at least 1"]),
        (["--dt", "-1"], ["dt is -1", "above 0"]),
        (["--dt", "nan"], ["dt"]),
        (["--dt", "7"], ["does not divide", "25"]),
        (["--network.layers.0.synapse.tau_syn", "[5.0]"], ["too large", "tau_syn", "5 ms"]),
        (["--gate.width", "1.5"], ["active zone", "1.5"]),
        (["--gate.kernel", "arctan"], ["surrogate"]),
        (["--gate.release", "chrage"], ["gate.release", "'charge'"]),
        (["--network.layers.3.size", "5"], ["network.layers", "no '3'"]),
        (
            ["--network.layers.0.neuron.kind", "theta", "--network.layers.0.neuron.reset", "zero"],
            ["unknown key", "neuron.reset"],
        ),
        (["--training.trainable", '["wieght"]'], ["wieght", "weight"]),
        (["--training.accumulate", "2"], ["multiple", "accumulate"]),
        (["--training.batch", "5000"], ["5000", "729"]),
        (["--loss.kind", "squared_error"], ["loss: SquaredError", "signal", "class"]),
        (["--seed"], ["--seed has no value"]),
        (["--seed", "99999999999999999999"], ["seed", "must be"]),
        (["--gate.sharpness_end", "0.4"], ["active zone", "1.25"]),
        (["--task.validation", "1e-6"], ["task.validation", "no trial"]),
        (["--network.layers.0.bias", "[1.0, 0.0]"], ["low, high"]),
        (["--network.layers.0.neuron.v_reset", "2.0"], ["neuron: ", "`v_reset` must be below `v_th`"]),
        (["--network", "3"], ["network", "3"]),
        (["--network.layers.-1.size", "3"], ["network.layers", "'-1'"]),
        (["stray"], ["unexpected argument 'stray'"]),
    ],
)
def test_bad_values(config, capsys, tmp_path, overrides, words):
    error = fails(capsys, "train", config, "--out", tmp_path / "out", *overrides)
    for word in words:
        assert word in error
    assert not (tmp_path / "out").exists()


def test_bad_files(config, capsys, tmp_path):
    assert "there is no configuration file" in fails(capsys, "train", tmp_path / "absent.toml")
    (tmp_path / "broken.toml").write_text("dt = = 3")
    assert "not valid TOML" in fails(capsys, "train", tmp_path / "broken.toml")
    assert "not a run folder" in fails(capsys, "plot", tmp_path)
    assert "no run to resume" in fails(capsys, "train", config, "--out", tmp_path / "nothing", "--resume")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX only")
def test_output_folder_that_cannot_be_made(config, capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "cannot be created" in fails(capsys, "train", config, "--out", tmp_path / "file" / "run")
    assert (tmp_path / "file").read_text() == "in the way"


def broken_data(folder, **changes):
    rng = np.random.default_rng(0)
    letters = np.array([f"L{i}" for i in range(3)])
    data = {"x": rng.integers(0, 255, (30, 76, 12)), "y": np.arange(30) % 3, "letters": letters} | changes
    folder.mkdir(exist_ok=True)
    for split in ("train", "test"):
        np.savez(folder / f"braille_{split}.npz", **data)
    return folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": np.zeros((30, 76, 5))}, "5 channels, expected 12"),
        ({"x": np.zeros((0, 76, 12)), "y": np.zeros(0, int)}, "not empty"),
        ({"x": np.full((30, 76, 12), np.nan)}, "not finite"),
        ({"y": np.full(30, 7)}, "y has classes from 7 to 7, but there are 3"),
    ],
)
def test_bad_data(config, capsys, tmp_path, changes, words):
    folder = broken_data(tmp_path / "data", **changes)
    assert words in fails(capsys, "train", config, "--out", tmp_path / "out", "--task.folder", folder)


def test_data_that_is_no_archive(config, capsys, tmp_path):
    folder = broken_data(tmp_path / "data")
    (folder / "braille_train.npz").write_bytes(b"not a zip")
    assert "task.folder is of Braille recordings" in fails(
        capsys, "train", config, "--out", tmp_path / "out", "--task.folder", folder
    )


def test_a_finished_run_is_complete(finished, capsys):
    summary = json.loads((finished / "summary.json").read_text())
    assert 0 <= summary["hard"]["accuracy"] <= 1
    assert summary["trials"] == 270
    assert np.sum(summary["smooth"]["confusion"]) == 270
    lines = (finished / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]
    figures = {path.stem for path in (finished / "figures").iterdir()}
    assert figures == {"training", "raster", "voltages", "activations", "rates", "confusion"}
    assert {path.suffix for path in (finished / "figures").iterdir()} == {".png", ".svg"}
    assert cli.main(["evaluate", str(finished)]) == 0
    assert f"{summary['smooth']['accuracy']:.4f}" in capsys.readouterr().out


def test_a_run_says_what_it_does(finished):
    lines = (finished.parent / "printed.txt").read_text().splitlines()
    for phase in ("compiling", "training", "evaluating", "evaluating on the test split", "drawing figures"):
        assert lines.count(phase) == 1
    assert any(re.fullmatch(r"step 4 of 4: loss .*, held-out accuracy .*", line) for line in lines)


def test_a_finished_run_is_not_overwritten(finished, config, capsys):
    before = (finished / "metrics.jsonl").read_bytes()
    assert "already holds a run" in fails(capsys, "train", config, "--out", finished)
    error = fails(capsys, "train", config, "--out", finished, "--resume", "--training.learning_rate", "0.1")
    assert "training.learning_rate = 0.004, not 0.1" in error
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_checkpoint_of_another_network(finished, capsys):
    error = fails(capsys, "evaluate", finished, "--loss.windows", "3")
    assert "checkpoint of another network" in error
    assert "readout.bias" in error
    assert "are fixed" in fails(capsys, "evaluate", finished, "--network.layers.0.size", "9")


def test_unknown_command(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["trian"])
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert "'trian'" in error


def test_damaged_files_of_a_run(finished, config, capsys):
    log, last = finished / "metrics.jsonl", finished / "last.ckpt"
    kept = log.read_bytes(), last.read_bytes()
    try:
        log.write_bytes(b"{broken\n" + kept[0] + b'{"step": 5, "lo')
        assert cli.main(["plot", str(finished)]) == 0
        log.write_bytes(b"")
        assert cli.main(["plot", str(finished)]) == 0
        last.write_bytes(b"")
        assert "not a complete checkpoint" in fails(capsys, "train", config, "--out", finished, "--resume")
    finally:
        log.write_bytes(kept[0])
        last.write_bytes(kept[1])


def test_help_names_every_key(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for name, _ in describe(Config):
        assert f"--{name}" in text


def test_config_round_trip(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(dump(check({"dt": 12.5})))
    assert load(path) == check({"dt": 12.5})


def test_overrides_reach_lists(config):
    changed = load(
        config,
        [
            ("network.layers.0.size", "5"),
            ("gate.release", "hard"),
            ("network.layers.0.synapse.tau_syn", "[30.0, 60.0]"),
        ],
    )
    assert changed.network.layers[0].size == 5
    assert changed.gate.release.kind == "hard"
    assert changed.network.layers[0].synapse.tau_syn == (30.0, 60.0)


def test_strict_types():
    with pytest.raises(ConfigError, match=r"seed is '1', but must be a whole number"):
        check({"seed": "1"})
    with pytest.raises(ConfigError, match=r"task\.kind"):
        check({"task": {"kind": "cifar"}})


SHIPPED = sorted(path.stem for path in CONFIGS.glob("*.toml"))


def test_there_are_shipped_configurations():
    assert SHIPPED


# One to train, one of a sweep and one of a fit by day.
@pytest.mark.parametrize("name", by_day(SHIPPED, ["delayed_xor", "sharpness_delayed_xor", "grasshopper"]))
def test_shipped_configurations_build(tmp_path, name):
    from spikejax.configuration import FITS, build, load_fit
    from spikejax.configuration.load import read
    from spikejax.jobs.sweep import load_sweep

    # Recordings that are not part of the package are stood in for by the tests' own few.
    few = {
        "folder": DATA / "spoken_digits",
        "train": "digits_train.h5",
        "test": "digits_test.h5",
    }
    camera, trials, of_each = tmp_path / "camera.npz", 20, 30
    rng = np.random.default_rng(0)
    np.savez(
        camera,
        **{axis: rng.integers(0, 34, trials * of_each).astype(np.uint8) for axis in "xy"},
        p=rng.integers(0, 2, trials * of_each).astype(np.uint8),
        t_us=np.sort(rng.integers(0, 300_000, (trials, of_each))).reshape(-1).astype(np.int32),
        offset=np.arange(0, trials * of_each + 1, of_each),
        label=np.arange(trials) % 10,
    )
    images = tmp_path / "images.npz"
    np.savez(images, x=np.zeros((20, 28, 28), np.uint8), y=np.arange(20) % 10)
    path = CONFIGS / f"{name}.toml"
    tables = read(path)
    if tables.get("kind") in FITS:
        assert load_fit(path).kind == tables["kind"]
        return
    if "sweep" in tables:
        assert build(load_sweep(path)[-1].config).network.layers
        return
    overrides = []
    if path.stem == "spoken_digits":
        overrides = [(f"task.{key}", str(value)) for key, value in few.items()] + [
            ("task.validation", "0.34"),
            ("training.batch", "20"),
        ]
    elif path.stem == "mnist":
        overrides = [("task.train", str(images)), ("task.test", str(images))]
        overrides += [("task.validation", "0.5"), ("training.batch", "4")]
    elif path.stem.startswith("nmnist"):
        overrides = [("task.train", str(camera)), ("task.test", str(camera))]
        overrides += [("task.validation", "0.3"), ("training.batch", "4")]
    run = build(load(path, overrides))
    assert jnp.isfinite(run.network.layers[0].bias).all()
