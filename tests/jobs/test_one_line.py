"""What goes wrong around a run is one line with what to do next: interrupts, a full disk, too little memory, a
file of another kind."""

import errno
import os
import signal
import subprocess
import sys
import time

import jax
import pytest

from spikejax import cli, files
from spikejax.configuration import check, load
from spikejax.errors import ConfigError
from spikejax.jobs import memory
from spikejax.jobs.sweep import load_sweep, sweep_run
from spikejax.jobs.train import finished_run, train_run
from spikejax.training import checkpoint
from spikejax.training.log import MetricsLog, read_metrics

from ..command_line import environment, fails
from ..configs import PREDICTIVE, changed, toml

TEXT = toml(PREDICTIVE, training={"steps": 3, "evaluate_every": 2, "checkpoint_every": 2})


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TEXT)
    return path


# Interrupts.


@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
@pytest.mark.parametrize("seconds", [0.3, 0.9])
def test_ctrl_c_while_it_starts_is_one_line(config, seconds):
    command = [sys.executable, "-m", "spikejax", "train", str(config), "--out", str(config.parent / "out")]
    with subprocess.Popen(command, env=environment(), stdout=-1, stderr=-1, text=True) as process:
        # The interpreter itself takes a moment, before which nothing of the package is asked.
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.startswith("spikejax: interrupted")
    assert len(error.splitlines()) == 1


def test_ctrl_c_later_is_one_line(config, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("spikejax.jobs.train.train_run", interrupted)
    assert cli.main(["train", str(config), "--out", str(config.parent / "out")]) == 130
    error = capsys.readouterr().err
    assert error == (
        "spikejax: interrupted; what was written stays; --resume continues from the last checkpoint, if there "
        "is one\n"
    )


def test_other_programs_keep_their_own_ctrl_c():
    code = "import signal, spikejax; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())


# A full disk.


def full(monkeypatch, name):
    """Writing a file of that name fails as on a full disk, from now on; the bytes that fitted are written."""
    real = files.write_atomically

    def write(path, content):
        def short(file):
            content(file) if path.name != name else file.write(b"{")
            if path.name == name:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        real(path, short)

    for module in ("files", "training.checkpoint", "plotting.style"):
        monkeypatch.setattr(f"spikejax.{module}.write_atomically", write)


@pytest.mark.parametrize("name", ["config.toml", "best.ckpt", "last.ckpt", "metrics.jsonl", "summary.json"])
def test_a_full_disk_is_named_and_what_was_written_stays_whole(config, capsys, monkeypatch, name):
    out = config.parent / "out"
    with monkeypatch.context() as patch:
        if name == "metrics.jsonl":
            real = MetricsLog._append

            def append(self, text):
                if '"step": 3' in text:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                real(self, text)

            patch.setattr(MetricsLog, "_append", append)
        else:
            full(patch, name)
        error = fails(capsys, "train", config, "--out", out, "--quiet")
    assert error.startswith(f"spikejax: {out / name}: No space left on device; what was written stays whole")
    assert "--resume" in error
    assert not list(out.glob("*.tmp"))
    assert not list(out.glob(".*"))
    assert all(m["loss"] is not None for m in read_metrics(out / "metrics.jsonl"))
    # What was lost by it is made again.
    finished_run(load(config), out, progress=False, figures=False)
    assert [m["step"] for m in read_metrics(out / "metrics.jsonl")] == [1, 2, 3]


def test_a_full_disk_in_a_sweep(config, capsys, monkeypatch):
    path = config.parent / "sweep.toml"
    path.write_text(TEXT + "[sweep]\nseeds = [0]\n")
    with monkeypatch.context() as patch:
        full(patch, "group-0.ckpt")
        error = fails(capsys, "sweep", path, "--out", config.parent / "out", "--quiet")
    assert "group-0.ckpt: No space left" in error
    monkeypatch.setattr("spikejax.jobs.sweep.job._draw", lambda *_: None)
    assert len(sweep_run(load_sweep(path), config.parent / "out", progress=False)) == 1


# Memory.


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"network": {"layers": [{"size": 1_000_000}]}}, ["layers.0.recurrent.weight", "TiB", "size"]),
        (
            {"training": {"batch": 1_000_000_000}},
            ["training.batch is 1000000000", "currents", "training.batch smaller", "accumulate larger"],
        ),
    ],
)
def test_what_cannot_fit_is_refused_before_it_is_made(tmp_path, tables, words):
    config = check(changed(PREDICTIVE, **tables))
    with pytest.raises(ConfigError) as error:
        train_run(config, tmp_path / "run", progress=False)
    assert "\n" not in str(error.value)
    assert "of memory" in str(error.value)
    for word in words:
        assert word in str(error.value)
    assert not (tmp_path / "run").exists()


def test_what_fits_is_not_refused(monkeypatch):
    config = check(PREDICTIVE)
    memory.check_network_memory(config, 1000)
    parameters = 5 * 2 + 5 * 5 * 2 + 2 * 2 * 5  # weights, which are most of it
    for there, fits in ((4 * 8 * parameters * 2, True), (4 * 8 * parameters, False)):
        monkeypatch.setattr(memory, "memory_of_device", lambda: there)
        if fits:
            memory.check_network_memory(config)
        else:
            with pytest.raises(ConfigError, match="copies of them"):
                memory.check_network_memory(config)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "out of memory; make"),
        (MemoryError("Unable to allocate 8.00 GiB for an array with shape (3,)"), "8.00 GiB were asked for"),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes."),
            "8 GiB were asked for at once",
        ),
    ],
)
def test_memory_that_ran_out_all_the_same(config, capsys, monkeypatch, error, words):
    def exhausted(*_, **__):
        raise error

    monkeypatch.setattr("spikejax.jobs.train.train_run", exhausted)
    line = fails(capsys, "train", config, "--out", config.parent / "out")
    assert words in line
    assert "training.batch" in line


def test_other_errors_of_the_device_keep_their_traceback(config, monkeypatch):
    def broken(*_, **__):
        raise jax.errors.JaxRuntimeError("INTERNAL: a fault")

    monkeypatch.setattr("spikejax.jobs.train.train_run", broken)
    with pytest.raises(jax.errors.JaxRuntimeError):
        cli.main(["train", str(config), "--out", str(config.parent / "out")])


# Files of another kind.


def test_a_configuration_in_the_place_of_a_run_and_the_reverse(config, capsys, tmp_path):
    for command in ("evaluate", "plot", "analyse", "landscape"):
        assert f"{config} is a configuration file, not the folder of a run" in fails(capsys, command, config)
        assert f"there is no folder {tmp_path / 'x'}" in fails(capsys, command, tmp_path / "x")
    checkpoint.save(tmp_path / "best.ckpt", {})
    assert "is a checkpoint, not the folder of a run" in fails(capsys, "evaluate", tmp_path / "best.ckpt")
    for command in ("train", "sweep", "search", "fit"):
        assert "is a checkpoint: name a configuration" in fails(capsys, command, tmp_path / "best.ckpt")
    (tmp_path / "sweep" / "points" / "a").mkdir(parents=True)
    (tmp_path / "search" / "trials" / "0").mkdir(parents=True)
    for kind, inner in (("sweep", "points"), ("search", "trials")):
        for command in ("evaluate", "train"):
            error = fails(capsys, command, tmp_path / kind)
            assert f"is the folder of a {kind}: its runs are in {tmp_path / kind / inner}" in error
