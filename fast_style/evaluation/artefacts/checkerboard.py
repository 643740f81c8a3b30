"""Checkerboards: the spectral peaks that upsampling by 2 and 4 leaves (Odena et al. 2016)."""

import math

import torch
from torch import Tensor

from fast_style.evaluation.artefacts.spectrum import PATCH, patches, power_spectra


def checkerboard(levels: Tensor) -> float:
    """RMS amplitude in levels of the patterns with a period of 2 or 4 pixels along both or one of the axes.

    Odena et al. (2016, "Deconvolution and checkerboard artifacts") show that strided and transposed convolutions leave
    a pattern with the period of their stride. Two upsamplings by 2 have periods of 2 and 4 pixels, thus peaks at all
    multiples of 1/4 of the sampling frequency. The power of each peak counts as far as it exceeds what strokes and
    texture have at the frequencies round it; the figure is the root of the sum over the peaks.

    The blocks of JPEG have a period of 8 pixels, thus peaks at all multiples of 1/8. So a peak counts only as far as it
    also exceeds the largest of the eight peaks around it at odd multiples of 1/8, which upsampling by 2 or 4 does not
    have. JPEG also weakens a checkerboard, so compare a JPEG file with images that went through the same compression.

    The figure does not tell where the pattern is, and misses a pattern whose phase changes within 64 pixels, and
    periods other than 2 and 4, such as the 8 of three upsamplings.

    Args:
        levels: `(3, H, W)` in 0..255, without the border.
    """
    power = power_spectra(patches(levels)).mean((0, 1))
    step = power.shape[-1] // 8
    excess = _excess(power)[::step, ::step]
    around = torch.stack([excess.roll((y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x]).amax(0)
    peaks = (excess - around.clamp_min(0)).clamp_min(0)[::2, ::2]
    peaks[0, 0] = 0  # The mean of the image, and its smooth parts.
    return math.sqrt(peaks.sum().item())


def _excess(power: Tensor) -> Tensor:
    """Power in the three by three bins round each bin, less the largest such sum up to five bins away.

    Horizontal and vertical strokes have more power on the axes, so a bin on an axis is compared along that axis only.
    """
    across, down = (_prominence(power, axis) for axis in (1, 0))
    found = torch.minimum(across, down)
    found[0, :], found[:, 0] = across[0, :], down[:, 0]
    return found


def _prominence(power: Tensor, axis: int) -> Tensor:
    sums = torch.stack([power.roll((y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]).sum(0)
    # Sums that share bins with the peak would hide it, and so would the next multiple of 1/8 in small patches.
    distances = range(3, 6) if power.shape[-1] == PATCH else (2,)
    return sums - torch.stack([sums.roll(sign * step, axis) for sign in (-1, 1) for step in distances]).amax(0)
