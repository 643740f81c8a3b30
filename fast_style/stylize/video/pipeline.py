"""Read, stylize and write at the same time: a thread reads ahead, and another thread writes behind."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, ParamSpec, TypeVar

Part = TypeVar("Part")
Arguments = ParamSpec("Arguments")

#: How many parts are read ahead, and how many may wait to be written. Each may be a frame in memory.
WAITING = 2


class ReadAhead(Generic[Part]):
    """Iterate over `parts`, none of them None, which another thread computes in order. Its errors are raised here.

    A context manager: at its end, the thread has ended too.
    """

    def __init__(self, parts: Iterator[Part]) -> None:
        self._parts = parts
        self._thread = ThreadPoolExecutor(1, "read")

    def __enter__(self) -> Iterator[Part]:
        return self._in_order()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _end(self._thread, cancel=True)

    def _in_order(self) -> Iterator[Part]:
        ahead = deque(self._next() for _ in range(WAITING))
        while (part := ahead.popleft().result()) is not None:
            ahead.append(self._next())
            yield part

    def _next(self) -> Future[Part | None]:
        return self._thread.submit(next, self._parts, None)


class WriteBehind:
    """Call functions in another thread, in the order of `add`. An error in that thread is raised by a later `add`.

    A context manager: at its end, all calls have ended, and an error of any of them is raised. After an error in the
    block, calls that have not begun are dropped.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "write")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> "WriteBehind":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _end(self._thread, cancel=error is not None)
        if error is None:  # Else this error, which came first, is raised.
            for call in self._waiting:
                call.result()

    def add(
        self, function: Callable[Arguments, None], *arguments: Arguments.args, **keywords: Arguments.kwargs
    ) -> None:
        """Add a call, then wait until at most `WAITING` calls are left."""
        self._waiting.append(self._thread.submit(function, *arguments, **keywords))
        while len(self._waiting) > WAITING:
            self._waiting.popleft().result()


def _end(thread: ThreadPoolExecutor, *, cancel: bool) -> None:
    """Wait for the calls that have begun, also after Ctrl-C: the file that they read or write is closed next."""
    try:
        thread.shutdown(cancel_futures=cancel)
    except KeyboardInterrupt:
        thread.shutdown(cancel_futures=True)
        raise
