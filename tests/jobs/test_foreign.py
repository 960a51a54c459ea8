"""Folders of runs, sweeps and searches that are damaged, or a stranger's: what is readable is kept, the rest
is one line, and nothing outside is read or written."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import cli
from spikejax.configuration import build, load
from spikejax.errors import ConfigError
from spikejax.jobs.run import check_inside, claim_folder, claimed, clock
from spikejax.jobs.train import finished_run, train_run
from spikejax.locks import Lock
from spikejax.plotting.run import training
from spikejax.training import checkpoint
from spikejax.training.log import MetricsLog, read_metrics

from ..command_line import fails
from ..configs import PREDICTIVE, toml

TEXT = toml(PREDICTIVE, training={"steps": 3, "evaluate_every": 2, "checkpoint_every": 2})
SEARCH = TEXT + '[search]\ntrials = 2\n[search.space]\n"gate.width" = { low = 0.3, high = 0.5 }\n'

pytestmark = pytest.mark.filterwarnings("default::UserWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of three updates, evaluated after two and three, with its configuration beside it."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "tiny.toml").write_text(TEXT)
    train_run(load(folder / "tiny.toml"), folder / "run", progress=False, figures=False)
    return folder


@pytest.fixture
def run(made, tmp_path):
    shutil.copytree(made / "run", tmp_path / "run")
    return tmp_path / "run"


def resume(made, run):
    return ["train", str(made / "tiny.toml"), "--out", str(run), "--resume", "--quiet"]


# The best network.


@pytest.mark.parametrize("damage", ["lost", "flipped", "not a number"])
def test_the_best_network_is_found_in_the_last_checkpoint(made, run, capsys, damage):
    best, whole = run / "best.ckpt", (run / "best.ckpt").read_bytes()
    if damage == "lost":
        best.unlink()
    elif damage == "flipped":
        best.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    else:
        network = build(load(run)).network
        bad = checkpoint.load(best, network)[0]
        bad = jnp_nan(bad)
        checkpoint.save(best, bad, step=2, score=0.0)
    capsys.readouterr()
    assert cli.main(["evaluate", str(run)]) == 0
    error = capsys.readouterr().err.strip()
    assert error.startswith("spikejax: warning: ")
    assert f"written again from {run / 'last.ckpt'}" in error
    assert "\n" not in error
    assert best.read_bytes() == whole
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["hard"] == json.loads((run / "summary.json").read_text())["hard"]


def jnp_nan(network):
    return eqx.tree_at(lambda n: n.layers[0].bias, network, network.layers[0].bias.at[2].set(jnp.nan))


def test_resuming_finds_it_too(run):
    whole = (run / "best.ckpt").read_bytes()
    (run / "best.ckpt").write_bytes(whole[:-1])
    with pytest.warns(UserWarning, match="best.ckpt is not a complete checkpoint.*written again from"):
        train_run(load(run), run, resume=True, progress=False, figures=False)
    assert (run / "best.ckpt").read_bytes() == whole


def test_a_best_network_that_is_nowhere_is_one_line(run, capsys):
    (run / "best.ckpt").write_bytes(b"{")
    (run / "last.ckpt").unlink()
    assert "best.ckpt is not a complete checkpoint" in fails(capsys, "evaluate", run)
    assert "train with --resume" in fails(capsys, "plot", run)
    network = build(load(run)).network
    checkpoint.save(run / "best.ckpt", jnp_nan(network), step=2, score=0.0)
    assert "layers.0.bias is not finite" in fails(capsys, "evaluate", run)


# The last checkpoint: what damage to it could say, if it came with the right checksum.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"best_score": "abc"}, "best_score is 'abc'"),
        ({"stage": 7}, "a stage that the configuration has not"),
        (None, "its header is not that of a training"),
        ({"step": -(2**31)}, "its arrays are of step 3, its header of -2147483648"),
    ],
)
def test_a_state_that_training_never_had(made, run, capsys, changes, words):
    built = build(load(run))
    arrays, header = checkpoint.load(run / "last.ckpt", (built.state, built.state.params))
    step = (changes or {}).pop("step", header["step"])
    sessions = 3 if changes is None else [header["sessions"][0] | changes]
    checkpoint.save(run / "last.ckpt", arrays, step=step, sessions=sessions)
    assert words in fails(capsys, *resume(made, run))


@pytest.mark.parametrize("step", [-(2**31), 4])
def test_arrays_of_a_step_that_training_never_had(made, run, capsys, step):
    built = build(load(run))
    (state, best), header = checkpoint.load(run / "last.ckpt", (built.state, built.state.params))
    state = state._replace(step=jnp.asarray(step, state.step.dtype))
    checkpoint.save(run / "last.ckpt", (state, best), step=step, sessions=header["sessions"])
    assert f"it is of step {step} of 3" in fails(capsys, *resume(made, run))


# The log.

LINES = {
    "big_int": '{"step": ' + "9" * 6000 + "}\n",
    "long_number": '{"step": 1, "loss": ' + "9" * 400 + "}\n",
    "empty": "",
    "garbage": "\x00\ufffd \n" * 50,
    "deep": "[" * 100_000 + "\n",
    "list": "[1]\n",
    "nan": '{"step": 1, "loss": NaN, "sharpness": "x"}\n',
    "infinite": '{"step": 1, "loss": Infinity, "gradient": -1e999, "sharpness": [1.0, null]}\n',
    "no_sharp": '{"step": 1}\n',
    "null_steps": '{"step": null}\n{"step": 1}\n',
    "true_steps": '{"step": true}\n',
    "separator": '{"step": 1, "a": "\u2028"}\n',
    "kinds": '{"step": 1, "loss": [1, 2], "sharpness": {"a": 1}, "gradient/w": "x", "held_out/loss": []}\n',
    "shapes": '{"step": 1, "sharpness": [1.0, 2.0]}\n{"step": 2, "sharpness": 1.0}\n{"step": 3}\n',
}


@pytest.mark.filterwarnings("ignore:.*(no positive values|Attempt to set non-positive|layout not applied)")
@pytest.mark.parametrize("name", LINES)
def test_a_damaged_log_is_drawn_and_resumed_as_far_as_it_goes(made, tmp_path, name):
    log, good = tmp_path / "metrics.jsonl", (made / "run" / "metrics.jsonl").read_text()
    for text in (LINES[name], LINES[name] + good, good + LINES[name].rstrip("\n")):
        log.write_text(text, encoding="utf-8")
        metrics = read_metrics(log)
        if good in text:
            assert sum(m.get("loss") is not None and "sharpness" in m for m in metrics) >= 3
    log.write_text(LINES[name], encoding="utf-8")
    if alone := read_metrics(log):
        training(alone).savefig(os.devnull, format="png")
    log.write_text(LINES[name] + good, encoding="utf-8")
    log_again = MetricsLog(log, resume_at=2)
    log_again.close()
    lines = good.splitlines(keepends=True)
    assert log.read_text().endswith("".join(lines[:2]))
    assert len(read_metrics(log)) <= len(LINES[name].splitlines()) + 2


def test_damaged_summaries_and_times(run):
    for text in ("", "[]", '{"smooth": 3}', "[" * 10_000, "\x00"):
        (run / "summary.json").write_text(text)
        with pytest.raises(ConfigError, match="summary.json is damaged .*: delete it"):
            finished_run(load(run), run)
    for text in ("NaN", "-3", "1e999", "[" * 10_000, '"x"', "9" * 400):
        (run / "minutes.json").write_text(text)
        with clock(run / "minutes.json") as minutes:
            assert 0 <= minutes() < 60


# Ways out of the folder.


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "figures", "best.ckpt", "summary.json", "analysis", "deep/link"]
)
def test_links_out_of_a_run_are_refused(made, run, tmp_path, capsys, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("{}")
    (run / "figures").mkdir()
    place = run / name
    place.parent.mkdir(exist_ok=True)
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    place.symlink_to(outside if "." not in name else outside / "secret")
    before = sorted(outside.iterdir())
    for command in (
        ["plot", run],
        ["evaluate", run],
        ["analyse", run],
        ["landscape", run],
        resume(made, run),
    ):
        assert f"{place} is a link out of {run}" in fails(capsys, *command)
    assert sorted(outside.iterdir()) == before
    assert (outside / "secret").read_text() == "{}"


@pytest.mark.skipif(os.name != "posix", reason="symbolic links and pipes")
def test_links_within_and_to_the_folder_are_fine_and_pipes_are_not(run, tmp_path, capsys):
    (run / "same.ckpt").symlink_to("best.ckpt")
    (tmp_path / "name").symlink_to(run)
    check_inside(tmp_path / "name")
    os.mkfifo(run / "pipe")  # reading it would wait for ever
    assert "neither a file nor a folder" in fails(capsys, "evaluate", run)


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_links_out_of_a_sweep_and_a_search_are_refused(tmp_path, capsys):
    (tmp_path / "outside").mkdir()
    (tmp_path / "sweep.toml").write_text(TEXT + "[sweep]\nseeds = [0]\n")
    (tmp_path / "search.toml").write_text(SEARCH)
    for kind, inner in (("sweep", "points"), ("search", "trials")):
        out = tmp_path / f"out-{kind}"
        out.mkdir()
        (out / inner).symlink_to(tmp_path / "outside")
        error = fails(capsys, kind, tmp_path / f"{kind}.toml", "--out", out)
        assert f"{out / inner} is a link out of {out}" in error
    assert not list((tmp_path / "outside").iterdir())


# Two at once.


def test_a_folder_in_use_is_refused_and_kept(made, run, capsys):
    before = {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}
    with Lock(run / ".lock"):
        assert "is being written to by another process" in fails(capsys, *resume(made, run))
        assert "is being written to" in fails(capsys, "train", made / "tiny.toml", "--out", run)
        assert cli.main(["evaluate", str(run)]) == 0  # which writes nothing that training does
    assert {name: (run / name).read_bytes() for name in before} == before


def test_folders_are_claimed_before_anything_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: claim_folder("x"), range(40)))
    assert {f.name for f in folders} == {"x", *(f"x-{n}" for n in range(2, 41))}
    with claimed("x") as mine:
        assert mine.name == "x-41"
    assert not mine.exists()  # nothing came into it


def test_leftovers_go_away(run):
    for name in (".last.ckpt.123.abc.tmp", ".metrics.jsonl.9.tmp"):
        (run / name).write_bytes(b"half")
    (run / ".lock").touch()
    finished_run(load(run), run)
    assert not [p.name for p in run.iterdir() if p.name.startswith(".")]


# Everything at once.


def _fuzzed(run, capsys, seed, count, commands):
    """Files of a run with random damage: every command says one line, or does what it can."""
    rng = np.random.default_rng(seed)
    files = ["best.ckpt", "last.ckpt", "metrics.jsonl", "summary.json", "minutes.json", "versions.json"]
    whole = {name: (run / name).read_bytes() for name in files}
    for i in range(count):
        name = files[i % len(files)]
        data = bytearray(whole[name])
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(len(data) + 1))
            data[at : at + int(rng.integers(40))] = rng.bytes(int(rng.integers(40)))
        (run / name).write_bytes(data)
        capsys.readouterr()
        code = cli.main(commands[int(rng.integers(len(commands)))])
        error = capsys.readouterr().err
        assert code in (0, 2), name
        lines = [x for x in error.splitlines() if not x.startswith("spikejax: warning: ")]
        assert len(lines) == (code == 2), error
        for other, content in whole.items():
            (run / other).write_bytes(content)


def test_fuzzed_runs(run, capsys):
    _fuzzed(run, capsys, 0, 3, [["evaluate", str(run)]])


@pytest.mark.nightly
def test_many_fuzzed_runs(made, run, capsys):
    commands = [[name, str(run)] for name in ("evaluate", "plot")]
    _fuzzed(run, capsys, 1, 120, [*commands, resume(made, run)])
