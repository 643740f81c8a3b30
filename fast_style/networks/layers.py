"""Layers for which torch.compile generates faster code than for the layers of torch.

On a CPU (torch 2.15, AVX-512), three compiled layers of torch took half of a training step. ReLU masks pass through
memory bit by bit, positions of maxima are 64-bit integers, and instance normalisation changes the memory layout.
Uncompiled and in exported networks, the layers below are those of torch.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def is_compiling() -> bool:
    """Return whether torch.compile traces the code. False in an export: runtimes optimise torch's own layers best."""
    return torch.compiler.is_compiling() and not torch.compiler.is_exporting()


class ReLU(nn.ReLU):
    """`max(x, 0)`; the backward pass multiplies by the sign of the result: 12 ms instead of 57 ms after a norm."""

    def forward(self, features: Tensor) -> Tensor:
        """Apply to a tensor of any shape."""
        if not (is_compiling() and torch.is_grad_enabled()):
            return features.relu()
        positive: Tensor = _Positive.apply(features)
        return positive


class _Positive(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        positive = features.relu()
        ctx.save_for_backward(positive)
        return positive

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        where_positive: Tensor = gradient * positive.sign()
        return where_positive


class InstanceNorm(nn.InstanceNorm2d):
    """Affine instance normalisation (Ulyanov et al. 2016), compiled as group normalisation of single channels."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise `(N, C, H, W)`."""
        if not is_compiling():
            return super().forward(features)
        return F.group_norm(features, self.num_features, self.weight, self.bias, self.eps)


class MaxPool(nn.MaxPool2d):
    """Max pooling, `(N, C, H, W)` to `(N, C, H // 2, W // 2)`: 54 ms instead of 209 ms for 4 x 64 x 256 x 256."""

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, features: Tensor) -> Tensor:
        """Return the maximum of each 2x2 square.

        Compiled, equal maxima share the gradient; in torch, the first maximum gets the whole gradient.
        """
        if not is_compiling():
            return F.max_pool2d(features, 2)
        height, width = (side // 2 * 2 for side in features.shape[-2:])
        pooled: Tensor = _Largest.apply(features[..., :height, :width])
        return pooled


class _Largest(torch.autograd.Function):
    """The maximum of each 2x2 square; the backward pass finds its position by comparison, without stored indices."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        a, b, c, d = _quarters(features)
        largest = torch.maximum(torch.maximum(a, b), torch.maximum(c, d))
        ctx.save_for_backward(features, largest)
        return largest

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        features, largest = ctx.saved_tensors
        a, b, c, d = ((quarter == largest).to(gradient.dtype) for quarter in _quarters(features))
        # At least 1, because NaN equals nothing.
        share = gradient / (a + b + c + d).clamp_min(1)
        return torch.where(features == _doubled(largest), _doubled(share), 0)


class BilinearUpsample(nn.Module):
    """Bilinear interpolation, `(N, C, H, W)` to `(N, C, 2H, 2W)`, as `F.interpolate` with `align_corners=False`.

    Compiled, the backward pass of torch adds to single pixels: most of the time of a whole generator's backward pass.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Double height and width."""
        if not (is_compiling() and torch.is_grad_enabled()):
            return F.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)
        doubled: Tensor = _Bilinear.apply(features)
        return doubled


class _Bilinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        return F.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _halved(_halved(gradient, 3), 2)


def _halved(gradient: Tensor, axis: Literal[2, 3]) -> Tensor:
    """Adjoint of the interpolation along one axis: pixel i is read by the pixels 2i - 1 to 2i + 2.

    Their weights are 1/4, 3/4, 3/4 and 1/4. The pixels outside repeat the border.
    """
    even, odd = (gradient[..., phase::2, :] if axis == 2 else gradient[..., phase::2] for phase in (0, 1))
    size = even.shape[axis]
    before = torch.cat([even.narrow(axis, 0, 1), odd.narrow(axis, 0, size - 1)], axis)
    after = torch.cat([even.narrow(axis, 1, size - 1), odd.narrow(axis, size - 1, 1)], axis)
    return 0.75 * (even + odd) + 0.25 * (before + after)


def _quarters(x: Tensor) -> list[Tensor]:
    return [x[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
