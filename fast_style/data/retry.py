"""Trying again what a network may spoil: the one loop of both transports, pooch with requests, and fsspec.

By hand, since it is seven lines: tenacity does the same with fifty options, and would be one more package to install.
"""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def retry(action: Callable[[], T], *, backoff: Sequence[float], is_transient: Callable[[Exception], bool]) -> T:
    """The result of the first call that succeeds.

    Args:
        action: called once, and once more after each wait.
        backoff: seconds to wait before each further call.
        is_transient: whether another call may do better than the one that raised this. If not, and after the last
            call, the error is raised.
    """
    for pause in backoff:
        try:
            return action()
        except Exception as error:
            if not is_transient(error):
                raise
        time.sleep(pause)
    return action()
