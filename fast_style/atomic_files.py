"""Files that are written whole or not at all, and names that are safe to give them."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a new file that takes the path's place once it is whole and on the disk, and leaves no trace otherwise."""
    target = Path(os.path.realpath(path))  # Replace what a link points to, not the link.
    temporary = target.with_name(f".{uuid4().hex}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile, whose files nobody else may read: open() respects the umask.
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        # Named by the file that was asked for, not by the temporary one.
        raise OSError(error.errno, f"{os.fspath(path)} can't be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def safe_file_name(text: str) -> str:
    """A part of a file's name made of any text: letters, digits, `_`, `.` and `-`, at most 100 bytes of UTF-8.

    Separators, control, escape and bidirectional characters become `_`; what is left of nothing is `style`.
    """
    plain = re.sub(r"[^\w.-]+", "_", text).strip("_.")
    return plain.encode()[:100].decode(errors="ignore") or "style"


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove what killed writers of whole files left in a folder that nobody writes to now."""
    for path in Path(folder).glob(".*.tmp"):
        if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", path.name):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Let the new name, too, outlast a power cut: callers remove older files after this."""
    with suppress(OSError):  # Some systems can't sync a folder; the file is in its place all the same.
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
