"""Stopping training in order: the exceptions, and Ctrl-C as a request that is read between two steps."""

import signal
import threading
from types import FrameType


class TrainingStopped(RuntimeError):
    """Training stopped for a reason that the message gives, with what to try; its progress is on disk."""


class Interrupted(TrainingStopped):
    """Ctrl-C, or a request to terminate."""


class Interrupt:
    """Turns Ctrl-C and SIGTERM into the flag `requested`, so that the step being made is not lost; a second
    Ctrl-C stops at once (`KeyboardInterrupt`).

    A context manager. Outside the main thread, where Python allows no signal handlers, `requested` stays
    False.
    """

    def __enter__(self):
        self.requested = False
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            for name in (signal.SIGINT, signal.SIGTERM):
                self._previous[name] = signal.signal(name, self._request)
        return self

    def _request(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, *_):
        for name, handler in self._previous.items():
            signal.signal(name, handler)


__all__ = ["Interrupt", "Interrupted", "TrainingStopped"]
