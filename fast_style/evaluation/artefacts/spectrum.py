"""Power spectra of overlapping patches (Welch 1967): the average shows what is periodic everywhere in an image."""

import torch
from torch import Tensor

#: Side of a patch in pixels; multiples of 1/8 of the sampling frequency then fall on a bin.
PATCH = 64


def patches(levels: Tensor) -> Tensor:
    """Cut `(C, H, W)` into patches `(number, C, side, side)` that overlap by half.

    The side is 64 pixels, or 32 in a smaller image. Patches start every half side, the last ones at the far edges.
    """
    side = PATCH if min(levels.shape[-2:]) >= PATCH else PATCH // 2
    tops, lefts = (_starts(length, side) for length in levels.shape[-2:])
    return torch.stack([levels[:, top : top + side, left : left + side] for top in tops for left in lefts])


def power_spectra(cut: Tensor) -> Tensor:
    """Power by frequency of patches `(..., side, side)`; the sum over all bins is the variance under the Hann window.

    Bin `k` is the frequency `k / side` in cycles a pixel, bin 0 first. A sine on a bin spreads over the bins beside it,
    so its power is the sum over three by three bins.
    """
    side = cut.shape[-1]
    hann = torch.hann_window(side, dtype=torch.float64)
    window = hann[:, None] * hann
    centred = cut.double() - (cut * window).sum((-2, -1), keepdim=True) / window.sum()
    spectrum: Tensor = torch.fft.fft2(centred * window).abs().square()
    return spectrum / (side**2 * window.square().sum())


def _starts(length: int, side: int) -> list[int]:
    return sorted({*range(0, length - side + 1, side // 2), length - side})
