"""Painting files: one, a folder of them, or a pattern."""

import glob
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import zip_longest
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fast_style.folders import find_pictures
from fast_style.picture_files import (
    MAX_PIXELS,
    WRITABLE_SUFFIXES,
    Arrays,
    StrPath,
    UnreadablePicture,
    encode_levels,
    read_arrays,
    read_mask,
    size_of,
)
from fast_style.stylize.painting import Painter
from fast_style.whole_files import whole_file

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


def plan(source: str, output: str | None, *, style: str, suffix: str | None = None) -> list[tuple[Path, Path]]:
    """Pair every photo with the file its painting goes to.

    Args:
        source: a file, a folder (searched to its depths and mirrored in the output), or a glob pattern.
        output: a file, for one photo; else a folder, made if need be; None means the folder `stylized`.
        style: the style's name, added to file names.
        suffix: of the paintings; None keeps the photo's where it can be written, else .png.

    Raises:
        ValueError: nothing to paint, one file for several photos, or an output that would overwrite its photo.
    """
    if suffix is not None and suffix.lower() not in WRITABLE_SUFFIXES:
        raise ValueError(f"suffix is one of {', '.join(sorted(WRITABLE_SUFFIXES))}; got {suffix!r}.")
    root, photos = _photos(source)
    if Path(source).is_dir():  # What an earlier run painted into a folder below it.
        into = Path(output or "stylized").resolve()
        photos = [p for p in photos if into == root.resolve() or not p.resolve().is_relative_to(into)]
    single_file = output is not None and Path(output).suffix.lower() in WRITABLE_SUFFIXES
    if output is not None and Path(output).suffix and not single_file and not Path(output).is_dir():
        raise ValueError(
            f"The output {output} is named as a file of a format that can't be written; take one of "
            f"{', '.join(sorted(WRITABLE_SUFFIXES))}, or a folder."
        )
    if single_file and len(photos) > 1:
        raise ValueError(f"{len(photos)} photos can't go to the one file {output}; give a folder.")
    if output is not None and single_file:
        pairs = [(photos[0], Path(output))]
    else:
        folder = Path(output or "stylized")
        targets = [_target_name(photo.relative_to(root), style, suffix) for photo in photos]
        # a.gif and a.png would both become a_wave.png; they then keep their suffixes, a.gif_wave.png.
        taken = Counter(targets)
        pairs = [
            (photo, folder / (name if taken[name] == 1 else name.with_name(f"{photo.name}_{style}{name.suffix}")))
            for photo, name in zip(photos, targets, strict=True)
        ]
    _refuse_to_lose(pairs)
    return pairs


