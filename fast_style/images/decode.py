"""Image files to arrays; knows Pillow, as `encode.py`, `color_modes.py` and `resize.py` do, and not torch.

Arrays are as pictures lie in files: ``(H, W, C)``, sRGB, uint8 in 0..255, or float32 in 0..1 where a file has more.
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

MAX_PIXELS = 178_956_970  # Where Pillow, left alone, refuses a picture.
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".gif", ".bmp"})
PICTURE_SUFFIXES |= {".tif", ".tiff", ".jp2", ".tga", ".qoi", ".ppm", ".pgm", ".pbm", ".pnm"}
# Of Pillow's kinds that are not called as their suffix is.
_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}


def check_size(size: int | None) -> None:
    """Raise a ValueError unless this can be a picture's shorter side, in pixels; None is its own."""
    if size is not None and size < 1:
        raise ValueError(f"size is the shorter side in pixels, at least 1; got {size}.")


class UnreadablePicture(ValueError):  # noqa: N818 - what it is, not that it is an error
    """No picture could be read; one sentence says what was wanted, what was found, what to do.

    Attributes:
        found: what was found, alone.
    """

    def __init__(self, message: str, found: str = "") -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True)
class Arrays:
    """``colour``: uint8 ``(H, W, 3)``, or float32 ``(H, W)`` of a deep grey; ``alpha``: uint8 ``(H, W)``, or None."""

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
    """Read the first frame: upright, sRGB, transparency composited over white.

    ``size`` is the wanted length of the shorter side in pixels; the aspect ratio stays. ``at_least`` allows a JPEG to
    come reduced by 2, 4 or 8, its shorter side no less than this: the decoder then skips most of the work. ``data`` is
    the encoded picture; ``path`` then only names it. UnreadablePicture where there is no whole picture of at most
    ``max_pixels`` pixels, before or after resizing; ValueError for a ``size`` below 1.
    """
    check_size(size)
    with _opened(path, data, max_pixels) as image:
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        layers = _upright(image)
        colour, alpha = layers if size is None else _resized(layers, size, max_pixels)
        # Resizing a float picture overshoots at edges, hence the clip.
        values = np.array(colour) if colour.mode == "RGB" else np.array(colour).clip(0, 1)
        return Arrays(values, None if alpha is None else np.array(alpha))


def size_of(path: StrPath, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height before the picture is turned upright, decoding nothing; UnreadablePicture if there is none."""
    with _opened(path, None, max_pixels) as image:
        return image.size


def read_mask(path: StrPath, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The luminance of a picture as ``(H, W)`` in 0..1, resized to ``shape``; errors of `read_arrays`."""
    with _opened(path, None, MAX_PIXELS) as image:
        colour = _eight_bit(_upright(image)[0]).convert("L")
        values = np.asarray(colour.resize((shape[1], shape[0]), Image.Resampling.BILINEAR), np.float32)
        return values / np.float32(255)


def checked_picture(
    path: StrPath, data: bytes, *, size: int | None = None, quality: int = 95, max_pixels: int = MAX_PIXELS
) -> tuple[bytes, str]:
    """The same encoded picture and the suffix of its kind, once it was seen to decode; errors of `load_pixels`.

    With a ``size`` that its shorter side surpasses it is made anew, as an upright sRGB JPEG with that shorter side.
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
    """Pillow's process-wide switches while any thread reads; the last one out restores them.

    Its warnings about odd metadata are no concern of the user; its size limit is checked at opening
    and, for TIFF, again at decoding. Readers are counted, no lock is held: threads decode side by
    side. The limit is only raised, lest one thread's small ``max_pixels`` fail another's picture.
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
    """A picture that is small enough; whatever is raised within is said as its being unreadable."""
    try:
        source = path if data is None else io.BytesIO(data)
        with _PILLOW.quiet_up_to(max_pixels), Image.open(source) as image:
            _check_pixels(image.size, max_pixels)
            yield image
    except Exception as error:
        # On a broken file Pillow's plugins raise nearly anything: OSError, SyntaxError,
        # struct.error, IndexError, ZeroDivisionError, ...
        found, advice = _diagnosis(path, data, error, max_pixels)
        message = f"wanted a picture at {os.fspath(path)}, found {found}; {advice}"
        raise UnreadablePicture(message, found) from error


def _upright(image: Image.Image) -> Layers:
    image.load()
    # EXIF that cannot be read says nothing of orientation; the pixels are still good.
    # In place, since Pillow turns the pixels before it rewrites (and stumbles over) EXIF.
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
    # A line of 60000 x 1 pixels is a small file, and enormous at size=512.
    _check_pixels(size, max_pixels)
    resampling = Image.Resampling.LANCZOS
    return colour.resize(size, resampling), alpha and alpha.resize(size, resampling)


def _diagnosis(path: StrPath, data: bytes | None, error: Exception, max_pixels: int) -> tuple[str, str]:
    """Say what was found at the path, and what to do about it."""
    if isinstance(error, Image.DecompressionBombError):
        count = re.findall(r"\d+", str(error))[0]  # The first number, in Pillow's words and ours.
        return f"{count} pixels where {max_pixels} are allowed", "raise max_pixels to read it"
    if isinstance(error, FileNotFoundError):
        return "nothing", "check the path"
    if isinstance(error, IsADirectoryError | PermissionError):
        is_folder = Path(path).is_dir()  # Windows calls opening a folder a matter of permission.
        return ("a folder" if is_folder else "a file you may not read"), "name a readable file"
    if isinstance(error, UnidentifiedImageError):
        size = Path(path).stat().st_size if data is None else len(data)
        return "an unknown kind of file" if size else "an empty file", "save it again as PNG or JPEG"
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return f"a file that cannot be decoded ({reason})", "fetch or export it again"


def _suffix_of(kind: str | None) -> str:
    suffix = _SUFFIXES.get(kind or "", f".{kind}".lower())
    if suffix not in PICTURE_SUFFIXES:
        raise ValueError(f"a {kind} is none of {' '.join(sorted(PICTURE_SUFFIXES))}")
    return suffix


def _eight_bit(colour: Image.Image) -> Image.Image:
    if colour.mode == "RGB":
        return colour
    levels = np.asarray(colour).clip(0, 1) * 255
    return Image.fromarray(levels.round().astype(np.uint8)).convert("RGB")
