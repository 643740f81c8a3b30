"""Banding: faint lines along rows or columns in flat areas."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fast_style.evaluation.artefacts.spectrum import patches, power_spectra

#: Lowest frequency of lines in cycles a pixel, a period of 13 pixels. Below it are shapes, which may well be upright.
LOWEST = 5 / 64
#: RMS contrast of the photo's fine structure in levels at which a patch counts for a quarter.
FLAT = 3.0
#: Share of flat patches below which the figure falls, because little of the image can have bands.
FEW = 0.1


def banding(levels: Tensor, photo: Tensor) -> float:
    """RMS amplitude in levels of thin lines along rows or columns, where the photo is flat.

    Lines along rows have their power on the vertical axis of the spectrum. Strokes and texture in all directions have
    as much at other angles, and slanted strokes have as much beside the axis. So the figure is the root of the power
    on both axes, less the power beside them or at other angles, whichever is larger; from a period of 13 pixels down.
    It is a mean over patches of 64 pixels, which count by how flat the photo is there, because edges of the photo may
    be straight. If less than a tenth of the photo is flat, the figure is lower in proportion.

    Multiples of 1/8 of the sampling frequency are left out: blocks of JPEG and checkerboards have their power there.
    Strokes that all run exactly along rows read as banding; lines shorter than about 30 pixels are not seen.

    Args:
        levels: `(3, H, W)` in 0..255, without the border.
        photo: its photo.
    """
    power = power_spectra(patches(levels)).mean(1)
    weights = _flatness(photo)
    few = FEW * len(weights)
    power = (power * weights[:, None, None]).sum(0) / weights.sum().clamp_min(few)
    return math.sqrt(max(0.0, _on_axis(power)) + max(0.0, _on_axis(power.T)))


def _flatness(photo: Tensor) -> Tensor:
    """A weight for each patch: 1 where the photo is flat, 1/4 where its contrast is `FLAT`."""
    blurred = F.avg_pool2d(F.pad(photo[None], (4,) * 4, mode="reflect"), 9, stride=1)[0]
    contrast = patches(photo - blurred).square().mean((1, 2, 3)).double()
    return (1 + contrast / FLAT**2).pow(-2)


def _on_axis(power: Tensor) -> float:
    """Power of lines along rows."""
    side = power.shape[0]
    frequencies = torch.fft.fftfreq(side).abs()
    from_eighth = (frequencies - (8 * frequencies).round() / 8).abs() * side
    lines = (frequencies >= LOWEST) & (from_eighth > 1.5)
    rows = power[lines]
    expected = torch.maximum(rows[:, [-5, -4, -3, 3, 4, 5]].mean(1), _off_axis(power)[lines])
    found = (rows[:, [-1, 0, 1]].sum(1) - 3 * expected).sum()
    return float(found * (frequencies >= LOWEST).sum() / lines.sum())


def _off_axis(power: Tensor) -> Tensor:
    """Mean power at the same distance from the origin, 12 degrees and more from the axes, for each row."""
    side = power.shape[0]
    bins = torch.fft.fftfreq(side).abs() * side
    radius = torch.hypot(bins[:, None], bins)
    angle = torch.atan2(bins[:, None], bins).rad2deg()
    slanted = (angle > 12) & (angle < 78)
    means = [power[slanted & ((radius - row).abs() <= 0.6)] for row in bins]
    return torch.stack([values.mean() if len(values) else power.new_zeros(()) for values in means])
