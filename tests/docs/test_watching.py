"""The page on watching a run: its code works as shown."""

import re

from spikejax.jobs.options import FORMATS
from spikejax.training import LOGGERS, Logger

from ..configs import PREDICTIVE, toml
from ..places import ROOT

PAGE = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")
MODULE, USE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_a_logger_of_ones_own(tmp_path, monkeypatch, capsys):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "braille.toml").write_text(toml(PREDICTIVE))  # a smaller one of that name
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(LOGGERS, "_classes", dict(LOGGERS))
    namespace = {}
    exec(compile(MODULE, "watching.md", "exec"), namespace)
    assert LOGGERS.find("best_loss") is namespace["BestLoss"]
    assert isinstance(namespace["BestLoss"](tmp_path), Logger)
    exec(compile(USE, "watching.md", "exec"), namespace)
    assert re.fullmatch(r"[0-9.]+ at step [12]", capsys.readouterr().out.splitlines()[-1])


def test_the_page_names_what_there_is():
    for name in (*FORMATS, "--log tensorboard", "--quiet"):
        assert name in PAGE
