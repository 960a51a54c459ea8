"""Locks of files and folders that end with the process that holds them, however it ends.

The operating system keeps them (``flock``; on Windows ``msvcrt.locking``), so that a killed process leaves
none. What holds where:

- One machine: always.
- NFS: between machines, if the server's lock service runs (Linux makes ``flock`` a lock of the server); a
  server that has lost a machine keeps its locks until it gives the machine up.
- Lustre and others that are mounted without locks: the system says so, and the lock is taken for granted with
  a warning. There only the names of new folders, which are made exclusively, keep two starts apart.
"""

import contextlib
import errno
import os
import sys
import time
import warnings
from pathlib import Path

WITHOUT_LOCKS = {
    getattr(errno, name) for name in ("ENOLCK", "ENOSYS", "EOPNOTSUPP", "ENOTSUP") if hasattr(errno, name)
}
"""Errors of file systems that have no locks."""
POLL = 0.02
"""Seconds between two tries."""

if sys.platform == "win32":
    import msvcrt

    def _try(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _try(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Lock:
    """An exclusive lock, as a context manager or by `acquire` and `release`; not reentrant.

    **Arguments:** `path`: of the lock's own file, made with its folder if they are not there; both go with
    the lock, the folder if nothing else has come into it.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file: int | None = None
        self._made: list[Path] = []

    def acquire(self, wait: float = 0.0) -> bool:
        """Take the lock, for which others may be waited for so many seconds; whether it was to be had.

        **Raises:** `OSError` if its file cannot be made.
        """
        deadline = time.monotonic() + wait
        while True:
            file = self._open()
            if file is not None:
                if self._locked(file):
                    self._file = file
                    return True
                os.close(file)
                if time.monotonic() >= deadline:
                    return False
                time.sleep(POLL)

    def _open(self) -> int | None:
        """The lock's file; None if its folder has gone meanwhile."""
        folder = self.path.parent
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        self._made = missing or self._made
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except FileNotFoundError:
            return None

    def _locked(self, file: int) -> bool:
        try:
            _try(file)
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                return False
            warnings.warn(
                f"the file system of {self.path.parent} has no locks: start no two processes there",
                stacklevel=3,
            )
        # Whoever held it may have removed the file since it was opened: then this lock is of nothing.
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            # Before it is given back: later it may be another's. Windows removes no open file.
            with contextlib.suppress(OSError):
                self.path.unlink()
            with contextlib.suppress(OSError):
                for folder in self._made:
                    folder.rmdir()
        finally:
            os.close(file)

    def __enter__(self):
        self.acquire(wait=float("inf"))
        return self

    def __exit__(self, *_):
        self.release()


__all__ = ["Lock"]
