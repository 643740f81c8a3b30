"""Noise on the photo, a seed for strokes in smooth areas. NumPy only, without torch."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Any number will do. It is fixed, so that the same photo gives the same picture.
SEED = 0
#: Rows that get their noise at a time.
ROWS = 64


def trained_noise(origin: Mapping[str, str]) -> float:
    """The deviation of the noise (`method.noise_std`) that a network was trained with; 0 if its file does not tell.

    Args:
        origin: metadata, as in `Stylizer.origin`. It comes from a file of any origin, so nothing in it is trusted.
    """
    try:
        deviation = float(json.loads(origin["recipe"])["method"]["noise_std"])
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return 0.0
    return deviation if 0 <= deviation <= 1 else 0.0


def with_noise(pixels: NDArray[Any], deviation: float) -> NDArray[Any]:
    """Add normal noise to an image.

    A generator has no randomness of its own: a smooth sky has nothing that a star could start from. So texture networks
    (Ulyanov et al. 2016, section 3) take noise as an input; a generator that takes a photo can get it with the photo.

    Args:
        pixels: `(H, W, 3)`, uint8 or floats in 0..1.
        deviation: standard deviation of the noise (images are in 0 to 1); 0 returns the image itself.

    Returns:
        An image of the same shape and dtype, clipped to its range. The same image gives the same noise.
    """
    if not deviation:
        return pixels
    highest = 255 if pixels.dtype == np.uint8 else 1
    numbers = np.random.default_rng(SEED)
    noisy = np.empty_like(pixels)
    # A few rows at a time: the noise of the whole image would need four times the image's memory.
    for top in range(0, len(pixels), ROWS):
        rows = pixels[top : top + ROWS]
        changed = rows + highest * deviation * numbers.standard_normal(rows.shape, np.float32)
        noisy[top : top + ROWS] = (changed.round() if highest == 255 else changed).clip(0, highest)
    return noisy
