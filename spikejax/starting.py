"""What has to be said before anything slow is imported, of the command line's own process only: that Ctrl-C
is one line, and how many threads NumPy's linear algebra has."""

import itertools
import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def end_quietly_when_interrupted() -> None:
    """Until `stop_ending`, have Ctrl-C end the process at once, if this is the command line's.

    To be called before anything slow is imported. Where the package is imported by another program, nothing
    is changed.
    """
    if _is_command_line(sys.argv[0] if sys.argv else "", sys.orig_argv):
        try:
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                signal.signal(signal.SIGINT, _end)
        except ValueError:  # not the main thread
            pass


def one_thread_for_small_matrices() -> None:
    """Have NumPy's linear algebra use one thread, if this is the command line's process and the user has not
    said otherwise.

    The matrices of an analysis are many and small: threads that share one of them wait for each other,
    twenty times as long where another program runs beside it (`spikejax.analysis` cuts such work over threads
    itself). XLA has threads of its own, which this does not change.
    """
    if _is_command_line(sys.argv[0] if sys.argv else "", sys.orig_argv):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def stop_ending() -> None:
    """Have Ctrl-C raise `KeyboardInterrupt` again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_command_line(name: str, words: list[str]) -> bool:
    """Whether the interpreter was started as ``spikejax`` or ``python -m spikejax``.

    **Arguments:** `name`, `words`: ``sys.argv[0]`` (``-m`` while the package is being imported for that) and
    ``sys.orig_argv``.
    """
    if name == "-m":
        return "-mspikejax" in words or ("-m", "spikejax") in itertools.pairwise(words)
    return os.path.basename(name).removesuffix(".exe") == "spikejax"


def _end(signum: int, frame: FrameType | None) -> None:
    os.write(2, b"spikejax: interrupted before anything was begun\n")
    os._exit(INTERRUPTED)


__all__ = ["INTERRUPTED", "end_quietly_when_interrupted", "one_thread_for_small_matrices", "stop_ending"]
