"""The journal of a search: cut, damaged, or a stranger's."""

import json
import threading

import pytest

from spikejax.jobs.search import job, load_search, study, worker
from spikejax.jobs.search.job import search_run
from spikejax.jobs.search.journal import Journal

from ..command_line import fails
from .test_search import BASE, SPACE, quick, rows, write  # noqa: F401 (quick is a fixture)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr(job, "_draw", lambda *_: None)


@pytest.fixture
def plan(tmp_path):
    return load_search(write(tmp_path, BASE + SPACE), [("search.trials", "2")])


@pytest.fixture
def searched(plan, tmp_path, quick):  # noqa: F811
    """A folder with two trials, and its plan for three."""
    search_run(plan, tmp_path / "out", progress=False)
    return tmp_path / "out", plan._replace(search=plan.search.model_copy(update={"trials": 3}))


def test_a_cut_last_line_is_removed_and_the_search_goes_on(searched):
    out, plan = searched
    journal = out / "study.journal"
    whole = journal.read_bytes()
    for cut in (b'{"op_code":6,"wor', b"{", b"\0" * 40, b'{"op_code":6}'):
        journal.write_bytes(whole + cut)
        found = search_run(plan, out, progress=False)
        assert len(found.trials) == 3
        lines = journal.read_bytes().splitlines()
        assert all(json.loads(line)["op_code"] >= 0 for line in lines)
        assert journal.read_bytes().startswith(whole)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"garbage\n", "line 4, is none of a search's journal"),
        (b"[1]\n", "line 4, is none of a search's journal (it has no op_code)"),
        (b"\0" * 50 + b"\n", "line 4"),
        (b"[" * 100_000 + b"\n", "line 4, is none of a search's journal (it nests too deeply)"),
        (b"\xff\xfe\n", "line 4"),
        (b"{}\n", "line 4"),
        (b'{"op_code":99}\n', "cannot be used"),
        (b'{"op_code":' + b"9" * 5000 + b"}\n", "line 4"),
        (b'{"op_code":5,"trial_id":10}\n', "cannot be used"),
    ],
)
def test_a_damaged_journal_is_refused_and_kept(searched, tmp_path, capsys, text, words):
    out, _ = searched
    journal = out / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    damaged = b"".join([*lines[:3], text, *lines[3:]])
    journal.write_bytes(damaged)
    assert words in fails(capsys, "search", tmp_path / "search.toml", "--out", out)
    assert journal.read_bytes() == damaged


@pytest.mark.parametrize("content", [b"garbage", b"[" * 1000, b"\xff" * 100])
def test_a_file_without_lines_is_no_journal(searched, tmp_path, capsys, content):
    out, _ = searched
    (out / "study.journal").write_bytes(content)
    assert "line 1, is none of a search's journal (it does not end)" in fails(
        capsys, "search", tmp_path / "search.toml", "--out", out
    )
    assert (out / "study.journal").read_bytes() == content


def test_an_empty_journal_is_a_new_one(plan, tmp_path, quick):  # noqa: F811
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.journal").touch()
    search_run(plan, tmp_path / "out", progress=False)
    assert len(rows(tmp_path / "out")) == 2


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("folder", "../../escaped", "the folder '../../escaped', which is none of the search"),
        ("folder", "/tmp/escaped", "the folder '/tmp/escaped'"),
        ("folder", "trials/../../escaped", "the folder"),
        ("folder", ["trials/0"], "the folder"),
        ("deaths", "x", "deaths that are no number"),
    ],
)
def test_a_journal_names_no_folder_outside(searched, tmp_path, capsys, name, value, words):
    out, _ = searched
    text, written = (out / "study.journal").read_text(), '"user_attr":{"folder":"trials/1"}'
    assert written in text
    attribute = json.dumps({"user_attr": {name: value}})[1:-1]
    (out / "study.journal").write_text(text.replace(written, attribute))
    error = fails(capsys, "search", tmp_path / "search.toml", "--out", out)
    assert "trial 1 has" in error
    assert words in error
    assert not list(tmp_path.rglob("escaped"))


def test_a_trial_that_another_worker_queued_with_a_folder_outside_is_not_made(searched, tmp_path):
    # The study was checked when it was opened; what is queued later has no folder but that of its number.
    out, plan = searched
    opened = study.open_study(plan, out)
    opened.enqueue_trial({}, user_attrs={"folder": "../../escaped"})
    worker.train_trial(opened, plan, out, progress=False)
    assert not list(tmp_path.rglob("escaped"))
    assert opened.trials[2].user_attrs["folder"] == "trials/2"


def test_a_trial_of_other_keys_is_refused(searched, tmp_path, capsys):
    out, _ = searched
    lines = (out / "study.journal").read_text().replace('"training.learning_rate"', '"x"')
    head = [line for line in lines.splitlines() if '"user_attr":{"search"' not in line]
    (out / "study.journal").write_text("\n".join(head) + "\n")
    assert "is no key of [search.space]" in fails(capsys, "search", tmp_path / "search.toml", "--out", out)


def test_writers_at_once_lose_no_line(tmp_path):
    def work(n):
        journal = Journal(tmp_path / "j")
        for i in range(30):
            journal.append_logs([{"op_code": 0, "n": n, "i": i}])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [json.loads(line) for line in (tmp_path / "j").read_text().splitlines()]
    assert sorted((x["n"], x["i"]) for x in found) == [(n, i) for n in range(4) for i in range(30)]


def test_a_full_disk_leaves_whole_lines(tmp_path, monkeypatch):
    from spikejax.jobs.search import journal as module

    journal = Journal(tmp_path / "j")
    journal.append_logs([{"op_code": 0}])
    before = (tmp_path / "j").read_bytes()

    def full(file, lines):
        file.write(lines[:5])
        file.flush()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "append_lines", full)
    with pytest.raises(OSError, match="No space left.*j") as error:
        journal.append_logs([{"op_code": 1}])
    assert error.value.filename == str(tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == before


def test_a_run_folder_in_use_is_tried_again(plan, tmp_path, monkeypatch):
    # The worker from which a trial was taken may still be writing.
    from spikejax.jobs.run import FolderInUse

    calls = []

    def busy(config, place, *, report, **options):
        calls.append(place.name)
        if len(calls) == 1:
            raise FolderInUse("busy")
        report(1, 0.5)

    monkeypatch.setattr(worker, "finished_run", busy)
    monkeypatch.setattr(worker, "held_out_score", lambda *_: 0.5)
    search_run(plan, tmp_path / "out", progress=False)
    assert calls == ["0", "0", "1"]
    assert [r["state"] for r in rows(tmp_path / "out")] == ["no result", "complete", "complete"]


def test_trials_that_are_made_again_do_not_change_the_others(plan, tmp_path, quick, monkeypatch):  # noqa: F811
    one = search_run(plan, tmp_path / "one", progress=False)
    real, died = worker.finished_run, []

    def dying(*args, **options):
        if not died:
            died.append(1)
            raise worker.FolderInUse("dies")
        return real(*args, **options)

    monkeypatch.setattr(worker, "finished_run", dying)
    other = search_run(plan, tmp_path / "other", progress=False)
    made = {t.user_attrs["folder"]: t.params for t in other.trials if t.value is not None}
    assert made == {t.user_attrs["folder"]: t.params for t in one.trials}
    assert len(other.trials) == 3
