"""The page on your own data: its code runs in order and learns, and so does its configuration."""

import json
import re

import jax
import numpy as np
import pytest

from spikejax import Gate, cli, simulate
from spikejax.tasks.recordings_file import KNOWN

from ..places import ROOT

PAGE = (ROOT / "docs" / "your_data.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(CONFIG,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the names of the page's code stand for after each piece of it, and the folder it ran in."""
    folder, names, after = tmp_path_factory.mktemp("page"), {}, []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for code in CODE:
            exec(compile(code, "your_data.md", "exec"), names)
            after.append(dict(names))
    return folder, after


@pytest.mark.nightly
def test_its_networks_learn(page):
    _, (_, classes, signals, *_) = page
    assert classes["result"].metrics["accuracy"] > 0.85
    assert signals["result"].metrics["error"] < 0.3
    # Of different length, and half of the steps were held.
    assert signals["task"].lengths is not None
    assert signals["task"].stimuli["train"].shape[1] == 2 * max(map(len, signals["sensors"]))


@pytest.mark.nightly
def test_its_encoded_trials_are_trials(page):
    *_, encoded, camera, _ = page[1]
    assert encoded["spikes"].shape == (30, 50, 64)
    assert np.array_equal(np.asarray(encoded["spikes"]).sum(axis=1), encoded["images"] > 0.2)
    assert encoded["task"].channels == 16
    assert camera["network"].in_shape == camera["task"].channels == (2, 8, 8)
    trials = camera["task"].batch(jax.random.key(0), 0, 5)
    first = jax.tree.map(lambda x: x[0], trials.stimulus)
    counts = simulate(camera["network"], first, gate=Gate(), dt=2.0).counts[0]
    assert float(counts.sum()) > 0


@pytest.mark.nightly
def test_its_configuration_learns_from_its_file(page, monkeypatch, capsys):
    folder, _ = page
    monkeypatch.chdir(folder)
    monkeypatch.setattr("spikejax.plotting.save_figures", lambda *_: [])  # other tests draw them
    (folder / "my_config.toml").write_text(CONFIG, encoding="utf-8")
    assert cli.main(["train", "my_config.toml", "--out", "run", "--quiet"]) == 0
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert summary["smooth"]["accuracy"] > 0.85
    assert "test, smooth threshold: accuracy" in capsys.readouterr().out


def test_every_array_of_a_file_is_listed():
    rows = [line.split("|")[1] for line in PAGE.split("| array |")[1].splitlines() if line.startswith("| ")]
    assert sorted(KNOWN) == sorted(name for row in rows for name in re.findall(r"`(\w+)`", row))
