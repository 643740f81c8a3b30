"""Enlarge a stylized image along its strokes, so that they stay strokes and do not become rows of squares.

A network's finest strokes are about two pixels wide. Bicubic, Lanczos and Fourier interpolation alike turn a diagonal
stroke into a chain of beads, which shows from about twice the size on. Here each pixel is averaged along the direction
of its stroke: line integral convolution (Cabral and Leedom 1993) with the directions of a structure tensor, as in
coherence-enhancing filters (Kyprianidis and Kang 2011). Where there is no direction, as in a dot, nothing is averaged.
scikit-image has the structure tensor but no such filter; OpenCV has neither in its main package.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fast_style.images.luma import luma_of
from fast_style.images.resize import enlarged

Floats = NDArray[np.float32]
LONGEST = 1.2  # Largest standard deviation of the average along a stroke, in pixels of the image.
AROUND = 1.5  # Standard deviation of the window in which a direction is measured, in pixels of the image.


class StrokeFlow:
    """Enlarge one image along its strokes, strip by strip.

    Args:
        painted: `(h, w, 3)` in 0..1.
        scale: how many times it is enlarged. The length of the averages grows with it; below 2 nothing is averaged.
    """

    def __init__(self, painted: Floats, scale: float) -> None:
        self.painted = painted
        self.deviation = min(LONGEST, (scale - 1) / 2) if scale >= 2 else 0.0
        self.tensor = structure_tensor(painted) if self.deviation else None

    def rows(self, width: int, top: int, bottom: int, height: int) -> Floats:
        """Return rows `top` to `bottom` of the image enlarged to `(height, width, 3)`."""
        if self.tensor is None:
            return enlarged(self.painted, width, top, bottom, height)
        first, last = self._rows_of_double(top, bottom, height)
        averaged = self._averaged(self.tensor, first, last)
        return enlarged(averaged, width, top, bottom, height, first=first, rows=2 * len(self.painted))

    def plain_rows(self, other: Floats, width: int, top: int, bottom: int, height: int) -> Floats:
        """The same of another image of this size, enlarged by the same steps but without averages."""
        if self.tensor is None:
            return enlarged(other, width, top, bottom, height)
        first, last = self._rows_of_double(top, bottom, height)
        doubled = enlarged(other, 2 * other.shape[1], first, last, 2 * len(other))
        return enlarged(doubled, width, top, bottom, height, first=first, rows=2 * len(other))

    def _rows_of_double(self, top: int, bottom: int, height: int) -> tuple[int, int]:
        """Rows of the image at double size that the rows `top` to `bottom` are made of.

        Averaged strokes are smooth enough for bicubic enlarging from there, which needs two rows more at each side.
        """
        doubled = 2 * len(self.painted)
        return max(0, top * doubled // height - 3), min(doubled, -(-bottom * doubled // height) + 3)

    def _averaged(self, tensor: Floats, first: int, last: int) -> Floats:
        """Rows `first` to `last` at double size, averaged along the strokes."""
        from scipy.ndimage import map_coordinates

        height, width = (2 * side for side in self.painted.shape[:2])
        margin = int(np.ceil(4 * self.deviation)) + 2
        low, high = max(0, first - margin), min(height, last + margin)
        planes = np.moveaxis(enlarged(self.painted, width, low, high, height), -1, 0)
        down, right = directions(enlarged(tensor, width, first, last, height))
        rows, columns = np.mgrid[first - low : last - low, 0:width].astype(np.float32)
        total: Floats = np.zeros((3, last - first, width), np.float32)
        weights = 0.0
        for distance, weight in taps(2 * self.deviation):
            place = [rows + distance * down, columns + distance * right]
            for plane, summed in zip(planes, total, strict=True):
                summed += np.float32(weight) * map_coordinates(plane, place, order=1, mode="nearest")
            weights += weight
        total /= np.float32(weights)
        return np.moveaxis(total, 0, -1)


def structure_tensor(painted: Floats) -> Floats:
    """Products of the slopes of luminance, averaged over a window: `(h, w, 3)` for xx, xy and yy."""
    from scipy.ndimage import gaussian_filter, sobel

    luma = gaussian_filter(luma_of(painted), 0.7)
    x, y = sobel(luma, 1), sobel(luma, 0)
    return np.stack([gaussian_filter(product, AROUND) for product in (x * x, x * y, y * y)], axis=-1)


def directions(tensor: Floats) -> tuple[Floats, Floats]:
    """The direction of the stroke at each pixel, as steps down and to the right.

    Its length is the coherence: 1 where all slopes have one direction, 0 where they have none.
    """
    xx, xy, yy = np.moveaxis(tensor, -1, 0)
    across = 0.5 * np.arctan2(2 * xy, xx - yy)
    coherence = (np.hypot(xx - yy, 2 * xy) / (xx + yy).clip(1e-6)).clip(0, 1)
    return np.cos(across) * coherence, -np.sin(across) * coherence


def taps(deviation: float) -> Iterator[tuple[float, float]]:
    """Distances and weights of a Gaussian, a pixel or less apart, up to two standard deviations."""
    count = int(np.ceil(2 * deviation))
    for step in range(-count, count + 1):
        distance = 2 * deviation * step / max(count, 1)
        yield distance, float(np.exp(-0.5 * (distance / max(deviation, 1e-6)) ** 2))
