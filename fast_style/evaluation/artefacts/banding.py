"""Banding: faint lines along rows or columns in flat areas."""

import math

import torch
from torch import Tensor

from fast_style.evaluation.artefacts.spectrum import patches, power_spectra

#: Lines are thin: from this frequency on, in cycles a pixel. Below it, the photo's own shapes are on the axes too.
LOWEST = 10 / 64
#: RMS contrast of a patch of the photo in levels above which it is not flat.
FLAT = 4.0


def banding(levels: Tensor, photo: Tensor) -> float:
    """RMS amplitude in levels of thin lines along rows or columns, where the photo is flat.

    A line along a row has its power on the vertical axis of the spectrum. Strokes and texture of any direction have as
    much beside the axis. So the figure is the root of the power on the axes less the power next to them, averaged over
    patches of 64 pixels. Patches count by how flat the photo is there, because edges of the photo may well be straight.
    Multiples of 1/8 of the sampling frequency are left out: blocks of JPEG and checkerboards have their power there.

    The figure does not see bands wider than about 6 pixels, nor lines shorter than about 20 pixels.

    Args:
        levels: `(3, H, W)` in 0..255, without the border.
        photo: its photo.
    """
    power = power_spectra(patches(levels)).mean(1)
    weights = _flatness(photo)
    power = (power * weights[:, None, None]).sum(0) / weights.sum()
    return math.sqrt(max(0.0, _on_axis(power)) + max(0.0, _on_axis(power.T)))


def _flatness(photo: Tensor) -> Tensor:
    """A weight for each patch: 1 where the photo is flat, 1/4 at a contrast of `FLAT`."""
    contrast = patches(photo).var((1, 2, 3)).double()
    return (1 + contrast / FLAT**2).pow(-2)


def _on_axis(power: Tensor) -> float:
    """Power of lines along rows."""
    side = power.shape[0]
    frequencies = torch.fft.fftfreq(side).abs()
    beside = (frequencies - (8 * frequencies).round() / 8).abs() * side
    rows = power[(frequencies >= LOWEST) & (beside > 1.5)]
    share = len(rows) / (frequencies >= LOWEST).sum()
    lines = rows[:, [-1, 0, 1]].sum(1) - 3 * rows[:, [-5, -4, -3, 3, 4, 5]].mean(1)
    return float(lines.sum() / share)
