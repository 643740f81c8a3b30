"""Gram matrix, errors, total variation and checkerboard: pure functions, summed in float32, also under autocast."""

from contextlib import nullcontext
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def gram(features: Tensor, guide: Tensor | None = None) -> Tensor:
    """Gram matrix `G = F F^T / (C H W)` (Johnson et al. 2016, eq. 3).

    Args:
        features: `(N, C, H, W)`.
        guide: mask `(N or 1, 1, H, W)` in 0..1 for the spatially guided Gram matrix of Gatys et al. (2017), section 4:
            `G = (T F)(T F)^T / (C sum(T^2))`. None weighs all places equally.

    Returns:
        `(N, C, C)`, float32. In half precision, the sum over all pixels would lose small terms. bfloat16 features
        without a guide are multiplied in bfloat16, which is exact, and 17 times as fast on CPUs with matrix units. Up
        to 16 strips of rows are then summed in float32; the remaining error is 5e-4.
    """
    _, c, h, w = features.shape
    if guide is None:
        return _products(features) / (c * h * w)
    # A region smaller than one feature can have a weight of 0. Its matrix is then zero, not infinite.
    area = guide.float().square().sum((2, 3)).clamp_min(1e-12)
    return _products(features.float() * guide.float()) / (c * area.unsqueeze(-1))


class _Products(torch.autograd.Function):
    """`F F^T` with its gradient `(D + D^T) F` in one product; autograd needs two.

    The gradient has the memory format of the features. Another format would copy every feature map in every backward
    pass. The saved features stay in their own dtype, without a float32 copy.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        if features.dtype != torch.bfloat16:
            flat = _flat(features.float())
            return flat.mT @ flat
        n, c, h, _ = features.shape
        strips = next(count for count in (16, 8, 4, 2, 1) if h % count == 0)
        flat = _flat(features).reshape(n * strips, -1, c)
        return (flat.mT @ flat).reshape(n, strips, c, c).sum(1, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        n, c, h, w = features.shape
        exact = torch.bfloat16 if features.dtype == torch.bfloat16 else torch.float32
        both, flat = (gradient + gradient.mT).to(exact), _flat(features.to(exact))
        # torch.compile cannot trace a change of autocast in a backward function.
        compiling = torch.compiler.is_compiling()
        with nullcontext() if compiling else torch.autocast(features.device.type, enabled=False):
            if features.is_contiguous():
                result = (both @ flat.mT).reshape(n, c, h, w)
            else:
                result = (flat @ both).reshape(n, h, w, c).permute(0, 3, 1, 2)
        return result.to(features.dtype)


def _flat(features: Tensor) -> Tensor:
    """Return `(N, H W, C)`, a view in both memory formats."""
    n, c, h, w = features.shape
    return features.permute(0, 2, 3, 1).reshape(n, h * w, c)


def _products(features: Tensor) -> Tensor:
    with torch.autocast(features.device.type, enabled=False):
        products: Tensor = _Products.apply(features)
    return products


def squared_error(found: Tensor, wanted: Tensor) -> Tensor:
    """`||x - y||^2` of each of the N items, float32, `(N,)`; `wanted` may be one item for all."""
    return _sum_of_squares(found.float() - wanted.float())


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """`||x - y||^2 / ||y||^2` of each of the N items, float32, `(N,)`."""
    # A black image can have features of 0. The floor is far below the energy of any other image.
    energy = _sum_of_squares(wanted.float()).clamp_min(1e-12)
    return squared_error(found, wanted) / energy


def total_variation(pictures: Tensor, *, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """Squared difference of neighbouring pixels, down plus across, of each of the N images, float32, `(N,)`.

    Args:
        pictures: `(N, C, H, W)` in 0..1.
        reduction: `mean` over the pairs of pixels of each direction, or `sum` (Johnson et al. 2016, section 3.2).
    """
    _, c, h, w = pictures.shape
    down, across = (
        (1.0, 1.0)
        if reduction == "sum"
        else (
            # An image of one row has no pairs down; 1 avoids a division by 0.
            1 / max(c * (h - 1) * w, 1),
            1 / max(c * h * (w - 1), 1),
        )
    )
    variation: Tensor = _Variation.apply(pictures, down, across)
    return variation


def checkerboard(pictures: Tensor, *, period: int = 4) -> Tensor:
    """Variance of the means of the `period ** 2` pixel phases of each of the N images, float32, `(N,)`.

    Phase (i, j) holds the pixels whose row is i and whose column is j, modulo the period. A texture has nearly the same
    mean in every phase. A checkerboard artefact does not, because it stands at the same places of the grid everywhere.
    The result is the mean over the channels. Without a pattern it is about the variance of the pixels divided by their
    number in a phase (1e-5 for 256x256), and more for small images, where edges and gradients count.

    Args:
        pictures: `(N, C, H, W)` in 0..1, H and W at least `period`. Rows and columns beyond a multiple are left out.
        period: 4 covers the periods of upsampling twice by 2: 4 and 2 pixels.
    """
    height, width = (side - side % period for side in pictures.shape[-2:])
    means = F.pixel_unshuffle(pictures[..., :height, :width].float(), period).mean((2, 3))
    variance: Tensor = means.view(len(means), -1, period**2).var(2, correction=0).mean(1)
    return variance


class _Variation(torch.autograd.Function):
    """`a sum (x_ij - x_i+1,j)^2 + b sum (x_ij - x_i,j+1)^2` of each image.

    The gradient is `2 a (2 x_ij - x_i-1,j - x_i+1,j) + 2 b (2 x_ij - x_i,j-1 - x_i,j+1)`, with replicated border
    pixels. On a CPU it takes a ninth of the time of the gradient that torch.compile derives.
    """

    @staticmethod
    def forward(ctx: Any, pictures: Tensor, down: float, across: float) -> Tensor:
        ctx.save_for_backward(pictures)
        ctx.factors = down, across
        x = pictures.float()
        below, beside = x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]
        return down * _sum_of_squares(below) + across * _sum_of_squares(beside)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (pictures,) = ctx.saved_tensors
        down, across = ctx.factors
        x = F.pad(pictures.float(), (1, 1, 1, 1), mode="replicate")
        twice = 2 * x[..., 1:-1, 1:-1]
        vertical = twice - x[..., :-2, 1:-1] - x[..., 2:, 1:-1]
        horizontal = twice - x[..., 1:-1, :-2] - x[..., 1:-1, 2:]
        slope = 2 * gradient.view(-1, 1, 1, 1) * (down * vertical + across * horizontal)
        return slope.to(pictures.dtype), None, None


def _sum_of_squares(x: Tensor) -> Tensor:
    # Flattening would copy tensors in channels_last format.
    return x.square().sum(tuple(range(1, x.dim())))
