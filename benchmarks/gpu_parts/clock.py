"""The device of a run, and the time of a call on it."""

import time
from collections.abc import Callable

import torch

from gpu_parts.sizes import Sizes


def chosen_device(sizes: Sizes) -> torch.device:
    """The GPU, or the CPU in a dry run.

    Raises:
        ValueError: no GPU.
    """
    if sizes.dry:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("benchmarks/gpu.py needs a GPU that this torch can use, and found none; try --dry-run.")
    return torch.device("cuda", torch.cuda.current_device())


def wait(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(call: Callable[[], object], device: torch.device, *, calls: int, warm_up: int = 2) -> float:
    """Mean time of a call in milliseconds, from its start to the end of its work on the device."""
    for _ in range(warm_up):
        call()
    wait(device)
    started = time.perf_counter()
    for _ in range(calls):
        call()
    wait(device)
    return (time.perf_counter() - started) / calls * 1e3
