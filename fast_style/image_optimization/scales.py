"""Coarse to fine: the sizes of the optimised image, and the optimiser state that passes to the next size."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Size = tuple[int, int]  # (height, width)


def sizes_up_to(size: Size, *, smallest: int | None) -> list[Size]:
    """Return sizes (height, width) that grow by the square root of 2 up to `size`.

    Args:
        size: final height and width in pixels.
        smallest: minimum of the shorter side in pixels. None returns only `size`.
    """
    height, width = size
    count = 1
    if smallest is not None and min(size) > smallest:
        count += math.floor(2 * math.log2(min(size) / smallest))
    shrink = [2 ** (-i / 2) for i in reversed(range(count))]
    return [(max(1, round(height * s)), max(1, round(width * s))) for s in shrink]


def resized(pictures: Tensor, size: Size) -> Tensor:
    """Resize images `(N, C, H, W)` in 0..1 to a height and width (bicubic, antialiased, clamped)."""
    if tuple(pictures.shape[-2:]) == size:
        return pictures
    return nn.functional.interpolate(pictures, size=size, mode="bicubic", antialias=True).clamp(0, 1)


def fitted(pictures: Tensor, longer: int) -> Tensor:
    """Shrink images `(N, C, H, W)` to a longer side of at most `longer` pixels; enlarging would only blur them."""
    height, width = pictures.shape[-2:]
    shrink = longer / max(height, width)
    if shrink >= 1:
        return pictures
    return resized(pictures, (max(1, round(height * shrink)), max(1, round(width * shrink))))


def warm_start(optimizer: Optimizer, former: Optimizer, size: Size) -> None:
    """Copy the state of the optimiser at the smaller size to the optimiser at the larger size.

    Adam's moments are enlarged like images, as in crowsonkb/style-transfer-pytorch. L-BFGS starts without history,
    because its stored steps cannot be enlarged like an image.
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
    # Bicubic interpolation overshoots, and a mean of squares must not be negative.
    mode = "bilinear" if name.endswith("_sq") else "bicubic"
    return torch.nn.functional.interpolate(value, size=size, mode=mode)
