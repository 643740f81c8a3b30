"""Dots: isolated outliers on flat areas."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

#: A dot differs by more than this many levels from the median of the 5x5 pixels round it.
FAINTEST = 10.0
#: And by more than this many times the mean difference within 15x15 pixels.
OUTLIER = 12.0
#: Half of that in the photo means that the photo has a dot of its own.
PHOTO_OUTLIER = OUTLIER / 2
#: More dots than this within 15x15 pixels are a texture.
CROWD = 6
#: Longest side of a dot in pixels.
LARGEST = 3


def dots(levels: Tensor, photo: Tensor) -> float:
    """Number of dots for 10,000 pixels.

    A dot is a group of at most 3x3 pixels that differ from the median of their surroundings (5x5 pixels) by more than
    10 levels in a channel, and by more than 12 times what is usual within 15x15 pixels. So the marks of a textured
    area are no dots: nobody sees a dot there. Lines are too long, and a regular pattern is too dense: within 15x15
    pixels at most six dots count. Dots of the photo itself (gravel, the light in an eye) and dots on areas that are
    clipped do not count.

    Args:
        levels: `(3, H, W)` in 0..255, without the border.
        photo: its photo.
    """
    pixels = levels.numpy()
    median = np.stack([ndimage.median_filter(channel, size=5) for channel in pixels])
    clipped = ((median <= 2) | (median >= 253)).any(0)
    own = ndimage.binary_dilation(_outliers(photo.numpy(), PHOTO_OUTLIER), iterations=2)
    found = _places(_outliers(pixels, OUTLIER, median) & ~clipped & ~own)
    crowd = 225 * ndimage.uniform_filter(found, size=15)
    return 1e4 * float((found * (crowd < CROWD + 0.5)).sum()) / found.size


def _outliers(
    pixels: NDArray[np.float32], times: float, median: NDArray[np.float32] | None = None
) -> NDArray[np.bool_]:
    if median is None:
        median = np.stack([ndimage.median_filter(channel, size=5) for channel in pixels])
    difference = np.abs(pixels - median).max(0)
    found: NDArray[np.bool_] = difference > np.maximum(FAINTEST, times * ndimage.uniform_filter(difference, size=15))
    return found


def _places(outliers: NDArray[np.bool_]) -> NDArray[np.float32]:
    """1 at one pixel of each group that is small enough for a dot."""
    groups, _ = ndimage.label(outliers, structure=np.ones((3, 3)))
    found = np.zeros(outliers.shape, np.float32)
    for place, box in enumerate(ndimage.find_objects(groups), start=1):
        if max(side.stop - side.start for side in box) <= LARGEST:
            row, column = np.argwhere(groups[box] == place)[0]
            found[box[0].start + row, box[1].start + column] = 1
    return found
