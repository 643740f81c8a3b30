"""From coarse to fine: the sizes a picture grows through, and what is carried from one to the next."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Size = tuple[int, int]  # (height, width)


def sizes_up_to(size: Size, *, smallest: int | None) -> list[Size]:
    """Sizes each larger than the one before by the square root of 2, the last being `size` (height, width).

    Args:
        size: in pixels.
        smallest: no shorter side is below this; None starts with the full size.
    """
    height, width = size
    count = 1
    if smallest is not None and min(size) > smallest:
        count += math.floor(2 * math.log2(min(size) / smallest))
    shrink = [2 ** (-i / 2) for i in reversed(range(count))]
    return [(max(1, round(height * s)), max(1, round(width * s))) for s in shrink]


def resized(pictures: Tensor, size: Size) -> Tensor:
    """`(N, C, H, W)` in 0..1 at another height and width, without aliasing."""
    if tuple(pictures.shape[-2:]) == size:
        return pictures
    return nn.functional.interpolate(pictures, size=size, mode="bicubic", antialias=True).clamp(0, 1)


def fitted(pictures: Tensor, longer: int) -> Tensor:
    """`(N, C, H, W)` with a longer side of `longer` pixels; never enlarged, which would only blur it."""
    height, width = pictures.shape[-2:]
    shrink = longer / max(height, width)
    if shrink >= 1:
        return pictures
    return resized(pictures, (max(1, round(height * shrink)), max(1, round(width * shrink))))


def warm_start(optimizer: Optimizer, former: Optimizer, size: Size) -> None:
    """Give an optimiser of a larger picture what another has learnt of the smaller one.

    Adam's moments are enlarged like pictures, as in crowsonkb/style-transfer-pytorch. L-BFGS starts anew: its memory
    of past steps is not a picture.
    """
    for new, old in zip(_parameters(optimizer), _parameters(former), strict=True):
        state: Mapping[str, Tensor] = former.state.get(old, {})
        if "exp_avg" in state:
            optimizer.state[new] = {name: _enlarged(name, value, size) for name, value in state.items()}


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _enlarged(name: str, value: Tensor, size: Size) -> Tensor:
    if value.dim() != 4:
        return value.clone()
    # A bicubic square would overshoot below zero.
    mode = "bilinear" if name.endswith("_sq") else "bicubic"
    return torch.nn.functional.interpolate(value, size=size, mode=mode)