def unfinished(pairs: Sequence[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """The pairs of `plan` whose target is not there yet; one that is there is whole (`whole_files.py`)."""
    return [(photo, target) for photo, target in pairs if not target.is_file()]


def check_files(
    *, size: int | None = None, quality: int = 95, alpha: str = "keep", mask: StrPath | None = None
) -> None:
    """Refuse settings of `paint`, before there is a painter.

    Raises:
        ValueError: a size or quality out of range, an alpha of another name, a mask that can't be read.
    """
    if size is not None and size < 1:
        raise ValueError(f"size is the shorter side in pixels, at least 1; got {size}.")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality goes from 1 to 100, not {quality}")
    if alpha not in get_args(Alpha):
        raise ValueError(f"alpha is one of {', '.join(get_args(Alpha))}; got {alpha!r}.")
    if mask is not None:
        read_mask(mask, (1, 1))


def _refuse_to_lose(pairs: Sequence[tuple[Path, Path]]) -> None:
    photos = {photo.resolve() for photo, _ in pairs}
    first: dict[Path, Path] = {}
    for photo, target in pairs:
        other = first.setdefault(target, photo)
        if other is not photo:
            raise ValueError(f"{other} and {photo} would both be painted to {target}; give one of them another name.")
    for photo, target in pairs:
        if target.resolve() == photo.resolve():
            raise ValueError(f"The output {target} is the photo itself; give another output.")
        if target.resolve() in photos:
            raise ValueError(f"The output {target} is one of the photos; give another output.")


def paint(
    painter: Painter,
    pairs: Sequence[tuple[Path, Path]],
    *,
    size: int | None = None,
    quality: int = 95,
    alpha: Alpha = "keep",
    mask: str | os.PathLike[str] | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[float], None] = lambda done: None,
) -> Iterator[Painted]:
    """Paint many pictures; one that can't be read is reported and skipped.

    While one is painted the next is read and the one before is written, each in a thread of its own: at most four
    pictures are in memory, and of large ones one. They come out in the order of `pairs`, each once it is on the disk.

    Args:
        painter: paints one.
        pairs: photos and targets, from `plan`.
        size: shorter side to paint at, in pixels; None keeps the photo's.
        quality: of JPEG, WebP and AVIF files, 1 to 100.
        alpha: `keep` a photo's transparency, or `mask` with it: what is clear is not painted, and nothing is clear.
        mask: a picture, of any size, that is white where the painting goes.
        max_pixels: a larger picture is refused.
        progress: told the share of the one picture that is done, 0..1, where it takes longer.
    """
    check_files(size=size, quality=quality, alpha=alpha, mask=mask)
    read = partial(_read, size=size, max_pixels=max_pixels)
    with ThreadPoolExecutor(1, "read") as reading, ThreadPoolExecutor(1, "write") as writing:
        written: deque[Future[Painted]] = deque()
        for (photo, target), coming, alone in _read_ahead(painter, pairs, partial(reading.submit, read), max_pixels):
            while written and (alone or len(written) > 1 or written[0].done()):
                yield written.popleft().result()
            picture = coming.result() if coming else read(photo)
            finished = _painted(painter, photo, picture, alpha, mask, progress)
            del picture, coming
            written.append(writing.submit(_write, photo, target, finished, quality=quality))
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
        large = painter.is_large(_pixels_in(pair[0], max_pixels=max_pixels))
        alone = alone or large
        here = here or (None if alone else submit(pair[0]))
        if after and not large and not painter.is_large(_pixels_in(after[0], max_pixels=max_pixels)):
            coming = submit(after[0])
        yield pair, here, alone
        alone = large


def _pixels_in(path: Path, *, max_pixels: int) -> int:
    """How many pixels a picture has, by its header; 0 if it can't be read, which reading it will say."""
    try:
        width, height = size_of(path, max_pixels=max_pixels)
    except UnreadablePicture:
        return 0
    return width * height


def _read(photo: Path, *, size: int | None, max_pixels: int) -> Arrays | str:
    """The picture, or the sentence that says why there is none."""
    try:
        return read_arrays(photo, size=size, max_pixels=max_pixels)
    except UnreadablePicture as error:
        return str(error)


def _painted(
    painter: Painter,
    photo: Path,
    picture: Arrays | str,
    alpha: Alpha,
    mask: str | os.PathLike[str] | None,
    progress: Callable[[float], None],
) -> Finished:
    if isinstance(picture, str):
        return picture
    try:
        shares = [] if mask is None else [read_mask(mask, picture.colour.shape[:2])]
        kept = picture.alpha
        if alpha == "mask" and kept is not None:
            shares, kept = [*shares, kept.astype(np.float32) / np.float32(255)], None
        controls = replace(painter.controls, mask=reduce(np.multiply, shares)) if shares else painter.controls
        return painter(picture, controls=controls, progress=progress), kept
    except UnreadablePicture:
        raise
    except ValueError as error:
        return f"{photo} can't be painted: {error}"


def _write(photo: Path, target: Path, painted: Finished, *, quality: int) -> Painted:
    if isinstance(painted, str):
        return Painted(photo, None, painted)
    levels, alpha = painted
    try:
        encoded = encode_levels(levels, target, quality=quality, alpha=alpha)
    except ValueError as error:
        return Painted(photo, None, f"The painting of {photo} can't be written: {error}")
    with whole_file(target) as file:
        file.write(encoded)
    return Painted(photo, target)


def _photos(source: str) -> tuple[Path, list[Path]]:
    path = Path(source)
    if path.is_dir():
        found, root = [Path(file) for file in find_pictures(path)], path
    elif path.exists() or not glob.has_magic(source):
        found, root = [path], path.parent
    else:
        found = [Path(p) for p in sorted(glob.glob(source, recursive=True)) if os.path.isfile(p)]
        root = Path(os.path.commonpath([p.parent for p in found])) if found else path
    if not found:
        raise ValueError(f"There is no picture to paint at {source}.")
    return root, found


def _target_name(photo: Path, style: str, suffix: str | None) -> Path:
    writable = photo.suffix.lower() in WRITABLE_SUFFIXES
    return photo.with_name(f"{photo.stem}_{style}{suffix or (photo.suffix if writable else '.png')}")
