"""The list of skipped images with the reason for each, for shards and for stylized data sets."""

from collections.abc import Iterable
from pathlib import Path

from fast_style.atomic_files import atomic_write

SKIPPED = "skipped.tsv"


def write_skipped(folder: Path, skipped: Iterable[tuple[str, str]]) -> None:
    """Write the name of each skipped image and the reason to `skipped.tsv`, as tab-separated columns."""
    with atomic_write(folder / SKIPPED) as file:
        for row in (("name", "reason"), *skipped):
            file.write(("\t".join(map(in_one_line, row)) + "\n").encode())


def in_one_line(text: str) -> str:
    """Make text one line of valid Unicode; file names in it may be neither."""
    return " ".join(text.encode(errors="backslashreplace").decode().split())
