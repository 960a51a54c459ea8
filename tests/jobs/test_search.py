"""Search: tables, what is drawn, trials that are pruned, lost, interrupted, and workers that are killed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spikejax.configuration import load
from spikejax.errors import ConfigError
from spikejax.jobs.search import load_search
from spikejax.jobs.search import worker as search
from spikejax.jobs.search.job import search_run
from spikejax.jobs.search.space import SearchRange
from spikejax.training import Interrupted, TrainingStopped

from ..command_line import environment, fails
from ..configs import PREDICTIVE, toml

BASE = toml(PREDICTIVE)
SPACE = """
[search]
trials = 6
[search.space]
"training.learning_rate" = { low = 1e-3, high = 1e-1, log = true }
"network.layers.0.size" = { low = 4, high = 6, integer = true }
"network.layers.0.synapse.tau_syn" = { choices = [[2.0, 10.0], [5.0]] }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "search.toml"
    path.write_text(text)
    return path


@pytest.fixture
def plan(tmp_path):
    return load_search(write(tmp_path, BASE + SPACE))


@pytest.fixture
def quick(monkeypatch):
    """Runs that are not trained: their score is their learning rate, reported three times."""
    done = []

    def finished(config, place, *, report, **options):
        place.mkdir(parents=True, exist_ok=True)
        done.append((place.name, config))
        for step in (1, 2, 3):
            report(step, config.training.learning_rate)
        return {}

    monkeypatch.setattr(search, "finished_run", finished)
    monkeypatch.setattr(search, "held_out_score", lambda place, config, gate: config.training.learning_rate)
    return done


def rows(folder):
    return list(csv.DictReader((folder / "table.csv").read_text().splitlines()))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["no [search] table"]),
        ('[search.space]\n"gate.width" = { low = 0.1, high = 1.0 }\n', ["trials"]),
        ("[search]\ntrials = 3\n", ["space"]),
        ("[search]\ntrials = 3\nprune = 1\n[search.space]\n", ["unknown key search.prune", "pruner"]),
        (
            '[search]\ntrials = 3\n[search.space]\n"gate.width" = { low = 0.1 }\n',
            ['search.space."gate.width"', "low and high"],
        ),
        (
            '[search]\ntrials = 3\n[search.space]\n"gate.width" = { low = 2.0, high = 1.0 }\n',
            ['search.space."gate.width"', "below"],
        ),
        (
            '[search]\ntrials = 3\n[search.space]\n"gate.width" = { low = 0.0, high = 1.0, log = true }\n',
            ["log needs"],
        ),
        (
            '[search]\ntrials = 3\n[search.space]\n"gate.width" = { low = 0.0, high = 1.0 }\n',
            ["gate.width", "above 0"],
        ),
        (
            '[search]\ntrials = 3\n[search.space]\n"gate.widht" = { low = 0.1, high = 1.0 }\n',
            ["gate.widht", "width"],
        ),
        (
            '[search]\ntrials = 3\n[search.space]\n"network.layers.0.size" = { low = 3.5, high = 6 }\n',
            ["size", "3.5"],
        ),
        (
            "[search]\ntrials = 3\n[search.space]\n"
            '"network.layers.0.size" = { low = 3.5, high = 6, integer = true }\n',
            ["whole"],
        ),
        (
            '[search]\ntrials = 3\n[search.space]\n"gate.release" = { choices = ["charge", "soft"] }\n',
            ["gate.release", "soft"],
        ),
        (
            '[search]\ntrials = 3\n[search.space]\n"gate.release" = { choices = ["charge"], low = 1 }\n',
            ["stand alone"],
        ),
        (
            '[search]\ntrials = 3\n[search.space]\n"seed" = { low = 0, high = 9, integer = true }\n',
            ["luckiest"],
        ),
        ('[search]\ntrials = 3\n[search.space]\n"gate.width" = 3\n', ['search.space."gate.width" is 3']),
        (
            "[search]\ntrials = 3\n[search.space]\ngate.width = { low = 0.1, high = 1.0 }\n",
            ['in quotes, search.space."gate.width"'],
        ),
        (
            '[search]\ntrials = 3\n[search.space]\n"gate.width.x" = { low = 0.1, high = 1.0 }\n',
            ['search.space."gate.width.x": gate.width is a value'],
        ),
    ],
)
def test_one_line_for_a_search_that_cannot_be(tmp_path, text, words):
    with pytest.raises(ConfigError) as error:
        load_search(write(tmp_path, BASE + text))
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_other_commands_do_not_take_the_file(tmp_path, capsys):
    assert "spikejax search" in fails(capsys, "train", write(tmp_path, BASE + SPACE))
    assert "cannot be used" in fails(
        capsys,
        "search",
        tmp_path / "search.toml",
        "--out",
        tmp_path / "o",
        "--search.storage",
        "no://u:secret@x",
    )


