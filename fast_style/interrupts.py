"""Graceful stop on Ctrl-C (SIGINT) or SIGTERM: finish the current step, then stop."""

import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

log = logging.getLogger(__name__)

Handler = Callable[[int, FrameType | None], Any] | int | None


class Interrupted(Exception):  # noqa: N818 - a requested stop is no error.
    """Raised after a run has stopped gracefully because of a signal.

    Attributes:
        signal_number: the signal that was received.
        saved: the file from which the run can resume, or None.
    """

    def __init__(self, message: str, signal_number: int, *, saved: Path | None = None) -> None:
        super().__init__(message)
        self.signal_number, self.saved = signal_number, saved


class SignalHandler:
    """Context manager that records the first SIGINT or SIGTERM; a second signal reaches the previous handlers.

    Python handles signals in the main thread only. In another thread this context manager does nothing.

    Attributes:
        signal_number: the signal that was received, or None.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._before: dict[int, Handler] = {}

    def __enter__(self) -> Self:
        self.signal_number = None
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._ask) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        self.signal_number = number
        log.warning("Finishing this step and saving. Send the signal again to stop at once.")
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
