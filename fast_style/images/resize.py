"""Resize pixel arrays."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def enlarged(
    planes: NDArray[np.float32],
    width: int,
    top: int,
    bottom: int,
    height: int,
    *,
    first: int = 0,
    rows: int | None = None,
) -> NDArray[np.float32]:
    """Enlarge ``(h, w, C)`` to ``(height, width, C)``, bicubic; return rows ``top`` to ``bottom`` of the result.

    Args:
        planes: the image, or some of its rows: enough for the result, and two more at each side.
        width, top, bottom, height: see above.
        first, rows: index of the first of these rows in the image, and how many rows the image has.
    """
    columns, rows = planes.shape[1], rows or len(planes)
    box = (0, top * rows / height - first, columns, bottom * rows / height - first)
    size = (width, bottom - top)
    channels = [Image.fromarray(np.ascontiguousarray(plane)) for plane in planes.transpose(2, 0, 1)]
    return np.stack([np.asarray(c.resize(size, Image.Resampling.BICUBIC, box=box)) for c in channels], axis=-1)


def reduced(colour: NDArray[np.uint8] | NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Reduce ``(H, W, 3)`` or ``(H, W)``, uint8 or float32 in 0..1, to ``(height, width, 3)``, float32 in 0..1."""
    small = np.asarray(Image.fromarray(colour).resize((width, height), Image.Resampling.LANCZOS), np.float32)
    small = small / np.float32(255) if colour.dtype == np.uint8 else small.clip(0, 1)
    return small if small.ndim == 3 else np.repeat(small[..., None], 3, axis=2)
