"""Stability: a shift of the photo by a few pixels, or weak noise, must not change the strokes."""

from collections.abc import Callable

import torch
from torch import Tensor

#: Shifts in pixels along both axes. Networks with two strides of 2 repeat themselves only every 4 pixels.
SHIFTS = (1, 2, 3)
#: Standard deviation of the noise in levels (0 to 255), that of a camera in good light.
NOISE = 2.0


@torch.inference_mode()
def measure_stability(painter: Callable[[Tensor], Tensor], photo: Tensor) -> dict[str, float]:
    """Measure how much the stylized image changes if the photo moves or is noisy.

    The photo is cropped at two places that are 1, 2 or 3 pixels apart along both axes, and both crops are stylized.
    Where they show the same part of the photo they are equal, so every difference there is the painter's. A quarter of
    the shorter side, at most 32 pixels, is left out along the edges, where the crops have different surroundings. The
    noise is the same for every painter.

    `losses.stability` trains for the same with larger shifts and reflection at the border, and
    `benchmarks/stability.py` measures videos, where the photo changes too. A painter with little contrast has smaller
    differences, so read the figures beside the style error.

    Args:
        painter: maps `(1, 3, H, W)` in 0..1 to the same shape and range.
        photo: `(1, 3, H, W)` in 0..1, sides of at least 64 pixels.

    Returns:
        `shift1`, `shift2` and `shift3`: RMS difference in levels (0 to 255), at best 0. `noise`: RMS change of the
        stylized image divided by that of the photo; a copy of the photo has 1.

    Raises:
        ValueError: another number of images or channels, or a smaller photo.
    """
    if photo.shape[:-2] != (1, 3) or min(photo.shape[-2:]) < 64:
        raise ValueError(
            f"The stability needs a photo (1, 3, H, W) with sides of at least 64 pixels; got {tuple(photo.shape)}."
        )
    height, width = (side - max(SHIFTS) for side in photo.shape[-2:])
    margin = min(32, min(height, width) // 4)
    first = painter(photo[..., :height, :width])
    found = {}
    for shift in SHIFTS:
        moved = painter(photo[..., shift : shift + height, shift : shift + width])
        same = first[..., margin + shift : height - margin, margin + shift : width - margin]
        found[f"shift{shift}"] = 255 * _rms(
            moved[..., margin : height - margin - shift, margin : width - margin - shift] - same
        )
    noisy = _noisy(photo[..., :height, :width])
    inside = (..., slice(margin, -margin), slice(margin, -margin))
    change = _rms((painter(noisy) - first)[inside])
    return found | {"noise": change / _rms((noisy - photo[..., :height, :width])[inside])}


def _noisy(photo: Tensor) -> Tensor:
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0)).to(photo)
    return (photo + NOISE / 255 * noise).clamp(0, 1)


def _rms(difference: Tensor) -> float:
    return difference.float().square().mean().sqrt().item()