def test_what_is_drawn(plan, tmp_path, quick):
    one = search_run(plan, tmp_path / "one", progress=False)
    configs = [config for _, config in quick]
    assert len(configs) == 6
    assert all(1e-3 <= c.training.learning_rate <= 1e-1 for c in configs)
    assert {c.network.layers[0].size for c in configs} <= {4, 5, 6}
    assert {c.network.layers[0].synapse.tau_syn for c in configs} == {(2.0, 10.0), (5.0,)}
    assert one.best_value == min(c.training.learning_rate for c in configs)
    again = search_run(plan, tmp_path / "again", progress=False)
    assert [t.params for t in again.trials] == [t.params for t in one.trials]
    assert len({t.params["training.learning_rate"] for t in one.trials}) == 6
    assert SearchRange(low=1.0, high=3.0, integer=True).ends == (1, 3)


def test_a_search_that_is_called_again_makes_what_is_missing(plan, tmp_path, quick):
    out = tmp_path / "out"
    search_run(plan._replace(search=plan.search.model_copy(update={"trials": 2})), out, progress=False)
    assert len(quick) == 2
    search_run(plan, out, progress=False)
    search_run(plan, out, progress=False)
    assert [name for name, _ in quick] == [r["trial"] for r in rows(out)] == list("012345")
    assert {p.name for p in (out / "figures").iterdir()} == {"history.png", "slices.png"}
    with pytest.raises(ConfigError, match="holds another search"):
        search_run(load_search(tmp_path / "search.toml", [("gate.width", "0.5")]), out, progress=False)


def test_pruned_lost_and_impossible_trials(plan, tmp_path, quick, monkeypatch):
    real, count = search.finished_run, iter(range(100))

    def troubled(config, place, *, report, **options):
        number = next(count)
        if number == 1:
            raise TrainingStopped("the loss is not finite")
        if number == 2:
            raise ConfigError("these do not fit together")
        if number == 3:
            monkeypatch.setattr(search, "held_out_score", lambda *_: float("nan"))
        if number == 4:
            monkeypatch.setattr(
                search, "held_out_score", lambda place, config, gate: config.training.learning_rate
            )
        real(config, place, report=(lambda step, _: report(step, 1e6)) if number == 8 else report)

    monkeypatch.setattr(search, "finished_run", troubled)
    table = {"trials": 10, "pruner": "median"}
    search_run(plan._replace(search=plan.search.model_copy(update=table)), tmp_path / "out", progress=False)
    found = rows(tmp_path / "out")
    assert [r["state"] for r in found[:4]] == ["complete", "pruned", "fail", "pruned"]
    assert [r["lost"] for r in found[:3]] == ["", "the loss is not finite", "these do not fit together"]
    assert "nan" in found[3]["lost"]
    assert found[8]["state"] == "pruned"
    assert len(found) == 10


def test_nothing_came_to_an_end(plan, tmp_path, monkeypatch, capsys):
    def never(*_, **__):
        raise TrainingStopped("stopped at step 3")

    monkeypatch.setattr(search, "finished_run", never)
    words = fails(
        capsys, "search", tmp_path / "search.toml", "--out", tmp_path / "out", "--search.trials", "2"
    )
    assert "none of the 2 trials" in words
    assert "stopped at step 3" in words


