"""Asked to stop by Ctrl-C or SIGTERM: finish what is at hand, then stop."""

import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

log = logging.getLogger(__name__)

Handler = Callable[[int, FrameType | None], Any] | int | None


class Interrupted(Exception):  # noqa: N818 - nothing went wrong: somebody wanted it to stop.
    """What ran was asked to stop, and did so in order.

    Attributes:
        signal_number: what asked.
        saved: where it can go on from, if it left such a file.
    """

    def __init__(self, message: str, signal_number: int, *, saved: Path | None = None) -> None:
        super().__init__(message)
        self.signal_number, self.saved = signal_number, saved


class SignalHandler:
    """Within it, the first SIGINT or SIGTERM is only noted; a second one acts as it would have before.

    Python lets the main thread alone handle signals; in another thread nobody is listened to.

    Attributes:
        signal_number: what asked to stop; None while nobody did.
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
        log.warning("Finishing this step, then saving; the same again stops at once.")
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
