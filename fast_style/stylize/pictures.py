"""Painting files: one, a folder of them, or a pattern."""

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fast_style.folders import find_pictures
from fast_style.picture_files import (
    MAX_PIXELS,
    WRITABLE_SUFFIXES,
    UnreadablePicture,
    levels_of,
    planes_of,
    read_arrays,
    write_levels,
)
from fast_style.stylize.stylizer import Stylizer


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


def _refuse_to_lose(pairs: Sequence[tuple[Path, Path]]) -> None:
    photos = {photo.resolve() for photo, _ in pairs}
    for photo, target in pairs:
        if target.resolve() == photo.resolve():
            raise ValueError(f"The output {target} is the photo itself; give another output.")
        if target.resolve() in photos:
            raise ValueError(f"The output {target} is one of the photos; give another output.")


def paint(
    stylizer: Stylizer,
    pairs: Sequence[tuple[Path, Path]],
    *,
    size: int | None = None,
    quality: int = 95,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Painted]:
    """Paint one picture after the other; one that can't be read is reported and skipped.

    Args:
        stylizer: the style.
        pairs: photos and targets, from `plan`.
        size: shorter side to paint at, in pixels; None keeps the photo's.
        quality: of JPEG, WebP and AVIF files, 1 to 100.
        max_pixels: a larger picture is refused.
    """
    for photo, target in pairs:
        try:
            picture = read_arrays(photo, size=size, max_pixels=max_pixels)
        except UnreadablePicture as error:
            yield Painted(photo, None, str(error))
            continue
        try:
            levels = levels_of(stylizer(planes_of(picture.colour)))
        except ValueError as error:
            yield Painted(photo, None, f"{photo} can't be painted: {error}")
            continue
        write_levels(levels, target, quality=quality, alpha=picture.alpha)
        yield Painted(photo, target)


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
