"""Which photo is painted to which file: one, a folder of them, or a pattern."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fast_style.images.encode import WRITABLE_SUFFIXES
from fast_style.images.listing import find_pictures


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
    """The pairs of `plan` whose target is not there yet; one that is there is whole (`atomic_files.py`)."""
    return [(photo, target) for photo, target in pairs if not target.is_file()]


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
