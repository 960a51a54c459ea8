"""What goes wrong around a run is one line with what to do next: interrupts, a full disk, too little memory,
a file of another kind."""

import errno
import os
import signal
import subprocess
import sys

import jax
import pytest

from spikejax import cli
from spikejax.configuration import check
from spikejax.errors import ConfigError
from spikejax.jobs import memory
from spikejax.jobs.train import train_run
from spikejax.training import checkpoint

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
@pytest.mark.parametrize("after", ["numpy", "equinox"])
def test_ctrl_c_while_it_imports_is_one_line(config, after):
    # Python says on its standard error what it has imported.
    words = ["-X", "importtime", "-m", "spikejax", "train", str(config), "--out", "out"]
    with subprocess.Popen(
        interruptible(words), env=environment(), stdout=-1, stderr=-1, text=True, cwd=config.parent
    ) as process:
        while process.stderr.readline().rpartition("|")[2].strip() != after:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    said = [line for line in error.splitlines() if not line.startswith("import time:")]
    assert said == ["spikejax: interrupted before anything was begun"]
    assert process.returncode == 130


def test_ctrl_c_later_is_one_line(config, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("spikejax.jobs.train.train_run", interrupted)
    assert cli.main(["train", str(config), "--out", str(config.parent / "out")]) == 130
    error = capsys.readouterr().err
    assert error == (
        "spikejax: interrupted; what was written stays; --resume continues from the last checkpoint, if "
        "there is one\n"
    )


def interruptible(words):
    """Python with these arguments, for which Ctrl-C is not ignored: a shell has it ignored in what it starts
    in the background, as the tests may be."""
    start = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-c", start, sys.executable, *words]


def test_other_programs_keep_their_own_ctrl_c():
    code = "import signal, spikejax; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    subprocess.run(interruptible(["-c", code]), check=True, env=environment())


# A full disk.


def test_a_full_disk_is_one_line(config, capsys, monkeypatch):
    # What stays of the run, and that it goes on: test_killed.py.
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x/last.ckpt")

    monkeypatch.setattr("spikejax.jobs.train.train_run", full)
    assert fails(capsys, "train", config, "--out", config.parent / "out") == (
        "spikejax: runs/x/last.ckpt: No space left on device; what was written stays whole: make room, and "
        "go on from there; --resume continues from the last checkpoint, if there is one"
    )


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
            with pytest.raises(ConfigError, match="there 4 times at least"):
                memory.check_network_memory(config)
            fixed = check(changed(PREDICTIVE, training={"trainable": ["bias"]}))
            monkeypatch.setattr(memory, "memory_of_device", lambda: 4 * 8 * parameters // 2)
            memory.check_network_memory(fixed)


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


def test_a_device_that_is_not_there(monkeypatch, capsys, tmp_path):
    def fail(*_):
        raise RuntimeError("Unable to initialize backend 'tpu'")

    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    monkeypatch.setattr("jax.devices", fail)
    monkeypatch.setattr("spikejax.jobs.evaluate.Evaluate.execute", fail)
    error = fails(capsys, "evaluate", tmp_path)
    assert "JAX_PLATFORMS is tpu" in error
    assert "pip install 'spikejax[tpu]'" in error
