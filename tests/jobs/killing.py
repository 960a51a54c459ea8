"""A kill at any write: from then on the process writes nothing more, whatever it still tries to clean up.

Python says of every file that is opened for writing, renamed or removed, and of every folder
(`sys.addaudithook`), so that no write is missed, whoever makes it. A line that is only half written is a kill
of its own.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from optuna.storages.journal import JournalFileBackend  # noqa: F401 (its imports, before a kill)

from spikejax.files import named
from spikejax.jobs.search import journal
from spikejax.jobs.search.worker import Heartbeat
from spikejax.training.log import MetricsLog

EVENTS = {"os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "os.truncate": 1}
"""Events that change a file system, and how many paths each is of."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Killed(SystemExit):
    """What ends the code that is killed."""


class Kill:
    """Counts the writes below `folder` and kills at number `at`, from 0 (None: never).

    **Arguments:** `half`: the writes that count are lines of the metrics and of the journal, which are cut in
    the middle; `full`: nobody is killed, but the disk is full from then on, and takes neither new files nor
    more in old ones.
    """

    def __init__(self, folder: Path, at: int | None = None, *, half: bool = False, full: bool = False):
        self.folder, self.at, self.half, self.full = str(folder), at, half, full
        self.count, self.dead = 0, False

    def __call__(self) -> bool:
        """Note a write; whether it is the one at which everything ends."""
        if self.dead:
            raise self.error
        self.dead = self.count == self.at
        self.count += 1
        return self.dead

    @property
    def error(self) -> BaseException:
        """What a write raises from now on."""
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if self.full else Killed()

    def event(self, name: str, arguments: tuple) -> None:
        """Note an event of Python."""
        if name == "open":
            if not isinstance(arguments[2], int) or not arguments[2] & WRITING:
                return
            paths = arguments[:1]
        elif name in EVENTS and not self.full:
            paths = arguments[: EVENTS[name]]
        else:
            return
        ours = [str(p) for p in paths if isinstance(p, str | Path) and str(p).startswith(self.folder)]
        if ours and (self.dead or (not self.half and self())):
            raise OSError(*self.error.args, ours[0]) if self.full else Killed


RUNNING: list[Kill] = []


def _hook(name: str, arguments: tuple) -> None:
    for kill in RUNNING:
        kill.event(name, arguments)


sys.addaudithook(_hook)


@contextlib.contextmanager
def killed_at(monkeypatch, folder: Path, at: int | None = None, **how: bool) -> Iterator[Kill]:
    """A context in which the write number `at` below `folder` is the last (see `Kill`)."""
    kill = Kill(folder, at, **how)
    half = kill.half
    real_write, real_lines = MetricsLog.write, journal.lines_of

    def write(self, step, metrics):
        if half and kill():
            self._file.write('{"step": 3, "loss": 0.1')
            self._file.flush()
        if kill.dead:
            with named(self._path):
                raise kill.error
        real_write(self, step, metrics)

    class Cut(bytes):
        """Lines of which a file takes half."""

    def lines_of(logs):
        lines = real_lines(logs)
        return Cut(lines) if half and kill() else lines

    def append(file, lines):
        if isinstance(lines, Cut):
            file.write(lines[: len(lines) // 2])
            file.flush()
            raise kill.error
        file.write(lines)

    real_beat = Heartbeat._beat

    def beat(self):
        with contextlib.suppress(Killed):  # a thread ends in silence
            real_beat(self)

    with monkeypatch.context() as patch:
        patch.setattr(Heartbeat, "_beat", beat)
        patch.setattr(MetricsLog, "write", write)
        patch.setattr(journal, "lines_of", lines_of)
        patch.setattr(journal, "append_lines", append)
        RUNNING.append(kill)
        try:
            yield kill
        except Killed:
            pass
        finally:
            RUNNING.remove(kill)
