"""Decode image files to arrays with Pillow, without torch (as `encode.py`, `color_modes.py` and `resize.py`).

Arrays have the layout of image files: ``(H, W, C)``, sRGB, uint8 in 0..255. Grey images with more than 8 bits give
float32 in 0..1.
"""

import io
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fast_style.images.color_modes import Layers, flattened

StrPath = str | os.PathLike[str]

MAX_PIXELS = 178_956_970  # Pillow's default limit, above which it raises an error.
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".gif", ".bmp"})
PICTURE_SUFFIXES |= {".tif", ".tiff", ".jp2", ".tga", ".qoi", ".ppm", ".pgm", ".pbm", ".pnm"}
# Pillow formats with a name other than their suffix.
_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}


def check_size(size: int | None) -> None:
    """Raise a ValueError unless `size` is a valid shorter side in pixels; None means the original size."""
    if size is not None and size < 1:
        raise ValueError(f"size is the shorter side in pixels and must be at least 1; got {size}.")


class UnreadablePicture(ValueError):  # noqa: N818 - the name describes the file
    """Raised if an image cannot be read; the message names the path, what was found there, and what to do.

    Attributes:
        found: only the part of the message that says what was found.
    """

    def __init__(self, message: str, found: str = "") -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True)
class Arrays:
    """A decoded image.

    Attributes:
        colour: uint8 ``(H, W, 3)``; float32 ``(H, W)`` in 0..1 for a grey image with more than 8 bits.
        alpha: uint8 ``(H, W)``, or None.
    """

    colour: NDArray[np.uint8] | NDArray[np.float32]
    alpha: NDArray[np.uint8] | None


