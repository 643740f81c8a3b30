"""What feature maps are compared by: pure functions, computed in float32 whatever the autocast."""

from typing import Literal

import torch
from torch import Tensor


def gram(features: Tensor, guide: Tensor | None = None) -> Tensor:
    """Gram matrix `G = F F^T / (C H W)` (Johnson et al. 2016, eq. 3).

    Args:
        features: `(N, C, H, W)`.
        guide: `(N or 1, 1, H, W)` in 0..1, where to look: `G = (T F)(T F)^T / (C sum(T^2))`, the spatially guided Gram
            matrix of Gatys et al. (2017), section 4. None looks everywhere alike.

    Returns:
        `(N, C, C)`, float32: in a half-precision autocast the sum over all pixels would lose its small terms.
    """
    n, c, h, w = features.shape
    with torch.autocast(features.device.type, enabled=False):
        flat = features.float().reshape(n, c, h * w)
        if guide is None:
            return flat @ flat.mT / (c * h * w)
        where = guide.float().reshape(-1, 1, h * w)
        # A region smaller than one feature may weigh nothing; its matrix is then zero, not infinite.
        area = where.square().sum(-1, keepdim=True).clamp_min(1e-12)
        flat = flat * where
        return flat @ flat.mT / (c * area)


def squared_error(found: Tensor, wanted: Tensor) -> Tensor:
    """`||x - y||^2` of each of the N items, float32, `(N,)`; `wanted` may be a single item for all."""
    return (found.float() - wanted.float()).square().flatten(1).sum(1)


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """`||x - y||^2 / ||y||^2` of each of the N items, float32, `(N,)`."""
    # A flat black picture may have features of zero; the floor is far below any picture's energy.
    energy = wanted.float().square().flatten(1).sum(1).clamp_min(1e-12)
    return squared_error(found, wanted) / energy


def total_variation(pictures: Tensor, *, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """Squared difference of neighbouring pixels, down plus across, of each of the N pictures, float32, `(N,)`.

    Args:
        pictures: `(N, C, H, W)` in 0..1.
        reduction: `mean` over each direction's pairs of pixels, or their `sum` (Johnson et al. 2016, section 3.2).
    """
    pictures = pictures.float()
    down = (pictures[..., 1:, :] - pictures[..., :-1, :]).square().flatten(1)
    across = (pictures[..., 1:] - pictures[..., :-1]).square().flatten(1)
    if reduction == "sum":
        return down.sum(1) + across.sum(1)
    return down.mean(1) + across.mean(1)
