"""Retries for network operations, used by both transports: pooch with requests, and fsspec.

Written here because it is seven lines; the tenacity package would be one more dependency.
"""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def retry(action: Callable[[], T], *, backoff: Sequence[float], is_transient: Callable[[Exception], bool]) -> T:
    """Return the result of the first call that succeeds.

    Args:
        action: called once, and once more after each pause.
        backoff: seconds to wait before each retry.
        is_transient: whether a retry may succeed after this error. Any other error is raised at once; the error of the
            last call is raised in any case.
    """
    for pause in backoff:
        try:
            return action()
        except Exception as error:
            if not is_transient(error):
                raise
        time.sleep(pause)
    return action()