def read_arrays(
    path: StrPath,
    *,
    size: int | None = None,
    at_least: int | None = None,
    data: bytes | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Arrays:
    """Read the first frame: upright, sRGB, with transparency composited over white.

    Args:
        path: the image file, or only its name in messages if ``data`` is given.
        size: shorter side of the result in pixels, with the aspect ratio kept; None keeps the original size.
        at_least: lets the decoder reduce a JPEG by 2, 4 or 8, which skips most of its work. The shorter side of the
            reduced image is at least this many pixels.
        data: the encoded image, instead of the content of the file.
        max_pixels: limit of the number of pixels, before and after resizing.

    Raises:
        UnreadablePicture: the image is missing, damaged, incomplete or larger than ``max_pixels``.
        ValueError: ``size`` is below 1.
    """
    check_size(size)
    with _opened(path, data, max_pixels) as image:
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        layers = _upright(image)
        colour, alpha = layers if size is None else _resized(layers, size, max_pixels)
        # Resizing a float image overshoots at edges, so the values are clipped.
        values = np.array(colour) if colour.mode == "RGB" else np.array(colour).clip(0, 1)
        return Arrays(values, None if alpha is None else np.array(alpha))


def size_of(path: StrPath, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return width and height before EXIF rotation, without decoding; UnreadablePicture if the file is no image."""
    with _opened(path, None, max_pixels) as image:
        return image.size


def read_mask(path: StrPath, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the luminance of an image as ``(H, W)`` in 0..1, resized to ``shape``; errors as in `read_arrays`."""
    with _opened(path, None, MAX_PIXELS) as image:
        colour = _eight_bit(_upright(image)[0]).convert("L")
        values = np.asarray(colour.resize((shape[1], shape[0]), Image.Resampling.BILINEAR), np.float32)
        return values / np.float32(255)


def checked_picture(
    path: StrPath, data: bytes, *, size: int | None = None, quality: int = 95, max_pixels: int = MAX_PIXELS
) -> tuple[bytes, str]:
    """Check that an encoded image decodes, and return its bytes and the suffix of its format.

    If its shorter side is larger than ``size``, the image is resized and encoded again as an upright sRGB JPEG. The
    errors are those of `read_arrays`.
    """
    with _opened(path, data, max_pixels) as image:
        suffix = _suffix_of(image.format)
        smallest = 1 if size is None else size
        larger = size is not None and min(image.size) > size
        image.draft(None, (smallest, smallest))
        layers = _upright(image)
        if size is None or not larger:
            return data, suffix
        colour = _resized(layers, size, max_pixels)[0]
        file = io.BytesIO()
        _eight_bit(colour).save(file, "JPEG", quality=quality, subsampling="4:4:4" if quality >= 90 else "4:2:0")
        return file.getvalue(), ".jpg"


class _PillowGlobals:
    """Set Pillow's process-wide options while any thread reads; the last reader restores them.

    Pillow's warnings about unusual metadata do not help the user, so they are ignored. Pillow checks its size limit
    when it opens an image and, for TIFF, again when it decodes. Readers are counted and the lock is not held while
    reading, so threads decode in parallel. The limit is only raised: a small ``max_pixels`` of one thread must not
    reject the image of another thread.
    """

    def __init__(self) -> None:
        self._lock, self._readers = threading.Lock(), 0

    @contextmanager
    def quiet_up_to(self, max_pixels: int) -> Iterator[None]:
        with self._lock:
            if self._readers == 0:
                self._limit, self._filters = Image.MAX_IMAGE_PIXELS, warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._readers += 1
            if Image.MAX_IMAGE_PIXELS is not None:
                Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1
                if self._readers == 0:
                    self._filters.__exit__(None, None, None)
                    Image.MAX_IMAGE_PIXELS = self._limit


_PILLOW = _PillowGlobals()


@contextmanager
def _opened(path: StrPath, data: bytes | None, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image of at most ``max_pixels`` pixels; any error in the block becomes an UnreadablePicture."""
    try:
        source = path if data is None else io.BytesIO(data)
        with _PILLOW.quiet_up_to(max_pixels), Image.open(source) as image:
            _check_pixels(image.size, max_pixels)
            yield image
    except Exception as error:
        # Pillow's plugins raise almost any error on a broken file: OSError, SyntaxError,
        # struct.error, IndexError, ZeroDivisionError, ...
        found, advice = _diagnosis(path, data, error, max_pixels)
        message = f"Expected an image at {os.fspath(path)}, found {found}; {advice}"
        raise UnreadablePicture(message, found) from error


def _upright(image: Image.Image) -> Layers:
    image.load()
    # Unreadable EXIF gives no orientation, but the pixels are valid.
    # In place: Pillow rotates the pixels before it rewrites EXIF, and only the second step may fail.
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    return flattened(image)


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    pixels = size[0] * size[1]
    if pixels < 1:
        raise ValueError(f"its size is {size[0]} x {size[1]}")
    if pixels > max_pixels:
        raise Image.DecompressionBombError(f"{pixels} pixels")


def _resized(layers: Layers, shorter: int, max_pixels: int) -> Layers:
    colour, alpha = layers
    scale = shorter / min(colour.size)
    size = round(colour.width * scale), round(colour.height * scale)
    # An image of 60000 x 1 pixels is a small file, but at size=512 it has 15.7 gigapixels.
    _check_pixels(size, max_pixels)
    resampling = Image.Resampling.LANCZOS
    return colour.resize(size, resampling), alpha and alpha.resize(size, resampling)


def _diagnosis(path: StrPath, data: bytes | None, error: Exception, max_pixels: int) -> tuple[str, str]:
    """Return what was found at the path, and what to do about it."""
    if isinstance(error, Image.DecompressionBombError):
        count = re.findall(r"\d+", str(error))[0]  # The first number, in Pillow's message as in ours.
        return f"{count} pixels where {max_pixels} are allowed", "increase max_pixels to read it"
    if isinstance(error, FileNotFoundError):
        return "nothing", "check the path"
    if isinstance(error, IsADirectoryError | PermissionError):
        is_folder = Path(path).is_dir()  # Windows raises PermissionError for a folder.
        return ("a folder" if is_folder else "a file without read permission"), "give the path of a readable file"
    if isinstance(error, UnidentifiedImageError):
        size = Path(path).stat().st_size if data is None else len(data)
        return "an unknown file format" if size else "an empty file", "save it again as PNG or JPEG"
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return f"a file that cannot be decoded ({reason})", "download or export it again"


def _suffix_of(kind: str | None) -> str:
    suffix = _SUFFIXES.get(kind or "", f".{kind}".lower())
    if suffix not in PICTURE_SUFFIXES:
        raise ValueError(f"the format {kind} is none of {' '.join(sorted(PICTURE_SUFFIXES))}")
    return suffix


def _eight_bit(colour: Image.Image) -> Image.Image:
    if colour.mode == "RGB":
        return colour
    levels = np.asarray(colour).clip(0, 1) * 255
    return Image.fromarray(levels.round().astype(np.uint8)).convert("RGB")
