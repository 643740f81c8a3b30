"""Arrays to picture files; knows Pillow, and not torch."""

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
_KEEP_ALPHA = frozenset({"PNG", "WEBP", "TIFF", "AVIF"})


def check_quality(quality: int) -> None:
    """Raise a ValueError unless a JPEG, a WebP, an AVIF or a video can be of this quality."""
    if not 1 <= quality <= 100:
        raise ValueError(f"quality goes from 1 to 100, not {quality}")


def write_levels(
    levels: NDArray[np.uint8], path: StrPath, *, quality: int = 95, alpha: NDArray[np.uint8] | None = None
) -> None:
    """Write uint8 ``(H, W, 3)``, with ``alpha`` ``(H, W)`` where the format keeps one, as sRGB.

    The suffix names the format; ``quality``, 1 to 100, is for JPEG, WebP and AVIF. The file appears whole or not at
    all. ValueError for what cannot be written, OSError from the disk.
    """
    encoded = encode_levels(levels, path, quality=quality, alpha=alpha)
    with atomic_write(path) as file:
        file.write(encoded)


def encode_levels(
    levels: NDArray[np.uint8], name: StrPath, *, quality: int = 95, alpha: NDArray[np.uint8] | None = None
) -> bytes:
    """The bytes that `write_levels` would write to a file of that name; its ValueError."""
    encoder = encoder_for(name)
    check_quality(quality)
    if alpha is not None and encoder in _KEEP_ALPHA:
        levels = np.concatenate([levels, alpha[..., None]], axis=-1)
    image = Image.fromarray(np.ascontiguousarray(levels))
    # Encoders pass over the options that are not theirs.
    lossy = {"quality": quality, "subsampling": "4:4:4" if quality >= 90 else "4:2:0"}
    file = io.BytesIO()
    try:
        image.save(file, format=encoder, icc_profile=_srgb(), **lossy)
    except (OSError, ValueError) as error:  # Such as more pixels a side than the format has.
        raise ValueError(f"{image.width}x{image.height} pixels can't be written as {encoder}: {error}.") from error
    return file.getvalue()


def planes_of(colour: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """``(1, 3, H, W)``, float32 in 0..1, of ``(H, W, 3)`` or a grey ``(H, W)``, uint8 or float32 in 0..1."""
    if colour.ndim == 2:
        return np.repeat(colour.astype(np.float32, copy=False)[None, None], 3, axis=1)
    planes = colour.transpose(2, 0, 1)[None]
    if colour.dtype == np.uint8:
        return np.multiply(planes, np.float32(1 / 255), dtype=np.float32)
    return planes.astype(np.float32, copy=False)


def levels_of(planes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """``(H, W, 3)``, uint8, of ``(1, 3, H, W)``, clipped to 0..1; ValueError where there is NaN or infinity."""
    if not np.isfinite(planes).all():
        raise ValueError("wanted finite pixels, found NaN or infinity")
    levels = planes[0].clip(0, 1)
    levels *= 255
    rounded: NDArray[np.uint8] = np.rint(levels, out=levels).astype(np.uint8)
    return rounded.transpose(1, 2, 0)


def encoder_for(path: StrPath) -> str:
    """Pillow's name of the format that the suffix stands for; ValueError if it cannot be written."""
    suffix = Path(path).suffix.lower()
    if suffix not in _ENCODERS:
        known = " ".join(_ENCODERS)
        raise ValueError(f"cannot write {os.fspath(path)}: its suffix is none of {known}")
    return _ENCODERS[suffix]


def _srgb() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Bytes 24 to 35 are the time of its making; a fixed one lets equal pictures be equal files.
    return profile[:24] + np.array([2000, 1, 1, 0, 0, 0], ">u2").tobytes() + profile[36:]
