"""Estimated against used memory, and an image that does not fit: the fall-back to strips, and its difference."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fast_style.images.decode import Arrays
from fast_style.stylize.memory_budget import BYTES_PER_PIXEL, PROCESS
from fast_style.stylize.painter import Painter, PainterSettings
from fast_style.stylize.stylizer import load_stylizer
from gpu_parts.clock import chosen_device
from gpu_parts.figures import Figures
from gpu_parts.stylizing import NETWORK, peak_memory, torch_calls

#: The share of the needed memory that is allowed.
ALLOWED = 0.45


def measure(figures: Figures) -> None:
    """Note the ratios, then the image in strips by plan, and after running out of memory."""
    device = chosen_device(figures.sizes)
    estimates(figures, device)
    # Strips are computed in float32; TensorFloat-32 would round the whole image and its strips differently.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    height, width = figures.sizes.limited
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    whole, _ = painted(picture, device, PainterSettings(tiles="off"))
    needed = needed_memory(height, width, device)
    figures.note("needed_mib", needed / 2**20)
    allowed = round(ALLOWED * needed)
    # On a CPU max_memory is for the whole process.
    planned = PainterSettings(max_memory=allowed + (PROCESS if device.type == "cpu" else 0))
    figures.note("strips by plan", compared(*painted(picture, device, planned), whole))
    if device.type != "cuda":
        figures.note("out of memory", {"skipped": "torch limits its own memory on GPUs only."})
        return
    # A limit that is no limit: the plan is to stylize the whole image.
    unlimited = PainterSettings(max_memory=2**60)
    with limited_memory(device, allowed):
        found = painted(picture, device, unlimited)
    figures.note("out of memory", compared(*found, whole))


def estimates(figures: Figures, device: torch.device) -> None:
    """Note used bytes per pixel and the ratio to the estimate, for eager and compiled PyTorch."""
    if device.type != "cuda":
        figures.note("estimates", {"skipped": "torch counts its allocations on GPUs only."})
        return
    found: dict[str, Any] = {}
    for runtime in ("torch", "compile"):
        for precision in ("fp32", "bf16"):
            call_of = torch_calls(runtime, precision, device, figures.folder / "runtimes")
            for name, (height, width) in list(figures.sizes.pictures.items())[1:]:
                used = peak_memory(call_of(height, width), device) / (height * width)
                estimated = BYTES_PER_PIXEL[runtime]
                found[f"{runtime} {precision} {name}"] = {
                    "used_bytes_per_pixel": used,
                    "estimated_bytes_per_pixel": estimated,
                    "estimated_over_used": estimated / used,
                }
                figures.note("estimates", found)


def needed_memory(height: int, width: int, device: torch.device) -> float:
    """Bytes that the whole image needs in float32: measured on a GPU, estimated on a CPU."""
    if device.type != "cuda":
        return BYTES_PER_PIXEL["torch"] * height * width
    stylizer = load_stylizer(NETWORK, runtime="torch", precision="fp32", device="cuda")
    picture = torch.rand(1, 3, height, width, device=device)
    return peak_memory(lambda: stylizer(picture), device) - torch.cuda.memory_allocated(device)


def painted(
    picture: NDArray[np.uint8], device: torch.device, settings: PainterSettings
) -> tuple[NDArray[np.uint8], list[str]]:
    """Stylize an image; return it and what the package logged about memory and strips."""
    stylizer = load_stylizer(NETWORK, runtime="torch", precision="fp32", device=device.type)
    with logged_messages() as messages:
        result = Painter(stylizer, settings)(Arrays(picture, None))
    return result, messages


@contextmanager
def logged_messages() -> Iterator[list[str]]:
    """Collect what `fast_style` logs."""
    messages: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler, log = Collect(), logging.getLogger("fast_style")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield messages
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def compared(result: NDArray[np.uint8], messages: list[str], whole: NDArray[np.uint8]) -> dict[str, Any]:
    """Largest and mean difference from the whole image in levels of 255, and what happened."""
    difference = np.abs(result.astype(np.int16) - whole)
    return {
        "largest_difference": int(difference.max()),
        "mean_difference": float(difference.mean()),
        "ran_out": any("ran out of memory" in message for message in messages),
        "strips": any("in strips of" in message for message in messages),
        "messages": messages,
    }


@contextmanager
def limited_memory(device: torch.device, allowed: int) -> Iterator[None]:
    """Let torch's allocator take this many bytes of the GPU more than now."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    # The network is loaded again within the limit.
    limit = torch.cuda.memory_reserved(device) + allowed + 64 * 2**20
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
