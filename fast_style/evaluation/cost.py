"""What a stylized image costs: seconds and memory."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import psutil
import torch

Result = TypeVar("Result")
_INTERVAL = 0.005  # Seconds between two looks at the memory; an image takes far longer.


@dataclass(frozen=True)
class Cost:
    """Seconds, and bytes at the peak beyond those in use before."""

    seconds: float
    memory: int


def measured(call: Callable[[], Result], device: torch.device) -> tuple[Result, Cost]:
    """Return the result of a call, and its cost.

    On CUDA, torch counts its own allocations. On a CPU torch does not, and `tracemalloc` and memray do not see the
    peak of one call from inside the process, so a thread looks at the resident memory every 5 ms. Memory that the
    process holds from earlier work is not counted, so the first call of a process tells most.

    Args:
        call: what is measured.
        device: where it computes; the clock stops when the device has finished.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        start = time.perf_counter()
        result = call()
        torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
        return result, Cost(seconds, torch.cuda.max_memory_allocated(device) - before)
    with _ResidentMemory() as memory:
        start = time.perf_counter()
        result = call()
        seconds = time.perf_counter() - start
    return result, Cost(seconds, memory.peak - memory.before)


class _ResidentMemory:
    """Peak of this process's resident memory while the block runs."""

    def __enter__(self) -> "_ResidentMemory":
        self._process, self._done = psutil.Process(), threading.Event()
        self.before = self.peak = self._now()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _now(self) -> int:
        return int(self._process.memory_info().rss)

    def _watch(self) -> None:
        while not self._done.wait(_INTERVAL):
            self.peak = max(self.peak, self._now())
