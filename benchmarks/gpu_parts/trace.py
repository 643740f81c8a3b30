"""Busy time of the GPU per piece of a step, from a Chrome trace of torch.profiler.

`key_averages()` of the profiler cannot tell this: the kernels of a backward pass are started by a thread of autograd,
outside every labelled range. Here the pieces end with a synchronisation, so the clock assigns each kernel to its piece.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

KERNELS = {"kernel", "gpu_memcpy", "gpu_memset"}


class Busy(NamedTuple):
    """Milliseconds and kernels of each piece, summed over all its occurrences, and its wall time."""

    busy: dict[str, float]
    wall: dict[str, float]
    kernels: dict[str, int]


def busy_by_piece(trace: Mapping[str, Any], pieces: Collection[str]) -> Busy:
    """Assign the kernels of a trace to the labelled ranges in which they started.

    Args:
        trace: as `export_chrome_trace` writes it; times are in microseconds.
        pieces: labels of `torch.profiler.record_function` that do not overlap.
    """
    events = [event for event in trace["traceEvents"] if event.get("ph") == "X"]
    # A label also appears on the GPU's own row, as gpu_user_annotation: not that one.
    ranges = [e for e in events if e.get("cat") == "user_annotation" and e["name"] in pieces]
    found = Busy(defaultdict(float), defaultdict(float), defaultdict(int))
    for one in ranges:
        found.wall[one["name"]] += one["dur"] / 1e3
    for event in events:
        if event.get("cat") not in KERNELS:
            continue
        for one in ranges:
            if one["ts"] <= event["ts"] <= one["ts"] + one["dur"]:
                found.busy[one["name"]] += event["dur"] / 1e3
                found.kernels[one["name"]] += 1
                break
    return found
