"""Find image files in folders of any size."""

import os
from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path

from fast_style.images.decode import PICTURE_SUFFIXES

#: Suffixes of image formats that are not read: phone and camera formats, and files of drawing programs.
UNSUPPORTED_SUFFIXES = frozenset({".heic", ".heics", ".heif", ".hif", ".jpe", ".jpf", ".jpx", ".j2k", ".jxl", ".jxr"})
UNSUPPORTED_SUFFIXES |= {".raw", ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc"}
UNSUPPORTED_SUFFIXES |= {".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf"}
UNSUPPORTED_SUFFIXES |= {".srw", ".x3f", ".ai", ".apng", ".dds", ".emf", ".eps", ".exr", ".hdr", ".ico", ".mpo", ".pcx"}
UNSUPPORTED_SUFFIXES |= {".psb", ".psd", ".svg", ".svgz", ".wdp", ".wmf", ".xcf"}


def find_pictures(root: str | os.PathLike[str]) -> list[str]:
    """Return all image files below `root`, sorted; links are followed and each folder is visited once.

    Raises:
        ValueError: `root` is no folder, or it holds no images.
    """
    if not Path(root).is_dir():
        raise ValueError(f"Expected a folder of images at {root}, found no folder; check the path.")
    found = sorted(_walk(str(root), PICTURE_SUFFIXES))
    if not found:
        raise ValueError(f"The folder {root} holds no images (suffixes: {', '.join(sorted(PICTURE_SUFFIXES))}).")
    return found


def count_unsupported(root: str | os.PathLike[str]) -> Counter[str]:
    """Count the files below `root` with a suffix of `UNSUPPORTED_SUFFIXES`, by suffix in lower case."""
    return Counter(os.path.splitext(file)[1].lower() for file in _walk(str(root), UNSUPPORTED_SUFFIXES))


def describe_unsupported(counts: Counter[str]) -> str:
    """One sentence about files that are left out, counted by suffix; empty if there are none."""
    if not counts:
        return ""
    number = counts.total()
    suffixes = ", ".join(f"{suffix}: {count}" for suffix, count in sorted(counts.items()))
    return f"Left out {number} {'file' if number == 1 else 'files'} of image formats that are not read ({suffixes})."


def _walk(root: str, suffixes: Set[str]) -> Iterator[str]:
    seen: set[tuple[int, int]] = set()
    folders = [root]
    while folders:
        folder = folders.pop()
        # Device and inode identify a folder; a link to a parent folder would otherwise loop forever.
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                named_as_picture = os.path.splitext(entry.name)[1].lower() in suffixes
                # A link with an image suffix is not resolved: resolving 120,000 links takes seconds.
                if named_as_picture and not entry.is_dir(follow_symlinks=False):
                    yield entry.path
                elif entry.is_dir():
                    folders.append(entry.path)
