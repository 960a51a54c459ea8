"""The command: ``spikejax fit``."""

import functools
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from spikejax import cli
from spikejax.configuration import FITS, CurrentClampFit, describe, dump, load_fit
from spikejax.configuration.fit import RENAMED
from spikejax.fitting import MODELS, ClampPlan
from spikejax.fitting.clamp.job import plan_of
from spikejax.fitting.job import show
from spikejax.fitting.ranges import Range, border, described
from spikejax.fitting.sound.job import SoundJob
from spikejax.training.log import read_metrics

from ..command_line import fails
from ..places import CONFIGS, ROOT
from .real_neurons import CLAMP, SOUND, R, changed

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
stochastic.steps = 3
search.rounds = 1
deterministic.steps = 2
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


@pytest.mark.nightly
def test_fit_command(config, tmp_path, capsys):
    out = tmp_path / "out"
    assert (
        cli.main(
            [
                "fit",
                str(config),
                "--out",
                str(out),
                "--quiet",
                "--data.recording",
                R,
                "--data.test_file",
                str(further(tmp_path)),
            ]
        )
        == 0
    )
    assert "Gamma" in capsys.readouterr().out
    result = json.loads((out / "fit.json").read_text())
    assert result["sweeps"]["left_out"] == [14, 24]
    for kind in ("stochastic", "deterministic"):
        assert result[kind]["parameters"]["R"]["unit"] == "MOhm"
    parts = ("fitted sweeps", "left-out sweeps", "sweeps of test_file")
    kinds = ("stochastic", "deterministic", "interpolated")
    wanted = {f"{part}, {kind}" for part in parts for kind in kinds} - {"fitted sweeps, interpolated"}
    assert set(result["scores"]) == wanted
    with np.load(out / "model.npz") as file:
        assert file["stochastic_spike_counts"].shape == (3, 7)
        assert file["deterministic_spike_counts"].shape == (1, 7)
        assert file["stochastic_spike_counts"][0].sum() == len(file["stochastic_spike_times_ms"])
    assert {p.name for p in (out / "figures").iterdir()} == {"traces.png", "counts.png"}
    assert [m["step"] for m in read_metrics(out / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    before = (out / "fit.json").read_bytes()
    assert "already holds a run" in fails(capsys, "fit", config, "--out", out)
    assert (out / "fit.json").read_bytes() == before


def further(tmp_path):
    """A file with the same sweeps under other numbers."""
    with np.load(CLAMP) as file:
        return changed(tmp_path, CLAMP, **{f"{R}/sweep": file[f"{R}/sweep"] + 100})


def test_further_sound_is_standardised_as_what_was_fitted(tmp_path):
    path = tmp_path / "sound.toml"
    path.write_text(SOUND_CONFIG)
    job = SoundJob(load_fit(path, (("data.test_file", str(SOUND)),)))
    own, further = job.data, job.further
    assert own.train > 0
    assert further.train == 0  # all of it is predicted
    # Standardised on the training part of what was fitted, not on its own.
    np.testing.assert_array_equal(further.features, own.features)
    np.testing.assert_array_equal(further.spikes, own.spikes)
    louder = tmp_path / "louder.npz"
    with np.load(SOUND) as file:
        np.savez(louder, **({name: file[name] for name in file.files} | {"stimulus": 2 * file["stimulus"]}))
    job = SoundJob(load_fit(path, (("data.test_file", str(louder)),)))
    assert job.further.features[0].std() == pytest.approx(2 * own.features[0].std(), rel=0.05)
    with pytest.raises(ValueError, match="absent.npz"):
        SoundJob(load_fit(path, (("data.test_file", str(tmp_path / "absent.npz")),)))


@pytest.mark.slow
def test_fit_command_for_sound(tmp_path, capsys):
    path = tmp_path / "sound.toml"
    path.write_text(SOUND_CONFIG)
    words = ["fit", str(path), "--out", str(tmp_path / "out"), "--quiet", "--data.test_file", str(SOUND)]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert "test part, model, stimulus alone" in printed
    assert "test_file, glm, with history" in printed
    result = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert set(result["bits_per_spike"]) == {
        f"{who}, {what}" for who in ("model", "glm") for what in ("stimulus alone", "with history")
    }
    assert {p.name for p in (tmp_path / "out" / "figures").iterdir()} == {
        "rate.png",
        "bits.png",
        "filters.png",
    }


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
        (["--fit.stochastic.steps", "0", "--fit.deterministic.steps", "0"], ["no step to fit in"]),
        (["--fit.stats", "5"], ["unknown key fit.stats", "starts"]),
        (["--kind", "voltage_clamp"], ["kind", "current_clamp, sound", "voltage_clamp"]),
    ],
)
def test_bad_fit(config, tmp_path, capsys, overrides, words):
    error = fails(capsys, "fit", config, "--out", tmp_path / "out", "--quiet", *overrides)
    assert all(word in error for word in words), error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_renamed_keys_are_explained(config, tmp_path, capsys, old, new):
    assert new in dict(describe(FITS["current_clamp"]))
    error = fails(capsys, "fit", config, "--out", tmp_path / "out", f"--{old}", "5")
    assert f"{old} is now called {new}" in error


