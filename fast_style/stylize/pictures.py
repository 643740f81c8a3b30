"""Painting files: one, a folder of them, or a pattern."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fast_style.images import PICTURE_SUFFIXES, UnreadablePicture, load_image, save_image
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
    root, photos = _photos(source)
    single_file = output is not None and Path(output).suffix.lower() in PICTURE_SUFFIXES
    if single_file and len(photos) > 1:
        raise ValueError(f"{len(photos)} photos can't go to the one file {output}; give a folder.")
    if output is not None and single_file:
        pairs = [(photos[0], Path(output))]
    else:
        folder = Path(output or "stylized")
        pairs = [(p, folder / _target_name(p.relative_to(root), style, suffix)) for p in photos]
    for photo, target in pairs:
        if target.exists() and target.samefile(photo):
            raise ValueError(f"The output {target} is the photo itself; give another output.")
    return pairs


def paint(
    stylizer: Stylizer, pairs: Sequence[tuple[Path, Path]], *, size: int | None, quality: int
) -> Iterator[Painted]:
    """Paint one picture after the other; one that can't be read is reported and skipped.

    Args:
        stylizer: the style.
        pairs: photos and targets, from `plan`.
        size: shorter side to paint at, in pixels; None keeps the photo's.
        quality: of JPEG, WebP and AVIF files, 1 to 100.
    """
    for photo, target in pairs:
        try:
            picture = load_image(photo, size=size)
        except UnreadablePicture as error:
            yield Painted(photo, None, str(error))
            continue
        try:
            painted = stylizer(picture)
        except ValueError as error:
            yield Painted(photo, None, f"{photo} can't be painted: {error}")
            continue
        save_image(painted, target, quality=quality)
        yield Painted(photo, target)


def _photos(source: str) -> tuple[Path, list[Path]]:
    path = Path(source)
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in PICTURE_SUFFIXES]
        root = path
    elif path.exists() or not glob.has_magic(source):
        found, root = [path], path.parent
    else:
        found = [Path(p) for p in sorted(glob.glob(source, recursive=True)) if os.path.isfile(p)]
        root = Path(os.path.commonpath([p.parent for p in found])) if found else path
    if not found:
        raise ValueError(f"There is no picture to paint at {source}.")
    return root, found


def _target_name(photo: Path, style: str, suffix: str | None) -> Path:
    writable = photo.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
    return photo.with_name(f"{photo.stem}_{style}{suffix or (photo.suffix if writable else '.png')}")
