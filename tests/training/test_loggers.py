"""Where metrics go: a logger of one's own, and TensorBoard."""

import math
import sys
import types

import pytest

from spikejax.configuration import load
from spikejax.errors import ConfigError, check_extra
from spikejax.jobs.options import LogOptions
from spikejax.jobs.train import train_run
from spikejax.training.log import LOGGERS, Logger, MetricsLog, TensorBoardLog, read_metrics

from ..command_line import fails
from ..configs import PREDICTIVE, toml
from ..places import ROOT


class Kept:
    """A logger that keeps everything."""

    def __init__(self, folder, resume_at=None):
        self.folder, self.resume_at, self.entries, self.closed = folder, resume_at, [], 0

    def write(self, step, metrics):
        self.entries.append((step, dict(metrics)))

    def close(self):
        self.closed += 1


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(toml(PREDICTIVE))
    return path


def test_a_logger_of_ones_own_is_told_what_the_file_is_told(config, tmp_path):
    made = []

    def make(folder, resume_at):
        made.append(Kept(folder, resume_at))
        return made[-1]

    overrides = (("training.steps", "3"), ("training.evaluate_every", "3"))
    train_run(load(config, overrides), tmp_path / "run", progress=False, figures=False, loggers=[make])
    (logger,) = made
    assert isinstance(logger, Logger)
    assert logger.folder == tmp_path / "run"
    assert logger.resume_at is None
    assert logger.closed == 1
    written = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [step for step, _ in logger.entries] == [entry["step"] for entry in written] == [1, 2, 3]
    for (_, told), entry in zip(logger.entries, written, strict=True):
        assert {"step", *told} == set(entry)
        assert float(told["loss"]) == pytest.approx(entry["loss"])


def test_every_logger_that_ships_is_one(tmp_path, writer):
    loggers = [MetricsLog(tmp_path / "metrics.jsonl"), *(kind(tmp_path, None) for kind in LOGGERS.values())]
    for logger in loggers:
        assert isinstance(logger, Logger)
        logger.write(1, {"loss": 0.5})
        logger.close()


@pytest.fixture
def writer(monkeypatch):
    """In place of tensorboardX: what it was told."""
    found = []

    class SummaryWriter:
        def __init__(self, folder, purge_step=None):
            found.append(("open", folder, purge_step))

        def add_scalar(self, name, value, step):
            found.append((name, value, step))

        def close(self):
            found.append("close")

    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=SummaryWriter))
    return found


def test_scalars_of_tensorboard(tmp_path, writer):
    log = TensorBoardLog(tmp_path, 7)
    log.write(8, {"loss": 0.5, "sharpness": [1.0, 2.0], "gradient": math.inf, "finite": True})
    log.close()
    assert writer == [
        ("open", str(tmp_path / "tensorboard"), 8),
        ("loss", 0.5, 8),
        ("sharpness/0", 1.0, 8),
        ("sharpness/1", 2.0, 8),
        ("finite", 1.0, 8),
        "close",
    ]


def test_the_true_writer_writes_a_file(tmp_path):
    pytest.importorskip("tensorboardX")
    log = TensorBoardLog(tmp_path)
    log.write(1, {"loss": 0.5})
    log.close()
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()]


def test_what_to_install_is_one_line(config, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    out = tmp_path / "out"
    error = fails(capsys, "train", config, "--out", out, "--log", "tensorboard")
    assert error == "spikejax: --log tensorboard needs tensorboardX: pip install 'spikejax[tensorboard]'"
    assert not out.exists()
    error = fails(capsys, "search", config, "--out", out)
    assert error == "spikejax: spikejax search needs optuna: pip install 'spikejax[search]'"
    with pytest.raises(ConfigError, match=r"spikejax\[x\]"):
        check_extra("absent", "x", "it")


def test_an_unknown_logger(config, capsys, tmp_path):
    assert "unknown logger 'tensorbord'" in fails(
        capsys, "train", config, "--out", tmp_path / "out", "--log", "tensorbord"
    )
    assert LogOptions().loggers() == ()


def test_every_extra_that_is_named_is_declared():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in ("search", TensorBoardLog.needs[1]):
        assert f"\n{extra} = [" in text


def test_formats_of_figures(config, capsys, tmp_path):
    error = fails(capsys, "train", config, "--out", tmp_path / "out", "--format", "gif")
    assert "--format is 'gif', but must be one of png, pdf, svg" in error
