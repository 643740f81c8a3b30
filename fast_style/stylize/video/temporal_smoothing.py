"""Reduce flicker in stylized videos: average over time where the input stands still."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float32]

#: Change of the input, of 1, at which averaging fades out: above camera noise, below a moving edge.
TOLERANCE = np.float32(0.06)


class TemporalSmoothing:
    """Average stylized frames over time, without ghosting behind moving objects.

    `x` is the input frame, `p` the stylized frame and `s` the strength; `r` and `y` are the running averages of the
    input frames and of the stylized frames. At every pixel::

        d = largest within 2 pixels of (mean over 3x3 of (largest of the channels of |x - r|))
        w = s exp(-(d / TOLERANCE)^2)
        y <- w y + (1 - w) p,    r <- w r + (1 - w) x

    Both averages use the same weights. So the kept part of earlier results always belongs to input frames that looked
    like this one, also in a slow fade. At a cut `w` is 0, and both averages restart.

    Args:
        strength: `s`, 0 (off) to below 1. In a still video, flicker falls to sqrt((1 - s) / (1 + s)) of its value.

    Raises:
        ValueError: strength out of range.
    """

    def __init__(self, strength: float) -> None:
        if not 0 <= strength < 1:
            raise ValueError(f"smoothing is from 0 (off) to less than 1; got {strength}. Try 0.8.")
        self.strength = np.float32(strength)
        self._averages: tuple[Planes, Planes] | None = None

    def __call__(self, photo: Planes, painted: Planes) -> Planes:
        """Smooth the next frame: input and stylized frame, float32 `(1, 3, H, W)` in 0..1, to the same shape."""
        if self.strength == 0:
            return painted
        if self._averages is not None:
            photos, paintings = self._averages
            kept = self.strength * np.exp(-np.square(_change(photo, photos) / TOLERANCE))
            photo, painted = photo + kept * (photos - photo), painted + kept * (paintings - painted)
        self._averages = photo, painted
        return painted


def _change(photo: Planes, before: Planes) -> Planes:
    """Change of each pixel `(H, W)`. It spreads to neighbours: a stroke is wider than the detail that causes it."""
    largest = np.abs(photo - before).max(axis=1)[0]
    return _around(_around(largest, 1, np.add) / np.float32(9), 2, np.maximum)


def _around(values: Planes, reach: int, combine: Callable[[Any, Any], Any]) -> Planes:
    """Combine each value of `(H, W)` with all values within `reach` rows and columns."""
    height, width = values.shape
    padded = np.pad(values, reach, mode="edge")
    rows = reduce(combine, (padded[i : i + height] for i in range(2 * reach + 1)))
    around: Planes = reduce(combine, (rows[:, i : i + width] for i in range(2 * reach + 1)))
    return around
