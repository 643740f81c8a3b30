"""Whether a picture can be painted in the memory there is, said before the first step."""

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

_PROBES = (96, 160)  # Pixels a side of the pictures that are tried.
# What the operating system gave over what tensors took at their peak: scratch space of the convolutions, and the
# allocator's waste. 0.9 to 1.34 where measured (benchmarks/NOTES.md).
_WASTE = 1.4


def check_memory(method: PictureOptimization, size: Size, *, limit: float | None = None) -> None:
    """Refuse a picture that would not fit.

    Args:
        method: how it will be painted.
        size: its height and width.
        limit: GiB; None takes what is free.

    Raises:
        ValueError: it would not fit; the sentence names the largest size that does.
    """
    if limit is not None and limit <= 0:
        raise ValueError(f"The memory to paint in is above 0 GiB; got {limit}.")
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
        f"A picture of {size[1]}x{size[0]} pixels needs about {_gib(needed)} GiB while it is optimised, and "
        f"{_gib(free)} GiB may be used: {largest}; loss.recompute=true takes less."
    )


def _gib(size: float) -> str:
    value = size / 2**30
    return f"{value:.1f}" if value >= 0.1 else f"{value:.2g}"


def memory_needed(method: PictureOptimization) -> tuple[float, float]:
    """Bytes that any picture takes at its peak, and bytes by pixel besides, measured on two small pictures."""
    small, large = (_measured(method, (side, side)) for side in _PROBES)
    areas = [side * side for side in _PROBES]
    by_pixel = (large - small) / (areas[1] - areas[0])
    history = method.optimizer([torch.zeros(1, requires_grad=True)]).param_groups[0].get("history_size", 0)
    # L-BFGS remembers that many steps and changes of the gradient, more than the probe takes.
    by_pixel += 2 * history * 3 * 4
    return _WASTE * max(0.0, small - by_pixel * areas[0]), _WASTE * by_pixel


def _measured(method: PictureOptimization, size: Size) -> int:
    generator = torch.Generator().manual_seed(0)
    photo, painting = (torch.rand(1, 3, *size, generator=generator) for _ in range(2))
    with _Peak() as peak:
        method.first_evaluations(photo, [Style(painting)], count=2)
    return int(peak.bytes)


class _Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors made within it, and remembers the most that lived at one time."""

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
