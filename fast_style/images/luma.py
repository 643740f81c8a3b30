"""Luma, the perceived brightness of a pixel (Y of YIQ and YCbCr), without torch."""

import numpy as np
from numpy.typing import NDArray

#: Weights of R, G and B (Rec. 601), as in Pillow's mode L.
LUMA_WEIGHTS = (0.299, 0.587, 0.114)


def luma_of(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert ``(..., 3)`` to ``(...)``; for tensors, see `color_transfer.luminance`."""
    luma: NDArray[np.float32] = pixels @ np.array(LUMA_WEIGHTS, np.float32)
    return luma