def test_an_interrupted_trial_goes_on_in_its_folder(plan, tmp_path, quick, monkeypatch):
    real = search.finished_run

    def interrupted(*args, **options):
        if len(quick) == 2:
            quick.append(("interrupted", args[0]))
            raise Interrupted("Ctrl-C")
        return real(*args, **options)

    monkeypatch.setattr(search, "finished_run", interrupted)
    with pytest.raises(Interrupted, match="trial 2"):
        search_run(plan, tmp_path / "out", progress=False)
    search_run(plan, tmp_path / "out", progress=False)
    assert quick[3] == ("2", quick[2][1])  # the same values in the same folder
    assert [r["state"] for r in rows(tmp_path / "out")].count("complete") == 6


WORKER = """
import os, sys, time
from pathlib import Path
import jax
from spikejax.jobs.search import job, load_search, worker

def finished(config, place, *, report, **options):
    place.mkdir(parents=True, exist_ok=True)
    (place / "worker").open("a").write(sys.argv[3])
    if sys.argv[3] == "a":
        (Path(sys.argv[2]) / "hangs").touch()
        time.sleep(1000)
    time.sleep(0.05)
    report(1, config.training.learning_rate)

worker.finished_run, job._draw = finished, lambda *_: None
worker.held_out_score = lambda place, config, gate: config.training.learning_rate
plan = load_search(Path(sys.argv[1]), [("search.grace", "1.5"), ("search.trials", "4")])
job.search_run(plan, Path(sys.argv[2]), progress=False)
"""


def test_the_trial_of_a_killed_worker_is_made_by_another(tmp_path):
    path, out, workers = write(tmp_path, BASE + SPACE), tmp_path / "out", {}
    try:
        for name in "ab":
            command = [sys.executable, "-c", WORKER, str(path), str(out), name]
            workers[name] = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
            end = time.monotonic() + 100
            while name == "a" and not (out / "hangs").exists():
                assert time.monotonic() < end
                assert workers["a"].poll() is None, workers["a"].stderr.read()
                time.sleep(0.05)
        # The second works beside the first, which is alive, and does not take its trial.
        while not (out / "trials" / "3").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(2.5)
        assert (out / "trials" / "0" / "worker").read_text() == "a"
        os.kill(workers["a"].pid, signal.SIGKILL)
        _, error = workers["b"].communicate(timeout=100)
        assert workers["b"].returncode == 0, error
    finally:
        for worker in workers.values():
            worker.kill()
            worker.wait()
            worker.stderr.close()
    assert (out / "trials" / "0" / "worker").read_text() == "ab"
    found = rows(out)
    assert [r["state"] for r in found] == ["no result", "complete", "complete", "complete", "complete"]
    keys = json.loads(json.dumps(found[0]))
    assert all(found[4][k] == keys[k] for k in ("folder", "training.learning_rate", "network.layers.0.size"))


@pytest.mark.nightly
def test_a_trial_is_a_run_folder(tmp_path):
    text = BASE.replace("steps = 5", "steps = 2") + SPACE.replace("trials = 6", "trials = 1")
    command = [
        sys.executable,
        "-m",
        "spikejax",
        "search",
        str(write(tmp_path, text)),
        "--out",
        str(tmp_path / "out"),
        "--quiet",
    ]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    place = tmp_path / "out" / "trials" / "0"
    assert f"best: {place} with " in done.stdout
    assert load(place).training.steps == 2
    assert {"best.ckpt", "last.ckpt", "metrics.jsonl", "summary.json"} <= {p.name for p in place.iterdir()}
    (row,) = rows(tmp_path / "out")
    metrics = json.loads((place / "metrics.jsonl").read_text().splitlines()[1])
    assert float(row["held-out loss, smooth gate"]) == pytest.approx(metrics["held_out/loss"], rel=1e-5)
