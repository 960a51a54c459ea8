"""A training, a sweep and a search that are killed at any of their writes go on, and end bit for bit where
they would have ended."""

import csv
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from spikejax.configuration import build, dump, load
from spikejax.errors import ConfigError
from spikejax.jobs import run as runs
from spikejax.jobs import train
from spikejax.jobs.search import job as searches
from spikejax.jobs.search import load_search
from spikejax.jobs.sweep import job as sweeps
from spikejax.jobs.sweep import load_sweep, together
from spikejax.jobs.train import finished_run

from ..by_day import by_day
from ..configs import PREDICTIVE, toml
from .killing import killed_at

TEXT = toml(PREDICTIVE, training={"steps": 3, "evaluate_every": 2, "checkpoint_every": 2})
SWEEP = TEXT + "[sweep]\nseeds = [0, 1]\n"
SEARCH = TEXT + (
    "[search]\ntrials = 2\n"
    "[search.space]\n"
    '"gate.width" = { low = 0.3, high = 0.5 }\n'
    '"gate.sharpness" = { low = 1.0, high = 1.5 }\n'
)


@pytest.fixture(scope="module", autouse=True)
def compiled_once():
    """What is killed is what is written: networks that differ in numbers only are compiled once."""
    built, steps, real_step = {}, [], together.make_group_step

    def build_once(config, *_):
        name = dump(config)
        if name not in built:
            run = build(config)
            first = next(iter(built.values()), run)
            (stage,) = run.plan.stages
            stage = stage._replace(update=first.plan.stages[0].update)
            built[name] = run._replace(plan=run.plan._replace(stages=(stage,)))
        # The first update takes the memory of the state.
        return built[name]._replace(state=jax.tree.map(jnp.copy, built[name].state))

    def step_once(**settings):
        steps.append(steps[0] if steps else real_step(**settings))
        return steps[0]

    with pytest.MonkeyPatch.context() as patch:
        for module in (train, runs, together, sweeps):
            patch.setattr(module, "build", build_once)
        patch.setattr(together, "make_group_step", step_once)
        patch.setattr(sweeps, "_draw", lambda *_: None)
        patch.setattr(searches, "_draw", lambda *_: None)
        yield


class Work:
    """Something that writes a folder, and goes on where it was killed."""

    def __init__(self, name: str, folder: Path):
        self.name, self.path = name, folder / f"{name}.toml"
        self.path.write_text({"train": TEXT, "sweep": SWEEP, "search": SEARCH}[name])

    def __call__(self, out: Path, *, again: bool = False) -> None:
        if self.name == "train":
            finished_run(load(self.path), out, progress=False, figures=False)
        elif self.name == "sweep":
            sweeps.sweep_run(load_sweep(self.path), out, progress=False)
        else:
            # Dead workers are noticed by their silence.
            grace = [("search.grace", "0.2" if again else "60.0")]
            searches.search_run(load_search(self.path, grace), out, progress=False)

    def result(self, out: Path) -> dict:
        """What must be the same: the bytes of every file but times, the journal and tables; and of the tables
        what they say."""
        found = {}
        for path in sorted(p for p in out.rglob("*") if p.is_file()):
            name = str(path.relative_to(out))
            if name == "study.journal" or path.name in ("minutes.json", "group-0.minutes"):
                found[name] = None
            elif path.name == "summary.json":
                found[name] = json.loads(path.read_text()) | {"training_minutes": None}
            elif path.name == "table.csv" and self.name == "search":
                rows = csv.DictReader(path.read_text().splitlines())
                # A trial whose worker died has a line that says so.
                rows = [r | {"trial": "", "minutes": ""} for r in rows if r["state"] != "no result"]
                found[name] = sorted(rows, key=lambda r: r["folder"])
            else:
                found[name] = path.read_bytes()
        return found


@pytest.fixture(scope="module", params=by_day(["train", "sweep", "search"], ["train"]))
def work(request, tmp_path_factory):
    """What is killed, what comes of it when it is not, and how many writes that takes."""
    folder = tmp_path_factory.mktemp(request.param)
    one = Work(request.param, folder)
    with pytest.MonkeyPatch.context() as patch:
        counts = []
        for half in (False, True):
            out = folder / f"whole {half}"
            with killed_at(patch, out, half=half) as kill:
                one(out)
            counts.append(kill.count)
    assert min(counts) > 2, counts
    expected = one.result(folder / "whole False")
    assert expected == one.result(folder / "whole True")
    return one, expected, counts


def killed_and_resumed(work, tmp_path, monkeypatch, at: int, half: bool) -> None:
    one, expected, _ = work
    out = tmp_path / "out"
    with killed_at(monkeypatch, out, at, half=half) as kill:
        one(out)
    assert kill.dead, f"there was no write {at}"
    one(out, again=True)
    found = one.result(out)
    assert found.keys() == expected.keys(), at
    assert [name for name in expected if found[name] != expected[name]] == [], at
    shutil.rmtree(out)


@pytest.mark.parametrize("half", [False, True], ids=["at a write", "within a line"])
def test_killed_at_some_writes(work, tmp_path, monkeypatch, half):
    count, share = work[2][half], 2 if half else 4
    for at in range(count // (2 * share), count, max(1, count // share)):
        killed_and_resumed(work, tmp_path, monkeypatch, at, half)


@pytest.mark.nightly
@pytest.mark.parametrize("half", [False, True], ids=["at a write", "within a line"])
def test_killed_at_every_write(work, tmp_path, monkeypatch, half):
    for at in range(work[2][half]):
        killed_and_resumed(work, tmp_path, monkeypatch, at, half)


@pytest.mark.parametrize("half", [False, True], ids=["at a write", "within a line"])
def test_a_full_disk_leaves_whole_what_was_written(work, tmp_path, monkeypatch, half):
    one, expected, _ = work
    out = tmp_path / "out"
    with killed_at(monkeypatch, tmp_path / "whole", half=half, full=True) as counted:
        one(tmp_path / "whole")
    for at in range(counted.count // 4, counted.count, max(1, counted.count // 2)):
        with killed_at(monkeypatch, out, at, half=half, full=True) as kill:
            with pytest.raises((OSError, ConfigError), match="No space left on device") as error:
                one(out)
            assert str(out) in str(error.value), at
        assert kill.dead
        assert not list(out.rglob("*.tmp"))
        one(out, again=True)
        assert one.result(out) == expected, at
        shutil.rmtree(out)


@pytest.mark.nightly
def test_killed_twice(work, tmp_path, monkeypatch):
    one, expected, counts = work
    out = tmp_path / "out"
    for at in (counts[0] // 2, counts[0] // 4):
        with killed_at(monkeypatch, out, at):
            one(out, again=True)
    one(out, again=True)
    assert one.result(out) == expected
