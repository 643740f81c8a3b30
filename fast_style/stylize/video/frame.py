"""One frame of a video. This module imports no PyAV, which is optional."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """One frame: ``pixels`` ``(H, W, 3)``, uint8; ``start`` and ``duration`` in the clip's ``time_base``."""

    pixels: NDArray[np.uint8]
    start: int
    duration: int
