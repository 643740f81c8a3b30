"""Choose the output file of each photo: one file, a folder, or a glob pattern."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fast_style.images.encode import WRITABLE_SUFFIXES
from fast_style.images.listing import count_unsupported, describe_unsupported, find_pictures


def plan(source: str, output: str | None, *, style: str, suffix: str | None = None) -> list[tuple[Path, Path]]:
    """Pair every photo with its output file.

    Args:
        source: a file, a folder (searched recursively; the output mirrors its tree), or a glob pattern.
        output: a file, for one photo; else a folder, created if it is missing. None is the folder `stylized`.
        style: the style's name, appended to file names.
        suffix: of the output files; None keeps the photo's suffix if that format can be written, else .png.

    Raises:
        ValueError: no photos, one output file for several photos, or an output that would overwrite a photo.
    """
    if suffix is not None and suffix.lower() not in WRITABLE_SUFFIXES:
        raise ValueError(f"suffix is one of {', '.join(sorted(WRITABLE_SUFFIXES))}; got {suffix!r}.")
    root, photos = _photos(source)
    if Path(source).is_dir():  # Skip the results of an earlier run in a subfolder.
        into = Path(output or "stylized").resolve()
        photos = [p for p in photos if into == root.resolve() or not p.resolve().is_relative_to(into)]
    single_file = output is not None and Path(output).suffix.lower() in WRITABLE_SUFFIXES
    if output is not None and Path(output).suffix and not single_file and not Path(output).is_dir():
        raise ValueError(
            f"The output {output} has a suffix that cannot be written; use one of "
            f"{', '.join(sorted(WRITABLE_SUFFIXES))}, or a folder."
        )
    if single_file and len(photos) > 1:
        raise ValueError(f"{len(photos)} photos cannot be written to one file, {output}; name a folder.")
    if output is not None and single_file:
        pairs = [(photos[0], Path(output))]
    else:
        folder = Path(output or "stylized")
        targets = [_target_name(photo.relative_to(root), style, suffix) for photo in photos]
        # a.gif and a.png would both become a_wave.png. Then both keep their suffix: a.gif_wave.png, a.png_wave.png.
        taken = Counter(targets)
        pairs = [
            (photo, folder / (name if taken[name] == 1 else name.with_name(f"{photo.name}_{style}{name.suffix}")))
            for photo, name in zip(photos, targets, strict=True)
        ]
    _refuse_to_lose(pairs)
    return pairs


def left_out(source: str) -> str:
    """One sentence about image files in the folder `source` that `plan` leaves out; empty if there are none."""
    return describe_unsupported(count_unsupported(source)) if os.path.isdir(source) else ""


def unfinished(pairs: Sequence[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """The pairs of `plan` without an output file yet. An existing file is always complete (`atomic_files.py`)."""
    return [(photo, target) for photo, target in pairs if not target.is_file()]


def _refuse_to_lose(pairs: Sequence[tuple[Path, Path]]) -> None:
    photos = {photo.resolve() for photo, _ in pairs}
    first: dict[Path, Path] = {}
    for photo, target in pairs:
        other = first.setdefault(target, photo)
        if other is not photo:
            raise ValueError(f"{other} and {photo} have the same output {target}; rename one of them.")
    for photo, target in pairs:
        if target.resolve() == photo.resolve():
            raise ValueError(f"The output {target} is the photo itself; name another output.")
        if target.resolve() in photos:
            raise ValueError(f"The output {target} is one of the photos; name another output.")


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
        raise ValueError(f"There is no image at {source}.")
    return root, found


def _target_name(photo: Path, style: str, suffix: str | None) -> Path:
    writable = photo.suffix.lower() in WRITABLE_SUFFIXES
    return photo.with_name(f"{photo.stem}_{style}{suffix or (photo.suffix if writable else '.png')}")
