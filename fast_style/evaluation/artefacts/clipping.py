"""Clipping: values at the ends of the range."""

from torch import Tensor

#: Values within this many levels of an end count as clipped; JPEG moves clipped values a little.
NEAR = 2.0


def clipping(levels: Tensor, photo: Tensor) -> float:
    """Percentage of values, of all pixels and channels, that are clipped to 0 or 255 and are not so in the photo.

    A pure black or white of the painting reads as clipping too, so compare with the painting's own figure.

    Args:
        levels: `(3, H, W)` in 0..255, without the border.
        photo: its photo.
    """
    dark = (levels <= NEAR) & (photo > NEAR)
    bright = (levels >= 255 - NEAR) & (photo < 255 - NEAR)
    return 100 * (dark | bright).float().mean().item()
