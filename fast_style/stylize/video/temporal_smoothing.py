"""Painted frames without flicker: an average over time, where the photo stands still."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float32]

#: How much a photo may change, of 1, before its painting is a new one: above a camera's noise, below a moving edge.
TOLERANCE = np.float32(0.06)


class TemporalSmoothing:
    """Averages a clip's painted frames over time, without ghosts behind what moves.

    With photo `x`, painting `p` and strength `s`, all of one time, and the averages `r` of the photos and `y` of the
    paintings, at every pixel:

        d = largest within 2 pixels of (mean over 3x3 of (largest of the channels of |x - r|))
        w = s exp(-(d / TOLERANCE)^2)
        y <- w y + (1 - w) p,    r <- w r + (1 - w) x

    Both averages have the same weights, so what is kept of earlier paintings always belongs to photos that looked like
    this one, in a slow fade as well; at a cut `w` is 0 and everything starts anew.

    Args:
        strength: `s`, 0 up to less than 1; 0 is off. Flicker of a still clip falls to sqrt((1 - s) / (1 + s)).

    Raises:
        ValueError: another strength.
    """

    def __init__(self, strength: float) -> None:
        if not 0 <= strength < 1:
            raise ValueError(f"smoothing goes from 0 (off) to less than 1; got {strength}. Try 0.8.")
        self.strength = np.float32(strength)
        self._averages: tuple[Planes, Planes] | None = None

    def __call__(self, photo: Planes, painted: Planes) -> Planes:
        """The next frame: photo and painting, float32 `(1, 3, H, W)` in 0..1, to a painting alike."""
        if self.strength == 0:
            return painted
        if self._averages is not None:
            photos, paintings = self._averages
            kept = self.strength * np.exp(-np.square(_change(photo, photos) / TOLERANCE))
            photo, painted = photo + kept * (photos - photo), painted + kept * (paintings - painted)
        self._averages = photo, painted
        return painted


def _change(photo: Planes, before: Planes) -> Planes:
    """`(H, W)`. A pixel that changed counts for its neighbours: a stroke is wider than what it follows."""
    largest = np.abs(photo - before).max(axis=1)[0]
    return _around(_around(largest, 1, np.add) / np.float32(9), 2, np.maximum)


def _around(values: Planes, reach: int, combine: Callable[[Any, Any], Any]) -> Planes:
    """Combine each value of `(H, W)` with all those within `reach` rows and columns."""
    height, width = values.shape
    padded = np.pad(values, reach, mode="edge")
    rows = reduce(combine, (padded[i : i + height] for i in range(2 * reach + 1)))
    around: Planes = reduce(combine, (rows[:, i : i + width] for i in range(2 * reach + 1)))
    return around
