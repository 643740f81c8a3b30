"""Stylize image files: read, stylize and write in parallel."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import zip_longest
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fast_style.atomic_files import atomic_write
from fast_style.images.decode import (
    MAX_PIXELS,
    Arrays,
    StrPath,
    UnreadablePicture,
    check_size,
    read_arrays,
    read_mask,
    size_of,
)
from fast_style.images.encode import check_quality, encode_levels
from fast_style.stylize.painter import Painter

Alpha = Literal["keep", "mask"]
#: Stylized uint8 levels `(H, W, 3)` and alpha `(H, W)`, or the error message.
Finished = tuple[NDArray[np.uint8], NDArray[np.uint8] | None] | str


@dataclass(frozen=True)
class Painted:
    """The result of one image.

    Attributes:
        source: the photo.
        target: the written file; None if the image was skipped.
        problem: the error message of a skipped image; else None.
    """

    source: Path
    target: Path | None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class FileSettings:
    """Settings for image files; `PainterSettings` has those of the painter.

    Attributes:
        size: shorter side of the result in pixels; None keeps the photo's size.
        quality: of JPEG, WebP and AVIF files, 1 to 100.
        alpha: `keep` copies the photo's alpha channel. `mask` uses it as a mask: transparent areas are not stylized,
            and the result is opaque.
        mask: an image file of any size; white areas are stylized.
        batch: images of equal size per call; None is 8 on a GPU, 1 on a CPU. Above 1, images are sorted by size; at 1
            they keep the given order.

    Raises:
        ValueError: size, quality or batch out of range, an unknown alpha, or an unreadable mask.
    """

    size: int | None = None
    quality: int = 95
    alpha: Alpha = "keep"
    mask: StrPath | None = None
    batch: int | None = 1

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch is the number of images per call, at least 1; got {self.batch}.")
        check_quality(self.quality)
        if self.alpha not in get_args(Alpha):
            raise ValueError(f"alpha is one of {', '.join(get_args(Alpha))}; got {self.alpha!r}.")
        if self.mask is not None:
            read_mask(self.mask, (1, 1))

    def batch_on(self, device: str) -> int:
        """Images per call. A CPU gains nothing: batches of 4 gave 0.97 to 1.08 times the images per second."""
        return self.batch or (1 if device == "cpu" else 8)


def paint(
    painter: Painter,
    pairs: Sequence[tuple[Path, Path]],
    settings: FileSettings | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[float], None] = lambda done: None,
) -> Iterator[Painted]:
    """Stylize image files. A file that cannot be read, or needs too much memory, is skipped and reported.

    One thread reads the next image and one writes the previous results. At most `3 + batch` images are in memory; a
    large image is alone in memory. An image is yielded after its file is on disk.

    Args:
        painter: stylizes the images.
        pairs: photos and target files, from `plan`.
        settings: of the files.
        max_pixels: larger images are skipped.
        progress: called with the finished share of the current image, 0..1, if it is stylized in strips.
    """
    settings = settings or FileSettings()
    batch = settings.batch_on(painter.stylizer.runtime.device)
    if batch > 1:
        pairs = sorted(pairs, key=lambda pair: _size_of(pair[0], max_pixels=max_pixels))
    read = partial(_read, size=settings.size, max_pixels=max_pixels)
    finished = partial(_painted, painter, alpha=settings.alpha, mask=settings.mask, progress=progress)
    with ThreadPoolExecutor(1, "read") as reading, ThreadPoolExecutor(1, "write") as writing:
        written: deque[Future[Painted]] = deque()
        pending: list[tuple[Path, Path, Arrays | str]] = []

        def finish() -> None:
            for (photo, target, _), result in zip(pending, finished(pending), strict=True):
                written.append(writing.submit(_write, photo, target, result, quality=settings.quality))
            pending.clear()

        for (photo, target), coming, alone in _read_ahead(painter, pairs, partial(reading.submit, read), max_pixels):
            if alone:
                finish()
            while written and (alone or len(written) > 1 or written[0].done()):
                yield written.popleft().result()
            picture = coming.result() if coming else read(photo)
            if pending and _shape(pending[-1][2]) != _shape(picture):
                finish()
            pending.append((photo, target, picture))
            del picture, coming
            if alone or len(pending) == batch:
                finish()
        finish()
        while written:
            yield written.popleft().result()


def _read_ahead(
    painter: Painter,
    pairs: Sequence[tuple[Path, Path]],
    submit: Callable[[Path], Future[Arrays | str]],
    max_pixels: int,
) -> Iterator[tuple[tuple[Path, Path], Future[Arrays | str] | None, bool]]:
    """Yield each pair, its image (a future, read while the previous one is stylized) and whether it must be alone.

    A large image and the image after it are alone. Their future is None: they are read when no other is in memory.
    """
    alone, coming = False, None
    for pair, after in zip_longest(pairs, pairs[1:]):
        here, coming = coming, None
        large = painter.is_large(math.prod(_size_of(pair[0], max_pixels=max_pixels)))
        alone = alone or large
        here = here or (None if alone else submit(pair[0]))
        if after and not large and not painter.is_large(math.prod(_size_of(after[0], max_pixels=max_pixels))):
            coming = submit(after[0])
        yield pair, here, alone
        alone = large


def _size_of(path: Path, *, max_pixels: int) -> tuple[int, int]:
    """Width and height from the header; (0, 0) if it cannot be read. Reading the image reports the error later."""
    try:
        return size_of(path, max_pixels=max_pixels)
    except UnreadablePicture:
        return 0, 0


def _shape(picture: Arrays | str) -> tuple[int, ...]:
    return () if isinstance(picture, str) else picture.colour.shape


def _read(photo: Path, *, size: int | None, max_pixels: int) -> Arrays | str:
    """The image, or the error message."""
    try:
        return read_arrays(photo, size=size, max_pixels=max_pixels)
    except UnreadablePicture as error:
        return str(error)
    except MemoryError:
        return f"There is not enough memory to read {photo}; set a smaller size=."


def _painted(
    painter: Painter,
    pictures: Sequence[tuple[Path, Path, Arrays | str]],
    *,
    alpha: Alpha,
    mask: StrPath | None,
    progress: Callable[[float], None],
) -> list[Finished]:
    """Stylize images of equal size; levels and alpha of each, or its error message."""
    asked, kept = [], []
    for _, _, picture in pictures:
        if isinstance(picture, str):
            continue
        shares = [] if mask is None else [read_mask(mask, picture.colour.shape[:2])]
        clear = picture.alpha
        if alpha == "mask" and clear is not None:
            shares, clear = [*shares, clear.astype(np.float32) / np.float32(255)], None
        blending = replace(painter.blending, mask=reduce(np.multiply, shares)) if shares else painter.blending
        asked.append((picture, blending))
        kept.append(clear)
    results = zip(painter.paint_batch(asked, progress=progress), kept, strict=True)
    finished: list[Finished] = []
    for photo, _, picture in pictures:
        if isinstance(picture, str):
            finished.append(picture)
            continue
        levels, clear = next(results)
        finished.append(f"{photo} cannot be stylized: {levels}" if isinstance(levels, ValueError) else (levels, clear))
    return finished


def _write(photo: Path, target: Path, painted: Finished, *, quality: int) -> Painted:
    if isinstance(painted, str):
        return Painted(photo, None, painted)
    levels, alpha = painted
    try:
        encoded = encode_levels(levels, target, quality=quality, alpha=alpha)
    except ValueError as error:
        return Painted(photo, None, f"The result of {photo} cannot be written: {error}")
    except MemoryError:
        return Painted(photo, None, f"There is not enough memory to encode the result of {photo}.")
    with atomic_write(target) as file:
        file.write(encoded)
    return Painted(photo, target)
