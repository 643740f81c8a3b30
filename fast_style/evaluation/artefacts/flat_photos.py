"""Checkerboards on flat photos, where nothing hides them."""

from collections.abc import Callable

import torch
from torch import Tensor

from fast_style.evaluation.artefacts.checkerboard import checkerboard
from fast_style.evaluation.artefacts.measure import BORDER

#: Colours of the flat photos: black, grey, white, red, green, blue, yellow.
COLOURS = ((0, 0, 0), (0.5, 0.5, 0.5), (1, 1, 1), (0.8, 0.1, 0.1), (0.1, 0.6, 0.1), (0.1, 0.2, 0.8), (0.9, 0.8, 0.2))


@torch.inference_mode()
def flat_checkerboard(painter: Callable[[Tensor], Tensor], *, size: int = 256) -> float:
    """Mean of `checkerboard` in levels over flat photos of seven colours.

    Instance norm enlarges what little varies in a flat photo, so this figure is of the network alone and may be larger
    than on real photos.

    Args:
        painter: maps `(1, 3, H, W)` in 0..1 to the same shape and range.
        size: side of the photos in pixels.
    """
    total = 0.0
    for colour in COLOURS:
        photo = torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1).repeat(1, 1, size, size)
        painted = 255 * painter(photo).detach().cpu().float()
        total += checkerboard(painted[0, :, BORDER:-BORDER, BORDER:-BORDER])
    return total / len(COLOURS)
