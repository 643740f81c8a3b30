"""Checkerboards in flat colours, where nothing hides them."""

from collections.abc import Callable

import torch
from torch import Tensor

from fast_style.evaluation.artefacts.checkerboard import checkerboard
from fast_style.evaluation.artefacts.measure import BORDER

#: Rows of flat colours: black, grey, white; red, green, blue; yellow, light grey, brown.
CHART = (
    ((0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)),
    ((0.8, 0.1, 0.1), (0.1, 0.6, 0.1), (0.1, 0.2, 0.8)),
    ((0.9, 0.8, 0.2), (0.8, 0.8, 0.8), (0.4, 0.3, 0.2)),
)


@torch.inference_mode()
def flat_checkerboard(painter: Callable[[Tensor], Tensor], *, size: int = 96) -> float:
    """Mean of `checkerboard` in levels over nine flat colours, each a square of one photo.

    The squares stand side by side, because a photo of one colour is a case of its own: instance norm removes the
    colour, and the networks of `checkpoints/` then paint the same strong grid for all colours, which they do not paint
    in flat areas of other photos. 16 pixels at the edges of a square are left out.

    Args:
        painter: maps `(1, 3, H, W)` in 0..1 to the same shape and range.
        size: side of a square in pixels, at least 64.

    Raises:
        ValueError: squares that are too small.
    """
    if size < 2 * BORDER + 32:
        raise ValueError(f"Squares of flat colour need a side of at least {2 * BORDER + 32} pixels; got {size}.")
    chart = torch.tensor(CHART).permute(2, 0, 1)[None]
    photo = chart.repeat_interleave(size, 2).repeat_interleave(size, 3)
    painted = 255 * painter(photo).detach().cpu().float()[0]
    rows = [painted[:, top : top + size] for top in range(0, 3 * size, size)]
    found = [
        checkerboard(row[:, BORDER:-BORDER, left + BORDER : left + size - BORDER])
        for row in rows
        for left in range(0, 3 * size, size)
    ]
    return sum(found) / len(found)
