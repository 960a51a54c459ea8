"""Locks end with the process that holds them, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from spikejax import locks
from spikejax.locks import Lock

from ..command_line import environment

HOLDER = """
import sys, time
from pathlib import Path
from spikejax.locks import Lock
assert Lock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(1000)
"""


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "new" / "folder" / ".lock"
    one, other = Lock(path), Lock(path)
    assert one.acquire()
    assert not other.acquire()
    begin = time.monotonic()
    assert not other.acquire(wait=0.1)
    assert time.monotonic() - begin >= 0.1
    one.release()
    one.release()
    assert not (tmp_path / "new").exists()  # nothing came into it
    assert other.acquire()
    (path.parent / "file").touch()
    other.release()
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_lock_of_a_removed_file_is_none(tmp_path):
    # Whoever waits has the file open that the holder removes: the next one makes another.
    path, inside, most = tmp_path / ".lock", [], []

    def work():
        for _ in range(40):
            with Lock(path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 160
    assert max(most) == 1
    assert not path.exists()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_holder_holds_nothing(tmp_path):
    path = tmp_path / ".lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        assert not Lock(path).acquire()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert path.exists()
    lock = Lock(path)
    assert lock.acquire()
    lock.release()
    assert not path.exists()


def test_a_file_system_without_locks_is_said_to_be_one(tmp_path, monkeypatch):
    def none(file):
        raise OSError(next(iter(locks.WITHOUT_LOCKS)), "no locks")

    monkeypatch.setattr(locks, "_try", none)
    with pytest.warns(UserWarning, match="has no locks: start no two processes there"):
        assert Lock(tmp_path / ".lock").acquire()


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="link"):
        Lock(tmp_path / "run" / ".lock").acquire()
    assert not (tmp_path / "outside").exists()