def test_defaults_of_a_kind_of_model(config):
    def resolved(kind, *overrides):
        return load_fit(config, (("model.kind", kind), *overrides))

    lif, adex, squid = (resolved(kind) for kind in ("lif", "adex", "hodgkin_huxley"))
    assert (lif.gate.width, adex.gate.width, squid.gate.width) == (1.5, 1.5, 30.0)
    assert squid.fit.deterministic.learning_rate == 10 * lif.fit.deterministic.learning_rate
    # What is given stays, beside it and inside it.
    assert adex.fit.draws == 8
    assert resolved("hodgkin_huxley", ("gate.width", "20.0")).gate.width == 20.0
    assert resolved("lif", ("data.window", "[1.0, 2.0]")).data.window == (1.0, 2.0)
    tables = {"data": {"file": Path("x.npz"), "recording": "x"}}
    assert CurrentClampFit.model_validate(tables).dt == 1.0
    assert CurrentClampFit.model_validate(tables | {"model": {"kind": "hodgkin_huxley"}}).dt == 0.2
    given = tables | {"model": lif.model.model_copy(update={"kind": "adex"}), "fit": lif.fit}
    assert CurrentClampFit.model_validate(given).fit == lif.fit


@pytest.mark.parametrize("kind", list(MODELS))
def test_defaults_in_python_are_those_of_the_configuration(kind):
    config = CurrentClampFit.model_validate(
        {"data": {"file": Path("x.npz"), "recording": "x"}, "model": {"kind": kind}}
    )
    if kind in ("lif", "glif"):
        assert plan_of(config) == ClampPlan()
    # The written configuration is complete: read again it is the same.
    assert CurrentClampFit.model_validate(tomllib.loads(dump(config)) | {"data": config.data}) == config


def test_documented_defaults_are_those_of_the_configuration():
    text = (ROOT / "docs" / "fitting.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)`(?:, m[sV])? \| (.*) \|$", text, flags=re.MULTILINE)
    assert len(rows) >= 9
    for kind, column in (("lif", 0), ("glif", 0), ("adex", 1), ("hodgkin_huxley", 2)):
        tables = {"data": {"file": Path("x.npz"), "recording": "x"}, "model": {"kind": kind}}
        values = CurrentClampFit.model_validate(tables)
        for key, cells in rows:
            shown = re.split(r"[:,]", cells.split(" | ")[column])[0]
            if shown != "-":
                assert functools.reduce(getattr, key.split("."), values) == float(shown), (kind, key)


def test_shipped_configurations(tmp_path, capsys):
    for name in ("patchclamp", "grasshopper"):
        error = fails(
            capsys,
            "fit",
            CONFIGS / f"{name}.toml",
            "--out",
            tmp_path / "out",
            "--quiet",
            "--data.file",
            tmp_path / "none.npz",
        )
        assert "data.file" in error


def test_the_border_of_a_range():
    linear, log = Range(0.0, 100.0, "MOhm"), Range(1.0, 1e4, "ms", True)
    for value, end in (
        (0.5, "lower"),
        (0.0, "lower"),
        (1.5, None),
        (50.0, None),
        (99.5, "upper"),
        (101.0, "upper"),
    ):
        assert border(linear, value) == end
    for value, end in ((1.05, "lower"), (1.2, None), (8e3, None), (9.5e3, "upper")):
        assert border(log, value) == end


def test_a_parameter_at_the_border_has_no_error_bar():
    ranges = {"R_s": Range(0.0, 100.0, "MOhm"), "R": Range(20.0, 2000.0, "MOhm", True)}
    values, spread = {"R_s": 99.7, "R": 120.0}, {"R_s": 2.0, "R": 3.0}
    found = described(ranges, values, spread=spread, standard_error=spread)
    assert found["R"] == {
        "value": 120.0,
        "spread": 3.0,
        "standard_error": 3.0,
        "unit": "MOhm",
        "range": [20.0, 2000.0],
        "at_border": None,
    }
    assert found["R_s"]["at_border"] == "upper"
    assert np.isnan(found["R_s"]["spread"])
    assert np.isnan(found["R_s"]["standard_error"])
    lines = show({"scores": {}, "stochastic": {"parameters": found}}).splitlines()
    assert len(lines) == 1
    for words in (
        "stochastic fit",
        "R_s ended at the upper border",
        "99.7 MOhm",
        "0 to 100 MOhm",
        "no error bar",
    ):
        assert words in lines[0]
    assert "--model.ranges.R_s '[0, 100]'" in lines[0]
