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
#: Rows that are rounded at a time; so few stay in the CPU's cache from one step to the next.
_ROWS = 64
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


def to_nchw(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """``(N, 3, H, W)``, float32 in 0..1, of ``(H, W, 3)``, ``(N, H, W, 3)`` or a grey ``(H, W)``.

    ``pixels`` are uint8, or float32 in 0..1; the result has its own memory, row after row as runtimes want it.
    """
    colour = np.broadcast_to(pixels[..., None], (*pixels.shape, 3)) if pixels.ndim == 2 else pixels
    planes = np.moveaxis(colour if colour.ndim == 4 else colour[None], -1, 1)
    scale = np.float32(1 / 255 if pixels.dtype == np.uint8 else 1)
    return np.multiply(planes, scale, out=np.empty(planes.shape, np.float32), dtype=np.float32)


def to_hwc(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(N, 3, H, W)`` as ``(N, H, W, 3)``: a view, since only the last step, to uint8, has to move what is small."""
    return np.moveaxis(pictures, 1, -1)


def to_uint8(pixels: NDArray[np.float32], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """``(H, W, 3)``, clipped to 0..1 and rounded to uint8, into ``out`` if given.

    Raises:
        ValueError: NaN or infinity among the pixels.
    """
    rounded = np.empty(pixels.shape, np.uint8) if out is None else out
    for top in range(0, len(pixels), _ROWS):
        strip = pixels[top : top + _ROWS]
        if not np.isfinite(strip).all():
            raise ValueError("wanted finite pixels, found NaN or infinity")
        levels = strip.clip(0, 1)
        levels *= 255
        small = np.rint(levels, out=levels).astype(np.uint8)
        # Channel by channel: three times as quick where the memory of `pixels` is that of (3, H, W).
        for channel in range(pixels.shape[-1]):
            rounded[top : top + _ROWS, :, channel] = small[..., channel]
    return rounded


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
