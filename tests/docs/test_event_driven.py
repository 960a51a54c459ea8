"""The page on event-driven networks: its code works as shown, and its errors stand where the script's do."""

import re

from ..places import ROOT

PAGE = (ROOT / "docs" / "event_driven.md").read_text(encoding="utf-8")


def test_its_code_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "event_driven.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == ["True"]


def test_its_errors_are_within_their_bounds():
    rows = re.findall(r"\| ([\d.e-]+) \| (1e-\d+) \|", PAGE)
    assert len(rows) == 11
    assert all(float(error) < float(bound) for error, bound in rows)
