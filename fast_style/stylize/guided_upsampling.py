"""Guided upsampling for `brush_scale`: stylize a smaller copy, enlarge it, and restore the photo's fine edges.

The detail that the photo has and its small copy lacks is added back. It is weighted by how closely the stylized image
follows the photo there: a slope `a = cov(photo, painted) / (var(photo) + eps)` as in the guided filter (He et al. 2013;
the fast version, He and Sun 2015, also computes it at the small size). Only the slope is used: the filter's own output
would smooth the brush strokes away.

The filter takes the slope of the images themselves. Here it is that of their finest details, because the added detail
continues those. A network often moves an edge by a pixel, or paints it softly. The images themselves still correlate
then, and the photo's sharp edge beside the painted one gave a halo of up to a third of the edge's height. The finest
details do not correlate, and the painted edge is only enlarged. OpenCV's `ximgproc` has the guided filter alone.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_style.images.luma import luma_of
from fast_style.images.resize import enlarged
from fast_style.stylize.stroke_flow import StrokeFlow

Floats = NDArray[np.float32]
RADIUS = 4  # In pixels of the small copy; about the width of a stroke.
FINEST = 1.0  # Standard deviation, in pixels of the small copy, of the blur that the finest details lack.
EPSILON = 1e-4  # The photo counts as flat below this variance of its details, which an edge of height 0.06 has.


def slope(photo: Floats, painted: Floats) -> Floats:
    """How closely the stylized image follows the photo in the finest details of luminance.

    Args:
        photo, painted: `(h, w, 3)` in 0..1.

    Returns:
        `(h, w)` in 0..1.
    """
    from scipy.ndimage import gaussian_filter, uniform_filter

    def mean(x: Floats) -> Floats:
        return np.asarray(uniform_filter(x, 2 * RADIUS + 1, mode="reflect"), np.float32)

    def details(x: Floats) -> Floats:
        luma = luma_of(x)
        return luma - np.asarray(gaussian_filter(luma, FINEST, mode="reflect"), np.float32)

    # The mean of details is almost 0, so their products are variance and covariance.
    guide, target = details(photo), details(painted)
    # Averaged over neighbouring windows, as in the filter. Clipped, so that edges are neither amplified nor inverted.
    return mean((mean(guide * target) / (mean(guide * guide) + EPSILON)).clip(0, 1))


def upsampled(photo: NDArray[Any], small: Floats, painted: Floats, *, rows: int = 256) -> Iterator[tuple[int, Floats]]:
    """Yield the stylized image at the photo's size, strip by strip.

    Args:
        photo: `(H, W, 3)`, uint8, or float32 in 0..1.
        small: the smaller copy, `(h, w, 3)` in 0..1.
        painted: the stylized smaller copy, `(h, w, 3)`.
        rows: rows per strip.

    Yields:
        Index of the strip's first row, and its pixels `(rows, W, 3)` in 0..1.
    """
    height, width = photo.shape[:2]
    # Where the slope is 1, the sharp photo replaces its blurred enlargement.
    a = slope(small, painted)[..., None]
    strokes = StrokeFlow(painted, height / len(small))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = (width, top, bottom, height)
        sharp = photo[top:bottom].astype(np.float32) / np.float32(255 if photo.dtype == np.uint8 else 1)
        edges: Floats = sharp - strokes.plain_rows(small, *strip)
        # Only luminance is added: the colours stay those of the stylized image.
        detail = enlarged(a, *strip) * luma_of(edges)[..., None]
        yield top, (strokes.rows(*strip) + detail).clip(0, 1)
