"""Broader brushes: paint a smaller copy, enlarge it, and give it back the photo's fine edges.

Guided upsampling: after enlarging, what the photo has and its small copy has not is added, by as much as the painting
follows the photo there: the slope `a = cov(photo, painted) / (var(photo) + eps)` of the guided filter (He et al. 2013;
its fast form, He and Sun 2015, takes it at the small size too). The filter's own result would smooth the strokes away;
only its slope is used.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style.images.luma import luma_of
from fast_style.images.resize import enlarged

Floats = NDArray[np.float32]
RADIUS = 4  # Pixels of the small copy, about a stroke.
EPSILON = 1e-3  # Variance below which the photo counts as flat: an edge of 0.06.


def slope(photo: Floats, painted: Floats) -> Floats:
    """How far the painting follows the photo: `(h, w, 3)` each in 0..1 to `(h, w)`, by their luminance."""
    from scipy.ndimage import uniform_filter

    def mean(x: Floats) -> Floats:
        return np.asarray(uniform_filter(x, 2 * RADIUS + 1, mode="reflect"), np.float32)

    guide, target = luma_of(photo), luma_of(painted)
    variance = mean(guide * guide) - mean(guide) ** 2
    covariance = mean(guide * target) - mean(guide) * mean(target)
    # Of neighbouring windows the mean, as in the filter; never more than the photo's own edges, nor against them.
    return mean((covariance / (variance.clip(min=0) + EPSILON)).clip(0, 1))


def upsampled(photo: NDArray[Any], small: Floats, painted: Floats, *, rows: int = 256) -> Iterator[tuple[int, Floats]]:
    """The painting at the photo's size, strip by strip.

    Args:
        photo: `(H, W, 3)`, uint8, or float32 in 0..1.
        small: the copy that was painted, `(h, w, 3)` in 0..1.
        painted: the same painted.
        rows: of a strip.

    Yields:
        The number of a strip's first row, and `(rows, W, 3)` in about 0..1.
    """
    height, width = photo.shape[:2]
    # What is enlarged: the painting, less the photo's own blur by as much as its sharp edges come back.
    a = slope(small, painted)[..., None]
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = (width, top, bottom, height)
        sharp = photo[top:bottom].astype(np.float32) / np.float32(255 if photo.dtype == np.uint8 else 1)
        edges: Floats = sharp - enlarged(small, *strip)
        # The luminance of the edges alone: colours are the painting's.
        detail = enlarged(a, *strip) * luma_of(edges)[..., None]
        yield top, (enlarged(painted, *strip) + detail).clip(0, 1)
