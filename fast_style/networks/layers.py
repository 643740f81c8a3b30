"""Layers that torch.compile makes fast code of, where it makes slow code of torch's own.

Compiled for a CPU (torch 2.15, AVX-512), masks of ReLUs pass through memory bit by bit, places of maxima in integers of
64 bit, and instance normalisation in another memory layout; together they took half of a training step. Uncompiled, and
in an exported network, these are torch's own layers.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def is_compiling() -> bool:
    """Whether torch.compile is looking, and not an export, whose runtime knows torch's own layers best."""
    return torch.compiler.is_compiling() and not torch.compiler.is_exporting()


class ReLU(nn.ReLU):
    """`max(x, 0)` whose gradient is multiplied by the result's sign: 57 ms become 12 for one that follows a norm."""

    def forward(self, features: Tensor) -> Tensor:
        """Any shape."""
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
    """Instance normalisation (Ulyanov et al. 2016) with an affine map, as a group normalisation of single channels."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, features: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same."""
        if not is_compiling():
            return super().forward(features)
        return F.group_norm(features, self.num_features, self.weight, self.bias, self.eps)


class MaxPool(nn.MaxPool2d):
    """Max pooling, `(N, C, H, W)` to `(N, C, H // 2, W // 2)`; 209 ms become 54 for 4 x 64 x 256 x 256."""

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, features: Tensor) -> Tensor:
        """The largest of every four; compiled, equal maxima share the gradient, of which torch's first takes all."""
        if not is_compiling():
            return F.max_pool2d(features, 2)
        height, width = (side // 2 * 2 for side in features.shape[-2:])
        pooled: Tensor = _Largest.apply(features[..., :height, :width])
        return pooled


class _Largest(torch.autograd.Function):
    """The maximum of each 2x2 square; its gradient finds the place by comparing, not by remembering."""

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
        # At least 1: where there is NaN, nothing is equal.
        share = gradient / (a + b + c + d).clamp_min(1)
        return torch.where(features == _doubled(largest), _doubled(share), 0)


def _quarters(x: Tensor) -> list[Tensor]:
    return [x[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
