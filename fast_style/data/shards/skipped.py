"""The list of pictures that were skipped, and the reason for each; of shards and of painted data sets."""

from collections.abc import Iterable
from pathlib import Path

from fast_style.atomic_files import atomic_write

SKIPPED = "skipped.tsv"


def write_skipped(folder: Path, skipped: Iterable[tuple[str, str]]) -> None:
    """Write the name and the reason of each into the folder's list, as tab-separated columns."""
    with atomic_write(folder / SKIPPED) as file:
        for row in (("name", "reason"), *skipped):
            file.write(("\t".join(map(in_one_line, row)) + "\n").encode())


def in_one_line(text: str) -> str:
    """Text that may hold a file's name, which need not be Unicode, nor of one line."""
    return " ".join(text.encode(errors="backslashreplace").decode().split())
