"""A run that is asked to stop finishes its step and saves itself first."""

import signal
import threading
from types import FrameType
from typing import Any


class Interrupts:
    """Context in which SIGINT and SIGTERM only set `requested`; a second one takes effect at once.

    Outside the main thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.requested = True
        self.__exit__()

    def __exit__(self, *exception: object) -> None:
        for which, handler in self._before.items():
            signal.signal(which, handler)
        self._before = {}
