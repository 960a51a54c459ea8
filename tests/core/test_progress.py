"""What long work shows of itself, on a terminal and elsewhere."""

import io
import sys

import pytest

from spikejax.progress import LINES, Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Makes stderr a terminal (in the test itself: pytest sets stderr before each phase of one)."""

    def begin():
        found = Terminal()
        monkeypatch.setattr(sys, "stderr", found)
        return found

    return begin


def work(steps, *, shown=True):
    with Progress(steps, shown=shown) as progress:
        for i in range(steps):
            progress.phase("compiling" if i == 0 else "training")
            progress.advance(loss=f"{1 / (i + 1):.3f}")
            progress.phase("evaluating")
            progress.result(f"step {i + 1}: accuracy 0.9")
            if i == 3:
                progress.line("warning: silent")


def test_without_a_terminal_there_are_a_few_plain_lines(capsys):
    work(1000)
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[:3] == ["compiling", "evaluating", "training"]
    assert lines.count("training") == 1
    results = [line for line in lines if line.startswith("step")]
    assert LINES <= len(results) <= LINES + 1
    assert results[-1] == "step 1000: accuracy 0.9"
    assert "warning: silent" in lines


def test_of_little_work_every_result_is_a_line(capsys):
    work(5)
    assert sum(line.startswith("step") for line in capsys.readouterr().out.splitlines()) == 5


def test_on_a_terminal_there_is_a_bar_and_a_line_for_every_result(capsys, terminal):
    screen = terminal()
    work(50)
    out = capsys.readouterr().out
    assert sum(line.startswith("step") for line in out.splitlines()) == 50
    assert "compiling" not in out
    bar = screen.getvalue()
    for shown in ("compiling", "evaluating", "50/50", "loss=0.020", "<00:00"):  # the last is the time left
        assert shown in bar


def test_quiet_work_shows_warnings_only(capsys, terminal):
    screen = terminal()
    work(50, shown=False)
    assert capsys.readouterr().out.splitlines() == ["warning: silent"]
    assert screen.getvalue() == ""


def test_resumed_work_goes_on_where_it_was(terminal):
    screen = terminal()
    with Progress(10, initial=8) as progress:
        progress.advance()
    assert "9/10" in screen.getvalue()


def test_a_part_is_a_phase_and_a_step(capsys):
    with Progress(2, unit="part") as progress:
        with progress.part("decoding"):
            pass
        with pytest.raises(KeyError), progress.part("ablation"):
            raise KeyError
    assert capsys.readouterr().out.splitlines() == ["decoding", "ablation"]
