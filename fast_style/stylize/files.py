"""Painting files, many at a time."""

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
#: Painted levels `(H, W, 3)` and alpha `(H, W)`, or the sentence that says why there are none.
Finished = tuple[NDArray[np.uint8], NDArray[np.uint8] | None] | str


@dataclass(frozen=True)
class Painted:
    """What became of one picture.

    Attributes:
        source: the photo.
        target: where the painted picture is; None if the photo could not be read.
        problem: the sentence that says why, then.
    """

    source: Path
    target: Path | None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class FileSettings:
    """How files are painted, beside what the painter decides.

    Attributes:
        size: shorter side to paint at, in pixels; None keeps the photo's.
        quality: of JPEG, WebP and AVIF files, 1 to 100.
        alpha: `keep` a photo's transparency, or `mask` with it: what is clear is not painted, and nothing is clear.
        mask: a picture, of any size, that is white where the painting goes.
        batch: pictures of one size that are painted in one call; None: 8 on a GPU, 1 on a CPU. Above 1 they come by
            their sizes, else in the order that they are given in.

    Raises:
        ValueError: a size, quality or batch out of range, an alpha of another name, a mask that can't be read.
    """

    size: int | None = None
    quality: int = 95
    alpha: Alpha = "keep"
    mask: StrPath | None = None
    batch: int | None = 1

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch is the number of pictures in a call, at least 1; got {self.batch}.")
        check_quality(self.quality)
        if self.alpha not in get_args(Alpha):
            raise ValueError(f"alpha is one of {', '.join(get_args(Alpha))}; got {self.alpha!r}.")
        if self.mask is not None:
            read_mask(self.mask, (1, 1))

    def batch_on(self, device: str) -> int:
        """Pictures in a call. On a CPU more than one bring nothing: 0.97 to 1.08 times as many a second, of four."""
        return self.batch or (1 if device == "cpu" else 8)


def paint(
    painter: Painter,
    pairs: Sequence[tuple[Path, Path]],
    settings: FileSettings | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[float], None] = lambda done: None,
) -> Iterator[Painted]:
    """Paint many pictures; one that can't be read, or takes too much memory, is reported and skipped.

    While some are painted the next is read and those before are written, each in a thread of its own: at most
    `3 + batch` pictures are in memory, and of large ones one. Each comes out once it is on the disk.

    Args:
        painter: paints one.
        pairs: photos and targets, from `plan`.
        settings: of the files.
        max_pixels: a larger picture is refused.
        progress: told the share of the one picture that is done, 0..1, where it takes longer.
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
    """Each pair with its picture, which is read while the one before is painted, and whether it is to be alone.

    A large one, and the one after it, are alone: they have no picture yet, but are read when no other is in memory.
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
    """Width and height by the header; none if it can't be read, which reading it will say."""
    try:
        return size_of(path, max_pixels=max_pixels)
    except UnreadablePicture:
        return 0, 0


def _shape(picture: Arrays | str) -> tuple[int, ...]:
    return () if isinstance(picture, str) else picture.colour.shape


def _read(photo: Path, *, size: int | None, max_pixels: int) -> Arrays | str:
    """The picture, or the sentence that says why there is none."""
    try:
        return read_arrays(photo, size=size, max_pixels=max_pixels)
    except UnreadablePicture as error:
        return str(error)
    except MemoryError:
        return f"{photo} takes more memory to read than there is; paint at a smaller size=."


def _painted(
    painter: Painter,
    pictures: Sequence[tuple[Path, Path, Arrays | str]],
    *,
    alpha: Alpha,
    mask: StrPath | None,
    progress: Callable[[float], None],
) -> list[Finished]:
    """Levels and alpha of pictures of one size, or for each the sentence that says why there are none."""
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
        finished.append(f"{photo} can't be painted: {levels}" if isinstance(levels, ValueError) else (levels, clear))
    return finished


def _write(photo: Path, target: Path, painted: Finished, *, quality: int) -> Painted:
    if isinstance(painted, str):
        return Painted(photo, None, painted)
    levels, alpha = painted
    try:
        encoded = encode_levels(levels, target, quality=quality, alpha=alpha)
    except ValueError as error:
        return Painted(photo, None, f"The painting of {photo} can't be written: {error}")
    except MemoryError:
        return Painted(photo, None, f"The painting of {photo} takes more memory to encode than there is.")
    with atomic_write(target) as file:
        file.write(encoded)
    return Painted(photo, target)
