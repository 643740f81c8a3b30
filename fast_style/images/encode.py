"""Encode arrays as image files with Pillow, without torch."""

import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, features

from fast_style.atomic_files import atomic_write
from fast_style.images.decode import StrPath

_ENCODERS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF"}
_ENCODERS |= {".tiff": "TIFF", ".bmp": "BMP", ".ppm": "PPM"}
_ENCODERS |= {".avif": "AVIF"} if features.check("avif") else {}
WRITABLE_SUFFIXES = frozenset(_ENCODERS)
#: Rows per rounding step; this few rows stay in the CPU cache between the operations.
_ROWS = 64
_KEEP_ALPHA = frozenset({"PNG", "WEBP", "TIFF", "AVIF"})


def check_quality(quality: int) -> None:
    """Raise a ValueError unless `quality` is valid for JPEG, WebP, AVIF and video."""
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be from 1 to 100; got {quality}")


def write_levels(
    levels: NDArray[np.uint8], path: StrPath, *, quality: int = 95, alpha: NDArray[np.uint8] | None = None
) -> None:
    """Write uint8 ``(H, W, 3)`` as an sRGB image; the write is atomic.

    Args:
        levels: the colours.
        path: the file; its suffix selects the format.
        quality: 1 to 100, for JPEG, WebP and AVIF.
        alpha: uint8 ``(H, W)``; ignored by formats without alpha.

    Raises:
        ValueError: an unknown suffix, a wrong quality, or an image that the format cannot hold.
        OSError: the file cannot be written.
    """
    encoded = encode_levels(levels, path, quality=quality, alpha=alpha)
    with atomic_write(path) as file:
        file.write(encoded)


def encode_levels(
    levels: NDArray[np.uint8], name: StrPath, *, quality: int = 95, alpha: NDArray[np.uint8] | None = None
) -> bytes:
    """Return the bytes that `write_levels` would write to a file with this name; the same ValueError."""
    encoder = encoder_for(name)
    check_quality(quality)
    if alpha is not None and encoder in _KEEP_ALPHA:
        levels = np.concatenate([levels, alpha[..., None]], axis=-1)
    image = Image.fromarray(np.ascontiguousarray(levels))
    # Encoders ignore the options of other formats.
    lossy = {"quality": quality, "subsampling": "4:4:4" if quality >= 90 else "4:2:0"}
    file = io.BytesIO()
    try:
        image.save(file, format=encoder, icc_profile=_srgb(), **lossy)
    except (OSError, ValueError) as error:  # For example, a side longer than the format allows.
        raise ValueError(f"{image.width}x{image.height} pixels cannot be written as {encoder}: {error}.") from error
    return file.getvalue()


def to_nchw(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert ``(H, W, 3)``, ``(N, H, W, 3)`` or a grey ``(H, W)`` to ``(N, 3, H, W)``, float32 in 0..1.

    ``pixels`` are uint8, or float32 in 0..1. The result is a new C-contiguous array, as the runtimes require.
    """
    colour = np.broadcast_to(pixels[..., None], (*pixels.shape, 3)) if pixels.ndim == 2 else pixels
    planes = np.moveaxis(colour if colour.ndim == 4 else colour[None], -1, 1)
    scale = np.float32(1 / 255 if pixels.dtype == np.uint8 else 1)
    return np.multiply(planes, scale, out=np.empty(planes.shape, np.float32), dtype=np.float32)


def to_hwc(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``(N, 3, H, W)`` as a view ``(N, H, W, 3)``; `to_uint8` later copies the small uint8 values instead."""
    return np.moveaxis(pictures, 1, -1)


def to_uint8(pixels: NDArray[np.float32], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Clip ``(H, W, 3)`` to 0..1, scale to 0..255 and round to uint8, into ``out`` if given.

    Raises:
        ValueError: a pixel is NaN or infinite.
    """
    rounded = np.empty(pixels.shape, np.uint8) if out is None else out
    for top in range(0, len(pixels), _ROWS):
        strip = pixels[top : top + _ROWS]
        if not np.isfinite(strip).all():
            raise ValueError("Expected finite pixels, found NaN or infinity")
        levels = strip.clip(0, 1)
        levels *= 255
        small = np.rint(levels, out=levels).astype(np.uint8)
        # Channel by channel: three times as fast if `pixels` is a view of (3, H, W) memory.
        for channel in range(pixels.shape[-1]):
            rounded[top : top + _ROWS, :, channel] = small[..., channel]
    return rounded


def encoder_for(path: StrPath) -> str:
    """Return Pillow's name of the format of the suffix; ValueError if the format cannot be written."""
    suffix = Path(path).suffix.lower()
    if suffix not in _ENCODERS:
        known = " ".join(_ENCODERS)
        raise ValueError(f"Cannot write {os.fspath(path)}: the suffix must be one of {known}")
    return _ENCODERS[suffix]


def _srgb() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Bytes 24 to 35 are the creation time; a fixed time makes files of equal images equal.
    return profile[:24] + np.array([2000, 1, 1, 0, 0, 0], ">u2").tobytes() + profile[36:]
