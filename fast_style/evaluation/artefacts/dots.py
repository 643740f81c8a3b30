"""Dots: isolated spots, alone or in rows."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from fast_style.images.color_transfer import luminance

#: A dot differs by at least this many levels of luma from everything on a ring round it.
FAINTEST = 12.0
#: And by at least this many times the range of the ring.
CONTRAST = 1.0
#: Inner and outer radius of the ring in pixels. The inside is as large as a dot may be.
RING = (3.5, 5.5)
#: Spots of the photo with this share of the difference are dots of its own.
OWN = 0.5


def dots(levels: Tensor, photo: Tensor) -> float:
    """Number of dots for 10,000 pixels.

    A dot is a spot of up to about 6 pixels that is lighter, or darker, than every pixel on a ring of radius 3.5 to 5.5
    pixels round it: by more than 12 levels of luma, and by more than the ring's lightest and darkest pixel differ. So
    a dot stands out from its surroundings, which are flat in comparison; lines and edges cross the ring, marks of
    texture have their like on it, and so has a checkerboard with a period of 2 or 4 pixels. Dots that are in the photo
    too (gravel, the light in an eye) do not count.

    A painting may have dots of its own, such as the snow of Hokusai's wave, so compare with the painting's own figure.
    Dots of equal lightness are not seen.

    Args:
        levels: `(3, H, W)` in 0..255, without the border.
        photo: its photo.
    """
    groups, count = ndimage.label(_spots(levels, 1.0), structure=np.ones((3, 3)))
    own = ndimage.binary_dilation(_spots(photo, OWN), iterations=3)
    in_the_photo = np.unique(groups[own & (groups > 0)])
    return 1e4 * int(count - len(in_the_photo)) / int(groups.size)


def _spots(levels: Tensor, share: float) -> NDArray[np.bool_]:
    """Where the conditions for a dot hold, with this share of the needed difference."""
    luma = luminance(levels[None])[0, 0].numpy()
    offsets = np.hypot(*np.mgrid[-5:6, -5:6])
    ring = (offsets >= RING[0]) & (offsets <= RING[1])
    lightest = ndimage.maximum_filter(luma, footprint=ring)
    darkest = ndimage.minimum_filter(luma, footprint=ring)
    needed = share * np.maximum(FAINTEST, CONTRAST * (lightest - darkest))
    found: NDArray[np.bool_] = (luma - lightest > needed) | (darkest - luma > needed)
    return found
