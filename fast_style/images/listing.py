"""Finding picture files in a folder, at any scale."""

import os
from collections.abc import Iterator
from pathlib import Path

from fast_style.images.decode import PICTURE_SUFFIXES


def find_pictures(root: str | os.PathLike[str]) -> list[str]:
    """All picture files below `root`, flat or nested, sorted; links are followed, each folder once.

    Raises:
        ValueError: no such folder, or no picture in it.
    """
    if not Path(root).is_dir():
        raise ValueError(f"A folder of pictures was wanted at {root}, where there is none.")
    found = sorted(_walk(str(root)))
    if not found:
        raise ValueError(f"The folder {root} holds no pictures ({', '.join(sorted(PICTURE_SUFFIXES))}).")
    return found


def _walk(root: str) -> Iterator[str]:
    seen: set[tuple[int, int]] = set()
    folders = [root]
    while folders:
        folder = folders.pop()
        # Told apart by device and inode: a link to a parent folder would never end.
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                named_as_picture = os.path.splitext(entry.name)[1].lower() in PICTURE_SUFFIXES
                # A link of a picture's name is believed: asking where 120,000 links lead takes seconds.
                if named_as_picture and not entry.is_dir(follow_symlinks=False):
                    yield entry.path
                elif entry.is_dir():
                    folders.append(entry.path)
