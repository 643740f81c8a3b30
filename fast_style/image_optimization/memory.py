"""Memory estimate before the first step: refuse an image that would not fit."""

import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fast_style.devices import free_memory
from fast_style.image_optimization.loss import Style
from fast_style.image_optimization.method import PictureOptimization
from fast_style.image_optimization.scales import Size

_PROBES = (96, 160)  # Side lengths in pixels of the test images.
# Peak memory of the process relative to the counted tensors; the rest is scratch space of convolutions and allocator
# overhead. Measured: 0.9 to 1.34 (benchmarks/NOTES.md).
_WASTE = 1.4


def check_memory(method: PictureOptimization, size: Size, *, limit: float | None = None) -> None:
    """Raise an error if an image would not fit into memory.

    Args:
        method: the method that will optimise the image.
        size: height and width of the image.
        limit: memory limit in GiB; None: the free memory.

    Raises:
        ValueError: the image would not fit; the message names the largest size that fits.
    """
    if limit is not None and limit <= 0:
        raise ValueError(f"max_memory must be above 0 GiB; got {limit}.")
    free = free_memory(method.device) if limit is None else limit * 2**30
    fixed, by_pixel = memory_needed(method)
    pixels = size[0] * size[1]
    needed = fixed + by_pixel * pixels
    if needed <= free:
        return
    shrink = math.sqrt(max(0.0, free - fixed) / (by_pixel * pixels))
    fitting = (int(size[1] * shrink), int(size[0] * shrink))
    largest = (
        f"the largest that fits is {fitting[0]}x{fitting[1]} (size={min(fitting)})" if min(fitting) else "none fits"
    )
    raise ValueError(
        f"An image of {size[1]}x{size[0]} pixels needs about {_gib(needed)} GiB during the optimisation, but only "
        f"{_gib(free)} GiB are available: {largest}; loss.recompute=true needs less memory."
    )


def _gib(size: float) -> str:
    value = size / 2**30
    return f"{value:.1f}" if value >= 0.1 else f"{value:.2g}"


def memory_needed(method: PictureOptimization) -> tuple[float, float]:
    """Return the peak memory as fixed bytes and bytes per pixel, measured on two small images."""
    small, large = (_measured(method, (side, side)) for side in _PROBES)
    areas = [side * side for side in _PROBES]
    by_pixel = (large - small) / (areas[1] - areas[0])
    history = method.optimizer([torch.zeros(1, requires_grad=True)]).param_groups[0].get("history_size", 0)
    # L-BFGS stores `history` steps and gradient changes (3 channels, float32); the test image takes fewer steps.
    by_pixel += 2 * history * 3 * 4
    return _WASTE * max(0.0, small - by_pixel * areas[0]), _WASTE * by_pixel


def _measured(method: PictureOptimization, size: Size) -> int:
    generator = torch.Generator().manual_seed(0)
    photo, painting = (torch.rand(1, 3, *size, generator=generator) for _ in range(2))
    with _Peak() as peak:
        method.first_evaluations(photo, [Style(painting)], count=2)
    return int(peak.bytes)


class _Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the bytes of all tensors created inside the block; `bytes` is the most that existed at one time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes, self._living = 0, 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if id(storage) in self._known:
            return
        self._known.add(id(storage))
        self._living += storage.nbytes()
        self.bytes = max(self.bytes, self._living)
        weakref.finalize(storage, self._forget, id(storage), storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._living -= size
